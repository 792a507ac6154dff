//! The two programs of others that load rules: found once, by absolute path.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::NetworkError;

const FOLDERS: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];

/// A program that reads rules from its standard input.
#[derive(Clone, Debug)]
pub(crate) struct Tool(PathBuf);

impl Tool {
    /// nft(8).
    pub(crate) fn nft() -> Result<Self, NetworkError> {
        Self::find(&["nft"], "nftables")
    }

    /// iptables-restore(8), the nft variant where both are there: kernels mix the two badly.
    pub(crate) fn iptables_restore() -> Result<Self, NetworkError> {
        Self::find(&["iptables-nft-restore", "iptables-restore"], "iptables")
    }

    /// iptables(8) of the same variant.
    pub(crate) fn iptables() -> Result<Self, NetworkError> {
        Self::find(&["iptables-nft", "iptables"], "iptables")
    }

    fn find(names: &[&'static str], package: &'static str) -> Result<Self, NetworkError> {
        let places = names
            .iter()
            .flat_map(|n| FOLDERS.iter().map(move |f| Path::new(f).join(n)));
        let found = places.into_iter().find(|path| path.is_file()).map(Self);
        let program = names.last().copied().unwrap_or_default();
        found.ok_or(NetworkError::Missing { program, package })
    }

    /// Runs it with `input`; its standard output if it ends well.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Result<String, NetworkError> {
        let doing = || format!("run {}", self.0.display());
        let mut child = Command::new(&self.0)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| NetworkError::Kernel {
                doing: doing(),
                source,
            })?;
        let written = child
            .stdin
            .take()
            .map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        let output = output.map_err(|source| NetworkError::Kernel {
            doing: doing(),
            source,
        })?;
        if output.status.success() {
            written.map_err(|source| NetworkError::Kernel {
                doing: doing(),
                source,
            })?;
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("nothing");
        Err(NetworkError::Refused {
            program: self.0.display().to_string(),
            said: said.to_owned(),
        })
    }
}
