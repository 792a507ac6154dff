//! The instance name: everything that an installation puts on a machine is derived from it.

use crate::text::text_type;

text_type!(
    /// `paas`, or `pt` and six hex digits in tests: `[a-z][a-z0-9]{1,8}`, so that every interface
    /// name made from it stays within the kernel's 15 characters.
    Name, NameError, check
);

/// The text is no instance name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instance names are 2 to 9 lower-case letters and digits and start with a letter")]
pub struct NameError;

fn check(text: &str) -> Result<(), NameError> {
    let good = (2..=9).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good { Ok(()) } else { Err(NameError) }
}

impl Name {
    /// The run folder.
    pub fn run_folder(&self) -> std::path::PathBuf {
        std::path::Path::new("/run").join(self.as_str())
    }

    /// The bridge of the isolated dynos.
    pub fn dyno_bridge(&self) -> String {
        format!("{self}-br")
    }

    /// The bridge of the builds.
    pub fn build_bridge(&self) -> String {
        format!("{self}-bb")
    }

    /// The outer end of the cable to a dyno network (`model::network::Seat::net`).
    pub fn central_cable(&self, net: u8) -> String {
        format!("{self}-c{net}")
    }

    /// All of those, as nft's wildcard.
    pub fn central_cables(&self) -> String {
        format!("{self}-c*")
    }
}
