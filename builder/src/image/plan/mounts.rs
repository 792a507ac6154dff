//! `RUN --mount`, with every value expanded. Pure.

use super::From;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a tmpfs without a size. Ours.
const TMPFS_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The mounts of a RUN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mounts {
    /// `type=bind`
    pub binds: Vec<Bind>,
    /// `type=cache`: its id and where it is seen.
    pub caches: Vec<(String, String)>,
    /// `type=tmpfs`: where it is seen, and its bytes.
    pub memories: Vec<(String, u64)>,
}

/// Files that are seen for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bind {
    /// Whose.
    pub from: From,
    /// Below the root of those.
    pub source: String,
    /// Where.
    pub target: String,
}

impl Mounts {
    /// Adds one. `find` tells what `from` means.
    pub(super) fn add(
        &mut self,
        keys: &BTreeMap<String, String>,
        cwd: &str,
        find: impl Fn(&str) -> Result<From, String>,
    ) -> Result<(), String> {
        let get = |key: &str| keys.get(key).map(String::as_str);
        let target = super::path::absolute(cwd, get("target").unwrap_or_default());
        let is = |key: &str| matches!(get(key), Some("true" | "1"));
        match get("type") {
            Some("bind") => {
                if is("rw") || get("ro") == Some("false") {
                    return Err("a bind that may be written is not supported yet".to_owned());
                }
                let from = get("from").map(find).transpose()?;
                self.binds.push(Bind {
                    from: from.unwrap_or(From::Context),
                    source: get("source").unwrap_or("/").to_owned(),
                    target,
                });
            }
            Some("cache") => {
                for key in ["from", "source", "uid", "gid", "mode"] {
                    if get(key).is_some() {
                        return Err(format!("{key} of a cache is not supported yet"));
                    }
                }
                if let Some(other) = get("sharing").filter(|sharing| *sharing != "shared") {
                    return Err(format!("sharing={other} of a cache is not supported yet"));
                }
                let id = get("id").unwrap_or(&target).to_owned();
                self.caches.push((id, target));
            }
            Some("tmpfs") => {
                let max_bytes = match get("size") {
                    Some(text) => size(text).ok_or_else(|| format!("invalid size: {text}"))?,
                    None => TMPFS_MAX_BYTES,
                };
                self.memories.push((target, max_bytes.min(TMPFS_MAX_BYTES)));
            }
            // A push has no secrets and no agent: as if none had been given.
            Some("secret" | "ssh") if !is("required") => {}
            Some("secret") => {
                let id = get("id").or(get("env")).unwrap_or_default();
                return Err(format!(
                    "secret {id}: not found; a push has no build secrets yet"
                ));
            }
            _ => return Err("ssh agents cannot be reached from a push".to_owned()),
        }
        Ok(())
    }
}

/// `64m`, `1g`, `100`.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match lower.get(digits.len()..)?.trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
