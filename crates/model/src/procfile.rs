//! The Procfile: one process type a line, its command behind a colon.
//!
//! Public code knows four grammars that differ. Ours is
//! `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}:[ \t]*(\S.*)$`; a BOM and carriage returns are stripped, lines
//! whose first non-blank is `#` and blank lines are passed over, any other line warns and is
//! ignored, a name that stands twice warns and its last command wins. A `#` inside a command
//! belongs to the command: the shell that runs it decides.

use crate::limits::PROCFILE_MAX_BYTES;
use crate::process::{Type, Types};

/// What a Procfile says, with what was odd about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Procfile {
    /// Process types with their commands.
    pub types: Types,
    /// One sentence a fault, with its line number.
    pub warnings: Vec<String>,
}

/// Why a Procfile cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcfileError {
    /// Not one line was valid.
    #[error("the Procfile has no valid line; a line has the form `web: command`")]
    NoValidLine,
    /// Larger than [`PROCFILE_MAX_BYTES`].
    #[error("the Procfile is larger than {PROCFILE_MAX_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8, or with a NUL byte.
    #[error("the Procfile is not plain UTF-8 text")]
    NotText,
}

/// Reads a Procfile.
pub fn parse(bytes: &[u8]) -> Result<Procfile, ProcfileError> {
    if bytes.len() > PROCFILE_MAX_BYTES {
        return Err(ProcfileError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ProcfileError::NotText)?;
    if text.contains('\0') {
        return Err(ProcfileError::NotText);
    }
    let mut procfile = Procfile::default();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        let line = line.trim_end();
        let start = line.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let Some((name, command)) = entry(line) else {
            procfile.warnings.push(format!(
                "Procfile line {number} is not `name: command` and is ignored"
            ));
            continue;
        };
        if procfile
            .types
            .insert(name.clone(), command.to_owned())
            .is_some()
        {
            procfile.warnings.push(format!(
                "Procfile line {number} names {name} again: this command wins"
            ));
        }
    }
    if procfile.types.is_empty() {
        Err(ProcfileError::NoValidLine)
    } else {
        Ok(procfile)
    }
}

fn entry(line: &str) -> Option<(Type, &str)> {
    let (name, command) = line.split_once(':')?;
    let command = command.trim_start_matches([' ', '\t']);
    if command.is_empty() {
        None
    } else {
        Some((Type::parse(name).ok()?, command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, types: &[(&str, &str)], warnings: usize) {
        let procfile = parse(text.as_bytes()).expect(text);
        let got: Vec<_> = procfile
            .types
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(got, types, "{text:?}");
        assert_eq!(
            procfile.warnings.len(),
            warnings,
            "{text:?}: {:?}",
            procfile.warnings
        );
    }

    #[test]
    fn lines() {
        check("web: node web.js", &[("web", "node web.js")], 0);
        check("web:node", &[("web", "node")], 0);
        check("web:\t  node  \r\n", &[("web", "node")], 0);
        check("\u{feff}web: a", &[("web", "a")], 0);
        check(
            "# c\n  # d\n\nweb: a # not ours\n",
            &[("web", "a # not ours")],
            0,
        );
        check("web: a\nweb: b", &[("web", "b")], 1);
        check(
            "web: a\nnonsense\n: x\nw eb: y\nworker:\n",
            &[("web", "a")],
            4,
        );
        check(
            "my-worker_2: a\nWeb: b\n9: c",
            &[("9", "c"), ("Web", "b"), ("my-worker_2", "a")],
            0,
        );
        check(" web: a\nb: c", &[("b", "c")], 1);
    }

    #[test]
    fn refusals() {
        for (bytes, error) in [
            (b"".as_slice(), ProcfileError::NoValidLine),
            (b"nonsense", ProcfileError::NoValidLine),
            (b"web: \xff", ProcfileError::NotText),
            (b"web: a\0b", ProcfileError::NotText),
        ] {
            assert_eq!(parse(bytes), Err(error));
        }
        assert_eq!(
            parse(&vec![b'a'; PROCFILE_MAX_BYTES + 1]),
            Err(ProcfileError::TooLarge)
        );
    }
}
