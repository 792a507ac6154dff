//! Our own lines of a push, in Heroku's skeleton (docs/heroku.md, "Output of a push"). Pure.

use super::text::size;
use model::process::Types;
use model::slug::Manifest;
use model::{app, release};

/// Times of a push, milliseconds.
#[expect(
    clippy::struct_field_names,
    reason = "the unit stands last in every name of a time"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Until the pushed objects were in place.
    pub receive_ms: u64,
    /// Checkout, waiting in line, buildpacks.
    pub compile_ms: u64,
    /// The slug.
    pub pack_ms: u64,
    /// The release, its phase included.
    pub release_ms: u64,
    /// Until the new web dynos were up.
    pub start_ms: u64,
}

/// The first lines of a build.
pub(crate) fn received() -> Vec<String> {
    lines(&["Compressing source files... done.", "Building source:", ""])
}

/// The first line of a slug's build.
pub(crate) fn building(stack: &str) -> String {
    format!("-----> Building on the {stack} stack")
}

/// The app's list of buildpacks.
pub(crate) fn using(references: &[&str]) -> Vec<String> {
    let list = references.iter().enumerate();
    std::iter::once("-----> Using buildpacks:".to_owned())
        .chain(list.map(|(index, name)| format!("       {}. {name}", index + 1)))
        .collect()
}

/// A buildpack said yes.
pub(crate) fn detected(app: &str) -> String {
    format!("-----> {app} app detected")
}

/// A listed buildpack said no.
pub(crate) fn not_compatible(reference: &str) -> String {
    format!("-----> App not compatible with buildpack: {reference}")
}

/// What the Procfile and the last buildpack say.
pub(crate) fn processes(declared: Option<&Types>, defaults: &Types) -> Vec<String> {
    let names = |types: &Types| {
        let names: Vec<&str> = types.keys().map(model::process::Type::as_str).collect();
        names.join(", ")
    };
    let declared = match declared {
        Some(types) => names(types),
        None => "(none)".to_owned(),
    };
    let mut all = lines(&[
        "-----> Discovering process types",
        &format!("       Procfile declares types -> {declared}"),
    ]);
    if !defaults.is_empty() {
        let defaults = names(defaults);
        all.push(format!("       Default types for buildpack -> {defaults}"));
    }
    all
}

/// Before the slug is packed.
pub(crate) fn compressing() -> Vec<String> {
    lines(&["", "-----> Compressing..."])
}

/// The slug is packed.
pub(crate) fn compressed(size_bytes: u64) -> String {
    format!("       Done: {}", size(size_bytes))
}

/// It serves.
pub(crate) fn released(number: release::Number, url: &str) -> Vec<String> {
    lines(&[
        &format!("       Released {number}"),
        &format!("       {url} deployed to paas"),
    ])
}

/// Its dynos run in another way than slugs do elsewhere.
pub(crate) fn isolated(reason: &str) -> Vec<String> {
    lines(&[
        &mark(&format!("Its dynos run isolated, not central: {reason}")),
        "       They are served all the same; on the server, paas doctor says more.",
    ])
}

/// The last lines of a good push.
pub(crate) fn closing(times: &Times, artifact: &Manifest) -> Vec<String> {
    let is_image = artifact.image.is_some();
    let parts = [
        ("receive", times.receive_ms),
        (if is_image { "build" } else { "compile" }, times.compile_ms),
        ("pack", times.pack_ms),
        ("release", times.release_ms),
        ("start", times.start_ms),
    ];
    let number = |ms: u64| {
        let hundredths = (ms + 5) / 10;
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    };
    let total: u64 = parts.iter().map(|(_, ms)| ms).sum();
    let parts: Vec<String> = parts
        .iter()
        .map(|(name, ms)| format!("{name} {}", number(*ms)))
        .collect();
    let size = size(artifact.size_bytes());
    let (digits, unit) = size.split_at(size.len() - 1);
    let made = match &artifact.image {
        Some(image) => format!("image {digits} {unit}B in {} layers", image.layers.len()),
        None => format!("slug {digits} {unit}B on {}", artifact.stack),
    };
    lines(&[
        "",
        &format!("       {}  = {} s", parts.join("  "), number(total)),
        &format!("       {made}"),
        "",
        "Verifying deploy... done.",
    ])
}

/// The app was made for this push.
pub(crate) fn created(name: &app::Name, url: &str) -> Vec<String> {
    lines(&[&format!("Created app {name}, it will be at {url}"), ""])
}

/// A branch was stored.
pub(crate) fn not_built() -> String {
    "Pushed to non-main branch, skipping build.".to_owned()
}

/// A line with Heroku's mark of an error.
pub(crate) fn mark(line: &str) -> String {
    if line.is_empty() {
        return " !".to_owned();
    }
    format!(" !     {line}")
}

/// A push that did not come to a release: what was refused, then the cause last.
pub(crate) fn rejected(
    what: &str,
    after_ms: u64,
    cause: &[String],
    current: Option<release::Number>,
) -> Vec<String> {
    let mut all = lines(&["", &mark(&format!("Push rejected, {what}.")), ""]);
    let after = match after_ms {
        0..1_000 => String::new(),
        ms => format!("after {} s: ", (ms + 500) / 1_000),
    };
    for (index, line) in cause.iter().enumerate() {
        let after = if index == 0 { &after } else { "" };
        all.push(mark(&format!("{after}{line}")));
    }
    all.push(match current {
        Some(number) => format!("       {number} is untouched and still serves."),
        None => "       Nothing was released.".to_owned(),
    });
    all.push(mark("Push failed"));
    all
}

fn lines(all: &[&str]) -> Vec<String> {
    all.iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::process::Type;

    fn check(lines: &[String], expected: &str) {
        assert_eq!(lines.join("\n"), expected);
    }

    fn types(names: &[&str]) -> Types {
        let pair = |name: &&str| (Type::parse(name).unwrap(), "x".to_owned());
        names.iter().map(pair).collect()
    }

    fn slug(size_bytes: u64) -> Manifest {
        let digest = model::digest::Digest::new([0; 32]);
        Manifest {
            stack: "debian-13".to_owned(),
            app: model::slug::Blob { digest, size_bytes },
            layers: Vec::new(),
            process_types: Types::new(),
            commit: None,
            description: None,
            image: None,
        }
    }

    #[test]
    fn a_good_push() {
        check(
            &received(),
            "Compressing source files... done.\nBuilding source:\n",
        );
        assert_eq!(
            building("debian-13"),
            "-----> Building on the debian-13 stack"
        );
        check(
            &using(&["heroku/nodejs", "https://a/b"]),
            "-----> Using buildpacks:\n       1. heroku/nodejs\n       2. https://a/b",
        );
        check(
            &processes(Some(&types(&["worker", "web"])), &Types::new()),
            "-----> Discovering process types\n       Procfile declares types -> web, worker",
        );
        check(
            &processes(None, &types(&["web"])),
            "-----> Discovering process types\n       Procfile declares types -> (none)\n       \
             Default types for buildpack -> web",
        );
        check(
            &released(release::Number(14), "http://hello.paas.localhost/"),
            "       Released v14\n       http://hello.paas.localhost/ deployed to paas",
        );
        check(
            &isolated("bpf() is refused"),
            " !     Its dynos run isolated, not central: bpf() is refused\n       They are served all \
             the same; on the server, paas doctor says more.",
        );
        let times = Times {
            receive_ms: 60,
            compile_ms: 5_180,
            pack_ms: 430,
            release_ms: 54,
            start_ms: 344,
        };
        check(
            &closing(&times, &slug(27_930_000)),
            "\n       receive 0.06  compile 5.18  pack 0.43  release 0.05  start 0.34  = 6.07 s\n       \
             slug 27.9 MB on debian-13\n\nVerifying deploy... done.",
        );
    }

    #[test]
    fn a_failed_push() {
        let cause = vec!["no version of torch matches ==9".to_owned()];
        check(
            &rejected(
                "failed to compile Python app",
                41_200,
                &cause,
                Some(release::Number(14)),
            ),
            "\n !     Push rejected, failed to compile Python app.\n\n \
             !     after 41 s: no version of torch matches ==9\n       \
             v14 is untouched and still serves.\n !     Push failed",
        );
        let cause = vec!["one".to_owned(), String::new(), "two".to_owned()];
        check(
            &rejected("x", 10, &cause, None),
            "\n !     Push rejected, x.\n\n !     one\n !\n !     two\n       \
             Nothing was released.\n !     Push failed",
        );
    }
}
