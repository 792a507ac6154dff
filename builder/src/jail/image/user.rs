//! Who a user of an image is, by its own `/etc/passwd` and `/etc/group`.

use super::root::Root;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Bytes of a file of accounts; more are not read.
const ACCOUNTS_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Its id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
    /// Its home.
    pub home: String,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// Not in the file.
    #[error("unable to find {what} {name}: no matching entries in {file} file")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// As it was given.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// No sandbox has it.
    #[error("the id {0} is above 65535")]
    TooHigh(u32),
    /// The files cannot be read.
    #[error("read the accounts of the image")]
    Io(#[from] io::Error),
}

/// Finds a user given as USER has it: `name`, `uid`, each with `:group` or `:gid`.
pub(crate) fn find(root: &Path, user: &str) -> Result<User, UserError> {
    let root = Root::open(root)?;
    let text = |path| Ok::<_, io::Error>(root.text(path, ACCOUNTS_MAX_BYTES)?.unwrap_or_default());
    let (passwd, group) = (text("etc/passwd")?, text("etc/group")?);
    let user = resolve(user, &passwd, &group)?;
    for id in [user.uid, user.gid] {
        if id > 0xffff {
            return Err(UserError::TooHigh(id));
        }
    }
    Ok(user)
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let found = passwd.lines().map(fields).find(|fields| {
        let is_id = || {
            let id = fields.get(2).and_then(|id| id.parse().ok());
            number.is_some() && id == number
        };
        fields.first() == Some(&name) || is_id()
    });
    let field = |at: usize| found.as_ref().and_then(|fields| fields.get(at).copied());
    let uid = field(2).and_then(|id| id.parse().ok()).or(number);
    let uid = uid.ok_or_else(|| UserError::Unknown {
        what: "user",
        name: name.to_owned(),
        file: "passwd",
    })?;
    let gid = match group_name {
        Some(name) => find_group(name, group)?,
        None => field(3).and_then(|id| id.parse().ok()).unwrap_or(0),
    };
    let home = field(5).filter(|home| home.starts_with('/')).unwrap_or("/");
    Ok(User {
        uid,
        gid,
        home: home.to_owned(),
    })
}

fn find_group(name: &str, group: &str) -> Result<u32, UserError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = group.lines().map(fields).find(|f| f.first() == Some(&name));
    found
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| UserError::Unknown {
            what: "group",
            name: name.to_owned(),
            file: "group",
        })
}

/// `--chown`: as a user, but a lone number is the group, too.
pub(crate) fn owner(root: &Path, chown: &str) -> Result<(u32, u32), UserError> {
    if let Ok(id) = chown.parse() {
        return Ok((id, id));
    }
    let user = find(root, chown)?;
    Ok((user.uid, user.gid))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:12::/var/mail:/bin/sh\n";
        let group = "root:x:0:\nusers:x:100:mail\nmail:x:12:\n";
        for (user, expected) in [
            ("", Ok((0, 0, "/root"))),
            ("mail", Ok((8, 12, "/var/mail"))),
            ("8", Ok((8, 12, "/var/mail"))),
            ("mail:users", Ok((8, 100, "/var/mail"))),
            ("33:100", Ok((33, 100, "/"))),
            ("4242", Ok((4242, 0, "/"))),
            (
                "nosuch",
                Err("unable to find user nosuch: no matching entries in passwd file"),
            ),
            (
                "mail:x",
                Err("unable to find group x: no matching entries in group file"),
            ),
        ] {
            let got = resolve(user, passwd, group).map_err(|error| error.to_string());
            let got = got.as_ref().map(|u| (u.uid, u.gid, u.home.as_str()));
            assert_eq!(got.map_err(String::as_str), expected, "{user}");
        }
    }
}
