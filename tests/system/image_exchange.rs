//! Images on their way out and in: Debian's skopeo and buildah read what we write, and we run what
//! they write.

use crate::platform::{Ended, Platform};

impl Platform {
    /// A tool of Debian's, in the platform's folder.
    fn tool(&self, program: &str, arguments: &[&str]) -> Ended {
        self.run(self.command(program).args(arguments), "")
    }
}

fn skopeo(platform: &Platform, arguments: &[&str]) -> Ended {
    platform.tool("skopeo", arguments)
}

#[test]
fn skopeo_and_buildah_take_what_is_exported() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "boxed");
    let nothing = platform.paas(&["images:export", "boxed", "--to", "oci:out"]);
    nothing.refused(1, &["boxed has no release with an image yet"]);
    app.push().ok();

    let said = platform
        .paas(&["images:export", "boxed", "--to", "oci:out"])
        .ok();
    assert!(said.stderr.contains("v3 is in oci:out"), "{said:?}");
    let again = platform.paas(&["images:export", "boxed", "--to", "oci:out"]);
    again.refused(1, &["out is there already"]);
    let archive = ["images:export", "boxed", "--to", "docker-archive:out.tar"];
    platform.paas(&archive).ok();

    // Every blob is read and its digest verified by who copies.
    skopeo(&platform, &["copy", "oci:out:v3", "dir:copy"]).ok();
    skopeo(
        &platform,
        &["copy", "docker-archive:out.tar", "dir:copy-of-archive"],
    )
    .ok();
    let config = |from: &str| {
        let shown = skopeo(&platform, &["inspect", "--config", from]).ok();
        serde_json::from_str::<serde_json::Value>(&shown.stdout).unwrap()
    };
    let ours = config("oci:out:v3");
    assert_eq!(ours["config"]["User"], "www-data");
    assert_eq!(ours["config"]["WorkingDir"], "/srv");
    assert_eq!(ours, config("docker-archive:out.tar"));

    // One that builds on it finds its files as they are in a dyno.
    let script = "set -e; c=$(buildah from oci:out:v3); m=$(buildah mount $c); \
                  stat -c '%n %u:%g %a' $m/srv/server.py $m/srv/built-by | sed \"s,$m,,\"; \
                  ls $m/srv; buildah umount $c > /dev/null; buildah rm $c > /dev/null";
    let files = buildah(&platform, script).ok().stdout;
    assert!(files.contains("/srv/built-by 0:0 644"), "{files}");
    assert!(!files.contains("secret.txt"), "{files}");
}

/// A script with buildah, whose images are in the platform's folder.
fn buildah(platform: &Platform, script: &str) -> Ended {
    let storage = platform.folder.join("containers");
    std::fs::create_dir_all(&storage).unwrap();
    let config = storage.join("storage.conf");
    let folder = storage.display();
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{folder}/root\"\nrunroot = \"{folder}/run\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut bash = platform.command("bash");
    bash.args(["-c", script])
        .env("CONTAINERS_STORAGE_CONF", config);
    platform.run(&mut bash, "")
}

#[test]
fn what_buildah_and_skopeo_make_runs() {
    let platform = Platform::start();
    let app = platform.checkout("dockerfile", "boxed");
    app.push().ok();
    let export = ["images:export", "boxed", "--to", "oci:out"];
    platform.paas(&export).ok();
    // Another layer, whose rm hides a file of those below.
    let script = "set -e; c=$(buildah from oci:out:v3); m=$(buildah mount $c); \
                  rm $m/srv/words; echo made by buildah > $m/srv/more; buildah umount $c; \
                  buildah config --env GREETING=buildah $c; \
                  buildah commit -q $c oci:made:1 && buildah rm $c";
    buildah(&platform, script).ok();

    platform.paas(&["create", "other"]).ok();
    let import = ["images:import", "other", "oci:made", "--version", "made:1"];
    let said = platform.paas(&import).ok();
    assert!(said.stdout.contains("-----> Reading the image"), "{said:?}");
    assert!(said.stdout.contains("deployed to paas"), "{said:?}");
    let page = platform.get("other", "/");
    let expected = "buildah from web.1: made by a RUN, uid 33 in /srv\n";
    assert_eq!((page.status, page.body.as_str()), (200, expected));
    let files = platform.paas(&["run", "-a", "other", "ls /srv; cat /srv/more"]);
    assert!(files.stdout.contains("made by buildah"), "{files:?}");
    assert!(
        !files.stdout.lines().any(|name| name.trim() == "words"),
        "{files:?}"
    );

    // The same once more as Docker's archive, and out again: it is the same image.
    skopeo(
        &platform,
        &["copy", "oci:made:1", "docker-archive:made.tar:made:1"],
    )
    .ok();
    let import = ["images:import", "other", "docker-archive:made.tar"];
    platform.paas(&import).ok();
    assert_eq!(platform.get("other", "/").body, expected);
    let export = ["images:export", "other", "--to", "oci:again"];
    platform.paas(&export).ok();
    let config = |from: &str| {
        let shown = skopeo(&platform, &["inspect", "--config", "--raw", from]);
        shown.ok().stdout
    };
    assert_eq!(config("oci:again"), config("oci:made:1"));
}

/// Writes `docker save`'s form of an image of one layer, whose entries are TYPE NAME TARGET.
const MAKE: &str = r#"
import hashlib, io, json, sys, tarfile
def tar(entries, name):
    with tarfile.open(name, "w", format=tarfile.USTAR_FORMAT) as out:
        for info, data in entries:
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
def entry(kind, name, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor = kind.encode(), target, 1
    return info
tar([(entry(*words.split()), b"") for words in sys.argv[1:]], "layer.tar")
layer = open("layer.tar", "rb").read()
config = json.dumps({"os": "linux", "config": {"Cmd": ["/x"]}, "rootfs": {
    "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
listed = json.dumps([{"Config": "c.json", "Layers": ["layer.tar"]}]).encode()
tar([(tarfile.TarInfo(name), data) for name, data in
     [("layer.tar", layer), ("c.json", config), ("manifest.json", listed)]], "hostile.tar")
"#;

#[test]
fn a_hostile_image_is_refused_and_writes_nothing() {
    let platform = Platform::start();
    platform.paas(&["create", "hostile"]).ok();
    let refused = |entries: &[&str], said: &[&str]| {
        platform
            .tool("python3", &[&["-c", MAKE], entries].concat())
            .ok();
        let import = ["images:import", "hostile", "docker-archive:hostile.tar"];
        let ended = platform.paas(&import);
        assert_eq!(ended.code, 1, "{entries:?}: {ended:?}");
        for text in said {
            let is_said = ended.stdout.contains(text);
            assert!(is_said, "{text:?} is missing: {entries:?}: {ended:?}");
        }
    };
    let layer = "a layer of its image cannot be used";
    refused(&["0 ../../../../tmp/evil"], &[layer, "evil"]);
    refused(&["2 l /etc", "0 l/evil"], &[layer, "l/evil"]);
    refused(&["1 shadow ../../etc/shadow"], &[layer, "shadow"]);
    refused(&["3 dev/sda"], &[layer, "dev/sda"]);
    let find = "find data /tmp/evil /etc/evil -name evil 2> /dev/null; true";
    let found = platform.tool("bash", &["-c", find]).ok();
    assert_eq!(found.stdout, "");
    let apps = platform.paas(&["releases", "-a", "hostile"]).ok().stdout;
    assert!(!apps.contains("Deploy"), "{apps}");
}
