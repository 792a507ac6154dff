//! What runs in a dyno, and on which files: a slug over its stack, or an image's layers over each
//! other. Pure.

use crate::command::Site;
use model::dyno::{Purpose, Want};
use model::image::Image;
use sandbox::{Base, Mount, Place};
use std::collections::BTreeMap;

/// The user id that slugs run as inside.
const DYNO_UID: u32 = 1000;
/// Sources `.profile.d/*.sh` and `.profile` in this very shell, as buildpacks rely on, then
/// becomes the command's shell, so that no second process stands between keeper and app.
const BOOT: &str = r#"if [ -d "$HOME/.profile.d" ]; then
  for script in "$HOME"/.profile.d/*.sh; do [ -r "$script" ] && . "$script"; done
  unset script
fi
[ -r "$HOME/.profile" ] && . "$HOME/.profile"
exec /bin/bash -c "$1""#;

/// A dyno's files and command.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Topmost first.
    pub(crate) lowers: Vec<Place>,
    /// What is mounted over them.
    pub(crate) mounts: Vec<Mount>,
    /// The command.
    pub(crate) argv: Vec<String>,
    /// Where it starts.
    pub(crate) cwd: String,
    /// The user inside.
    pub(crate) uid: u32,
    /// The group inside.
    pub(crate) gid: u32,
}

/// What an order runs; `disk_max_bytes` bounds what it may write.
pub(crate) fn of(want: &Want, site: &Site, disk_max_bytes: u64) -> Program {
    match &want.slug.image {
        Some(image) => image_program(want, image, site),
        None => slug_program(want, site, disk_max_bytes),
    }
}

fn slug_program(want: &Want, site: &Site, disk_max_bytes: u64) -> Program {
    let shell = ["/bin/bash", "--norc", "--noprofile", "-c", BOOT, "bash"];
    let stack = Place {
        base: Base::Stack,
        path: format!("{}/run", want.slug.stack),
    };
    let layers = site.layers.iter().map(|(name, shelf)| Mount::Bind {
        from: on_shelf(&format!("{shelf}/layer")),
        to: format!("/layers/{name}"),
        write: false,
    });
    let temporary = Mount::Tmpfs {
        to: "/tmp".to_owned(),
        max_bytes: disk_max_bytes,
    };
    Program {
        lowers: vec![on_shelf(&site.app), stack],
        mounts: layers.chain([temporary]).collect(),
        argv: shell
            .into_iter()
            .chain([want.command.as_str()])
            .map(str::to_owned)
            .collect(),
        cwd: "/app".to_owned(),
        uid: DYNO_UID,
        gid: DYNO_UID,
    }
}

fn image_program(want: &Want, image: &Image, site: &Site) -> Program {
    let is_declared = matches!(want.purpose, Purpose::Formation | Purpose::Release);
    let process_type = is_declared.then_some(&want.name.process_type);
    Program {
        lowers: site.image.iter().map(|name| on_shelf(name)).collect(),
        mounts: Vec::new(),
        argv: image.argv(process_type, &want.command),
        cwd: image.working_dir.clone(),
        uid: image.uid,
        gid: image.gid,
    }
}

fn on_shelf(name: &str) -> Place {
    Place {
        base: Base::Data,
        path: format!("shelf/{name}"),
    }
}

/// The environment before config vars.
pub(crate) fn environment(want: &Want) -> BTreeMap<String, String> {
    if let Some(image) = &want.slug.image {
        return image.env.clone();
    }
    [
        ("HOME", "/app"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        (
            "PS1",
            r"\[\033[01;34m\]\w\[\033[00m\] \[\033[01;32m\]$ \[\033[00m\]",
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use model::digest::Digest;

    #[test]
    fn an_image_runs_as_its_config_says() {
        let mut want = command::tests::want(&Purpose::Formation);
        let words = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        want.slug.image = Some(Box::new(Image {
            config: Digest::new([1; 32]),
            layers: Vec::new(),
            entrypoint: words(&["/entry"]),
            shell: words(&["/bin/sh", "-c"]),
            commands: [(model::process::Type::web(), words(&["serve", "a b"]))].into(),
            env: [("HOME".to_owned(), "/home/me".to_owned())].into(),
            working_dir: "/srv".to_owned(),
            uid: 33,
            gid: 34,
            stop_signal: 2,
        }));
        let site = Site {
            slot: 1,
            app: String::new(),
            image: words(&["top", "base"]),
            layers: Vec::new(),
        };
        let program = of(&want, &site, 1);
        let lowers: Vec<&str> = program
            .lowers
            .iter()
            .map(|place| place.path.as_str())
            .collect();
        assert_eq!(lowers, ["shelf/top", "shelf/base"]);
        assert_eq!(program.argv, ["/entry", "serve", "a b"]);
        assert_eq!(
            (program.uid, program.gid, program.cwd.as_str()),
            (33, 34, "/srv")
        );
        assert!(program.mounts.is_empty());
        want.purpose = Purpose::Detached { time_to_live_s: 1 };
        let program = of(&want, &site, 1);
        assert_eq!(program.argv, ["/entry", "/bin/sh", "-c", "serve $PORT"]);
        let env = command::secrets(&want, 5000).env;
        assert_eq!(env["HOME"], "/home/me");
        assert_eq!((env["A"].as_str(), env["PORT"].as_str()), ("1", "5000"));
    }
}
