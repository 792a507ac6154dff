//! An app's source as its developer has it: a git work tree with the remote `paas`.

use crate::platform::{Ended, Platform};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A work tree.
pub(crate) struct Checkout<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) folder: PathBuf,
}

impl Platform {
    /// Copies a sample of `tests/apps`, commits it, and makes the app.
    pub(crate) fn checkout(&self, sample: &str, name: &str) -> Checkout<'_> {
        let checkout = self.tree(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/apps")
            .join(sample);
        let copied = Command::new("cp")
            .args(["-r", "-T"])
            .arg(source)
            .arg(&checkout.folder)
            .status()
            .unwrap();
        assert!(copied.success());
        checkout.commit("first");
        checkout.paas(&["create", name]).ok();
        checkout
    }

    /// An empty work tree whose remote is the app's, which need not exist.
    pub(crate) fn tree(&self, name: &str) -> Checkout<'_> {
        let folder = self.folder.join("work").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let checkout = Checkout {
            platform: self,
            folder,
        };
        checkout.git(&["init", "-q", "-b", "main"]).ok();
        checkout
            .git(&["config", "user.email", "dev@example.com"])
            .ok();
        checkout.git(&["config", "user.name", "dev"]).ok();
        checkout
    }
}

impl Checkout<'_> {
    /// Runs git in the work tree.
    pub(crate) fn git(&self, arguments: &[&str]) -> Ended {
        self.platform.run(
            self.platform
                .command("git")
                .args(arguments)
                .current_dir(&self.folder),
            "",
        )
    }

    /// Runs our program in the work tree.
    pub(crate) fn paas(&self, arguments: &[&str]) -> Ended {
        let program = self.platform.folder.join("program/paas");
        self.platform.run(
            self.platform
                .command(program.to_str().unwrap())
                .args(arguments)
                .current_dir(&self.folder),
            "",
        )
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits everything.
    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", message])
            .ok();
    }

    /// `git push paas main`.
    pub(crate) fn push(&self) -> Ended {
        self.git(&["push", "paas", "main"])
    }

    /// The commit of a branch on the platform, as git tells it.
    pub(crate) fn remote_commit(&self, branch: &str) -> Option<String> {
        let listed = self
            .git(&["ls-remote", "paas", &format!("refs/heads/{branch}")])
            .ok();
        listed.stdout.split_whitespace().next().map(str::to_owned)
    }

    /// The commit that is checked out.
    pub(crate) fn commit_here(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
            .ok()
            .stdout
            .trim()
            .to_owned()
    }

    /// Follows the log until a line holds the text; fails after a minute.
    pub(crate) fn log_says(&self, text: &str) -> String {
        use std::io::BufRead as _;
        let program = self.platform.folder.join("program/paas");
        let mut child = self
            .platform
            .command("timeout")
            .args([
                "60",
                program.to_str().unwrap(),
                "logs",
                "--tail",
                "--num",
                "1500",
            ])
            .current_dir(&self.folder)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = Vec::new();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.map_while(Result::ok).find(|line| {
            seen.push(line.clone());
            line.contains(text)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        found.unwrap_or_else(|| panic!("the log never said {text:?}:\n{}", seen.join("\n")))
    }
}
