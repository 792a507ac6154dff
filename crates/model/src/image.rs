//! An image as a node runs it: what its OCI config says, resolved, so that nobody who starts it
//! has to look into its files.

use crate::digest::Digest;
use crate::process::Type;
use crate::slug::Blob;
use std::collections::BTreeMap;

/// All that is needed to run an image.
///
/// serde writes the fields in this order and maps in key order, so equal images are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Of the OCI config: the image's id.
    pub config: Digest,
    /// Its layers, the lowest first; at least one.
    pub layers: Vec<Blob>,
    /// In front of every command; may be empty.
    pub entrypoint: Vec<String>,
    /// What runs a command that is a text, e.g. `/bin/sh -c`.
    pub shell: Vec<String>,
    /// Process types whose command is words and not a text.
    pub commands: BTreeMap<Type, Vec<String>>,
    /// Its environment, `HOME` and `PATH` included.
    pub env: BTreeMap<String, String>,
    /// Absolute.
    pub working_dir: String,
    /// The user id inside.
    pub uid: u32,
    /// The group id inside.
    pub gid: u32,
    /// The signal that asks it to end.
    pub stop_signal: i32,
}

impl Image {
    /// What runs for a process type, or for a text that somebody typed.
    pub fn argv(&self, process_type: Option<&Type>, command: &str) -> Vec<String> {
        let words = process_type.and_then(|name| self.commands.get(name));
        let mut argv = self.entrypoint.clone();
        if let Some(words) = words {
            argv.extend(words.iter().cloned());
        } else {
            argv.extend(self.shell.iter().cloned());
            argv.push(command.to_owned());
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_and_texts_go_to_the_shell() {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let web = Type::web();
        let image = Image {
            config: Digest::new([1; 32]),
            layers: Vec::new(),
            entrypoint: owned(&["tini", "--"]),
            shell: owned(&["/bin/sh", "-c"]),
            commands: [(web.clone(), owned(&["serve", "a b"]))].into(),
            env: BTreeMap::new(),
            working_dir: "/".to_owned(),
            uid: 0,
            gid: 0,
            stop_signal: 15,
        };
        assert_eq!(
            image.argv(Some(&web), "serve a b"),
            ["tini", "--", "serve", "a b"]
        );
        let text = ["tini", "--", "/bin/sh", "-c", "ls -l"];
        assert_eq!(image.argv(None, "ls -l"), text);
        assert_eq!(image.argv(Some(&Type::run()), "ls -l"), text);
    }
}
