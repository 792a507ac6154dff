//! `--chmod`: octal, or symbolic as in chmod(1) with the umask left out. Pure.

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These, whatever they were.
    Octal(u32),
    /// Clause after clause.
    Symbolic(Vec<Clause>),
}

/// `u+rwX`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Which of the three, as a mask of 0o777.
    who: u32,
    /// `+`, `-` or `=`.
    action: char,
    /// What is given, as in each of the three; or whose are copied.
    what: String,
}

impl Change {
    /// Reads `755` or `u=rwX,go=rX`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and \
                 07777"
            )
        };
        if text.chars().all(|c| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok();
            return match mode {
                Some(mode @ 0..=0o7777) => Ok(Self::Octal(mode)),
                _ => Err(bad()),
            };
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clauses).collect();
        Ok(Self::Symbolic(clauses.ok_or_else(bad)?.concat()))
    }

    /// The mode after it.
    pub(crate) fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_folder)),
        }
    }
}

fn clauses(text: &str) -> Option<Vec<Clause>> {
    let at = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(at);
    let who = who.chars().try_fold(0, |mask, c| {
        Some(
            mask | match c {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return None,
            },
        )
    })?;
    let who = if who == 0 { 0o777 } else { who };
    let mut all = Vec::new();
    while let Some(action) = rest.chars().next() {
        let tail = rest.get(1..)?;
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let (what, next) = tail.split_at(end);
        let is_known =
            what.chars().all(|c| "rwxXst".contains(c)) || ["u", "g", "o"].contains(&what);
        if !is_known {
            return None;
        }
        all.push(Clause {
            who,
            action,
            what: what.to_owned(),
        });
        rest = next;
    }
    Some(all)
}

impl Clause {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let mut three = 0;
        let mut special = 0;
        for c in self.what.chars() {
            three |= match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_folder || mode & 0o111 != 0 => 0o111,
                'u' => copied(mode >> 6),
                'g' => copied(mode >> 3),
                'o' => copied(mode),
                _ => 0,
            };
            special |= match c {
                's' => {
                    u32::from(self.who & 0o700 != 0) << 11 | u32::from(self.who & 0o070 != 0) << 10
                }
                't' => 0o1000,
                _ => 0,
            };
        }
        let given = (three & self.who) | special;
        match self.action {
            '+' => mode | given,
            '-' => mode & !given,
            _ => (mode & !self.who) | given,
        }
    }
}

/// One of the three as all three.
fn copied(bits: u32) -> u32 {
    let bits = bits & 0o7;
    bits << 6 | bits << 3 | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        for (text, before, after, in_folder) in [
            ("644", 0o755, 0o644, 0o644),
            ("0", 0o755, 0, 0),
            ("4755", 0o644, 0o4755, 0o4755),
            ("+x", 0o644, 0o755, 0o755),
            ("u=rwX,go=rX", 0o600, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("g=u", 0o640, 0o660, 0o660),
            ("a-w", 0o777, 0o555, 0o555),
            ("u+s", 0o755, 0o4755, 0o4755),
            ("go=", 0o755, 0o700, 0o700),
        ] {
            let change = Change::parse(text).unwrap();
            assert_eq!(change.apply(before, false), after, "{text}");
            assert_eq!(change.apply(before, true), in_folder, "{text} of a folder");
        }
        for text in ["999", "77777", "u", "z+x", "u+q", "+x,"] {
            assert!(Change::parse(text).is_err(), "{text}");
        }
    }
}
