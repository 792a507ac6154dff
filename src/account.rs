//! Who is signed in where: the client's own file, and the environment that may replace it.
//!
//! `$XDG_CONFIG_HOME/paas/account.toml` (`~/.config/paas/account.toml`), mode 0600, holds the API's
//! URL, the account's email and its token; `ca.pem` beside it is the platform's certificate
//! authority. `PAAS_API_URL` and `PAAS_API_KEY` replace URL and token; `PAAS_APP` names the app.

use crate::failure::Failure;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Account {
    /// `http://api.paas.localhost:8080`.
    pub(crate) api_url: String,
    /// Whose token.
    pub(crate) email: String,
    /// Secret.
    pub(crate) token: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client's part of reading the environment once"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The platform's certificate authority, which the rendezvous connection is checked against.
pub(crate) fn authority() -> Result<PathBuf, Failure> {
    path().map(|path| path.with_file_name("ca.pem"))
}

fn path() -> Result<PathBuf, Failure> {
    environment("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|folder| folder.join("paas/account.toml"))
        .ok_or_else(|| {
            Failure::new("neither HOME nor XDG_CONFIG_HOME is set")
                .hint("set HOME, or PAAS_API_URL and PAAS_API_KEY")
        })
}

impl Account {
    /// Reads who is signed in.
    pub(crate) fn load() -> Result<Self, Failure> {
        let stored = Self::stored()?;
        let (url, token) = (environment("PAAS_API_URL"), environment("PAAS_API_KEY"));
        match (stored, url, token) {
            (Some(stored), url, None) => Ok(Self {
                api_url: url.unwrap_or(stored.api_url),
                ..stored
            }),
            (Some(stored), url, Some(token)) => Ok(Self {
                api_url: url.unwrap_or(stored.api_url),
                token,
                email: String::new(),
            }),
            (None, Some(api_url), Some(token)) => Ok(Self {
                api_url,
                token,
                email: String::new(),
            }),
            _ => Err(Failure::signed_out("nobody is signed in here")),
        }
    }

    /// Who was signed in here last, whether or not the token is still good.
    pub(crate) fn last_email() -> Option<String> {
        let stored = Self::stored().ok().flatten();
        stored
            .map(|stored| stored.email)
            .filter(|email| !email.is_empty())
    }

    fn stored() -> Result<Option<Self>, Failure> {
        let path = path()?;
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| {
                Failure::new(format!("{} cannot be read: {error}", path.display()))
                    .hint("remove it and sign in again: paas login")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(format!(
                "{} cannot be read: {error}",
                path.display()
            ))),
        }
    }

    /// Keeps it for the next command; only this user can read it.
    pub(crate) fn save(&self, ca_pem: Option<&str>) -> Result<(), Failure> {
        let path = path()?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if let Some(ca_pem) = ca_pem {
            write(&authority()?, ca_pem)?;
        }
        let text = toml::to_string(self).map_err(|error| Failure::new(error.to_string()))?;
        write(&path, &text)
    }

    /// Forgets who is signed in.
    pub(crate) fn forget() -> Result<(), Failure> {
        for file in [path()?, authority()?] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
