//! The flags of one instruction, taken by name. Pure.

use super::fault::{Fault, suggestion};
use super::words;

/// What a flag looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--name=value`, once.
    Text,
    /// `--name=value`, any number of times.
    Texts,
    /// `--name`, `--name=true`, `--name=false`.
    Bool,
}

/// The flags that an instruction was given.
#[derive(Debug)]
pub(crate) struct Flags(Vec<(String, String)>);

impl Flags {
    /// Takes the flags off the front of a line; returns them and the rest.
    pub(crate) fn take<'a>(
        rest: &'a str,
        escape: char,
        span: (usize, usize),
        known: &[(&'static str, Shape)],
    ) -> Result<(Self, &'a str), Fault> {
        let (words, rest) = words::flags(rest, escape);
        let mut taken = Self(Vec::new());
        for word in words {
            taken.add(&word, span, known)?;
        }
        Ok((taken, rest))
    }

    fn add(
        &mut self,
        word: &str,
        span: (usize, usize),
        known: &[(&'static str, Shape)],
    ) -> Result<(), Fault> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let fault = |message: String| Fault::new(span, message).at(&format!("--{name}"));
        let Some((_, shape)) = known.iter().find(|(known, _)| *known == name) else {
            let near = suggestion(name, known.iter().map(|(name, _)| *name));
            return Err(fault(format!("unknown flag: --{name}{near}")));
        };
        if *shape != Shape::Texts && self.0.iter().any(|(given, _)| given == name) {
            return Err(fault(format!("duplicate flag specified: --{name}")));
        }
        let value = match (shape, value) {
            (Shape::Bool, None | Some("true")) => "true",
            (Shape::Bool, Some("false")) => "false",
            (Shape::Bool, Some(other)) => {
                return Err(fault(format!(
                    "expecting boolean value for flag {name}, not: {other}"
                )));
            }
            (_, None) => return Err(fault(format!("missing a value on flag: --{name}"))),
            (_, Some(value)) => value,
        };
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The value of a flag.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let given = self.0.iter().find(|(given, _)| given == name);
        given.map(|(_, value)| value.clone())
    }

    /// All values of a flag.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let given = self.0.iter().filter(|(given, _)| given == name);
        given.map(|(_, value)| value.clone()).collect()
    }

    /// A flag that is on or off.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_by_shape() {
        let known = [
            ("chown", Shape::Text),
            ("exclude", Shape::Texts),
            ("link", Shape::Bool),
        ];
        let take = |rest| Flags::take(rest, '\\', (1, 1), &known);
        let (flags, rest) = take("--exclude=a --link --exclude=b --chown=c=d x").unwrap();
        assert_eq!(flags.texts("exclude"), ["a", "b"]);
        assert_eq!(flags.text("chown").as_deref(), Some("c=d"));
        assert_eq!((flags.bool("link"), rest), (Some(true), "x"));
        for (rest, message) in [
            ("--bogus x", "unknown flag: --bogus"),
            ("--chwn=a x", "unknown flag: --chwn (did you mean chown?)"),
            ("--chown x", "missing a value on flag: --chown"),
            ("--link=z", "expecting boolean value for flag link, not: z"),
            ("--link --link", "duplicate flag specified: --link"),
        ] {
            assert_eq!(take(rest).unwrap_err().message, message, "{rest}");
        }
    }
}
