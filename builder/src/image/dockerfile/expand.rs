//! Variables in a word: `$name`, `${name}` and all its modifiers, quotes, escapes. Pure.
//!
//! The forms and their errors are `BuildKit`'s (docs/images.md, "The language").

use super::glob::{Pattern, symbols};

/// Bytes of an expanded word. Ours: variables that double each other would grow without end.
const WORD_MAX_BYTES: usize = 64 * 1024;
/// Depth of `${A:-${B:-…}}`. Ours.
const DEPTH_MAX: usize = 32;
/// Characters of a value times its length that `${v/p/r}` looks at. Ours.
const REPLACE_MAX: usize = 4 * 1024 * 1024;

/// Values by name; none: not set.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What quotes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// They group and are removed.
    Removed,
    /// They are text: in heredocs.
    Text,
}

/// Expands a word; the error is the text for the person.
pub(crate) fn word(
    text: &str,
    lookup: Lookup<'_>,
    escape: char,
    quotes: Quotes,
) -> Result<String, String> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        lookup,
        escape,
        quotes,
        depth: 0,
        unset: Vec::new(),
    };
    lexer
        .until(None, false)
        .map_err(|reason| format!("failed to process \"{}\": {reason}", shown(text)))
}

/// The names in a word that have no value, for a warning.
pub(crate) fn undefined(text: &str, lookup: Lookup<'_>, escape: char) -> Vec<String> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        lookup,
        escape,
        quotes: Quotes::Removed,
        depth: 0,
        unset: Vec::new(),
    };
    match lexer.until(None, false) {
        Ok(_) => lexer.unset,
        Err(_) => Vec::new(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    lookup: Lookup<'a>,
    escape: char,
    quotes: Quotes,
    depth: usize,
    /// Plain `$name` that is not set.
    unset: Vec<String>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    /// Reads up to `stop`, which is taken, or to the end. `is_raw`: escapes stay.
    fn until(&mut self, stop: Option<char>, is_raw: bool) -> Result<String, String> {
        let mut out = String::new();
        loop {
            if out.len() > WORD_MAX_BYTES {
                return Err("it becomes longer than 64 KiB".to_owned());
            }
            let Some(c) = self.next() else {
                return match stop {
                    None => Ok(out),
                    Some('/') => Err("syntax error: missing '/' in ${}".to_owned()),
                    Some(_) => Err("syntax error: missing '}'".to_owned()),
                };
            };
            match c {
                c if Some(c) == stop => return Ok(out),
                '$' => out.push_str(&self.dollar()?),
                '\'' if self.quotes == Quotes::Removed => out.push_str(&self.single()?),
                '"' if self.quotes == Quotes::Removed => out.push_str(&self.double(is_raw)?),
                c if c == self.escape => {
                    let escaped = self.next();
                    if is_raw && escaped.is_some() {
                        out.push(c);
                    }
                    out.extend(escaped);
                }
                c => out.push(c),
            }
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(out),
                Some(c) => out.push(c),
                None => return Err(unbalanced("single-quote")),
            }
        }
    }

    fn double(&mut self, is_raw: bool) -> Result<String, String> {
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err(unbalanced("double-quote")),
                Some('"') => return Ok(out),
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.escape => {
                    let escaped = self.peek().filter(|n| ['"', '$', c].contains(n));
                    if is_raw || escaped.is_none() {
                        // At the very end it is dropped.
                        out.extend(self.peek().map(|_| c));
                    }
                    if escaped.is_some() {
                        out.extend(self.next());
                    }
                }
                Some(c) => out.push(c),
            }
        }
    }

    /// After a `$`.
    fn dollar(&mut self) -> Result<String, String> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.plain(&name));
        }
        self.next();
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("its variables are nested more than 32 deep".to_owned());
        }
        let name = self.name();
        let value = self.modified(&name);
        self.depth -= 1;
        value
    }

    fn plain(&mut self, name: &str) -> String {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.push(name.to_owned());
        }
        value.unwrap_or_default()
    }

    /// A name: letters, digits, `_`; or digits; or one of the special ones; or nothing.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let first = self.peek();
        let is_number = first.is_some_and(|c| c.is_ascii_digit());
        let fits = |c: char| {
            if is_number {
                c.is_ascii_digit()
            } else {
                c.is_alphanumeric() || c == '_'
            }
        };
        while let Some(c) = self.peek().filter(|c| fits(*c)) {
            name.push(c);
            self.at += 1;
        }
        if name.is_empty()
            && let Some(c) = first.filter(|c| "@*#?-$!".contains(*c))
        {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// Within `${`, after the name.
    fn modified(&mut self, name: &str) -> Result<String, String> {
        let unsupported =
            |modifier: &str| Err(format!("unsupported modifier ({modifier}) in substitution"));
        let Some(modifier) = self.next() else {
            return Err("syntax error: missing '}'".to_owned());
        };
        match modifier {
            '}' => Ok(self.plain(name)),
            ':' => {
                let Some(second) = self.next() else {
                    return Err("syntax error: missing '}'".to_owned());
                };
                match second {
                    '-' | '+' | '?' => {
                        let value = (self.lookup)(name).filter(|value| !value.is_empty());
                        self.alternative(name, second, value, "empty")
                    }
                    other => unsupported(&format!(":{other}")),
                }
            }
            '-' | '+' | '?' => {
                let value = (self.lookup)(name);
                self.alternative(name, modifier, value, "unset")
            }
            '#' | '%' => self.cut(name, modifier),
            '/' => self.replaced(name),
            other => unsupported(&other.to_string()),
        }
    }

    fn alternative(
        &mut self,
        name: &str,
        modifier: char,
        value: Option<String>,
        lack: &str,
    ) -> Result<String, String> {
        let word = self.until(Some('}'), false)?;
        match (modifier, value) {
            ('+', None) => Ok(String::new()),
            ('?', None) if word.is_empty() => Err(format!("{name}: is not allowed to be {lack}")),
            ('?', None) => Err(format!("{name}: {word}")),
            ('+', Some(_)) | (_, None) => Ok(word),
            (_, Some(value)) => Ok(value),
        }
    }

    /// `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`.
    fn cut(&mut self, name: &str, end: char) -> Result<String, String> {
        let is_longest = self.peek() == Some(end);
        self.at += usize::from(is_longest);
        let pattern = self.until(Some('}'), true)?;
        let pattern = Pattern::shell(&pattern).map_err(|error| error.to_string())?;
        let mut value = symbols((self.lookup)(name).unwrap_or_default().as_bytes());
        let is_suffix = end == '%';
        let pattern = if is_suffix {
            value.reverse();
            pattern.reversed()
        } else {
            pattern
        };
        let ends = pattern.prefixes(&value);
        let found = if is_longest {
            ends.iter().rposition(|is_end| *is_end)
        } else {
            ends.iter().position(|is_end| *is_end)
        };
        let mut left = value.split_off(found.unwrap_or(0).min(value.len()));
        if is_suffix {
            left.reverse();
        }
        Ok(left.into_iter().collect())
    }

    /// `${v/p/r}`, `${v//p/r}`.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let is_every = self.peek() == Some('/');
        self.at += usize::from(is_every);
        let pattern = self.until(Some('/'), true)?;
        let replacement = self.until(Some('}'), false)?;
        let pattern = Pattern::shell(&pattern).map_err(|error| error.to_string())?;
        let value = symbols((self.lookup)(name).unwrap_or_default().as_bytes());
        if value.len().saturating_mul(value.len()) > REPLACE_MAX {
            return Err("the value is too long for a replacement".to_owned());
        }
        let mut out = String::new();
        let mut rest = value.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let longest = pattern.prefixes(rest).iter().rposition(|is_end| *is_end);
            match longest {
                Some(length) if length > 0 => {
                    out.push_str(&replacement);
                    rest = rest.get(length..).unwrap_or_default();
                    if !is_every {
                        break;
                    }
                }
                _ => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out.extend(rest);
        Ok(out)
    }
}

fn unbalanced(quote: &str) -> String {
    format!("unexpected end of statement while looking for matching {quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        let value = match name {
            "PWD" => "/home",
            "A" => "abc",
            "P" => "8080",
            "F" => "a/b/c.tar.gz",
            "NULL" => "",
            "SPACE" => "q q",
            "é" => "unicode",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = word(text, &value, '\\', Quotes::Removed);
        let got = got.as_deref().map_err(|error| {
            error
                .split_once("\": ")
                .map_or(error.as_str(), |(_, reason)| reason)
        });
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn plain_variables_quotes_and_escapes() {
        for (text, expected) in [
            ("he\\\\$PWD", "he\\/home"),
            ("\\${}", "${}"),
            ("he$1x", "hex"),
            ("he$.x", "he$.x"),
            ("he$pwd.", "he."),
            ("$PWD", "/home"),
            ("${PWD}x", "/homex"),
            ("$é", "unicode"),
            ("'$PWD'", "$PWD"),
            ("\"$PWD 'x'\"", "/home 'x'"),
            ("\\$A", "$A"),
            ("\"abc\\tdef\"", "abc\\tdef"),
            ("abc\\tdef", "abctdef"),
            ("hello\\", "hello"),
            ("$", "$"),
            ("a$$", "a"),
            ("\"\\\"\\$A\\\\\"", "\"$A\\"),
            ("${aaa}}", "}"),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn modifiers() {
        for (text, expected) in [
            ("${A:-w}${N:-w}${NULL:-w}", "abcww"),
            ("${NULL-w}${N-w}", "w"),
            ("${A:+w}${NULL:+w}${N:+w}", "w"),
            ("${NULL+w}${N+w}", "w"),
            ("${NULL?}", ""),
            ("${A?x}", "abc"),
            ("${U:-\"q q\"}", "q q"),
            ("${U:-a\\ b}", "a b"),
            ("${U:-${A}}", "abc"),
            ("${U:-${V:-$A}}", "abc"),
            ("he${UNS:-\\$PWD:}xx", "he$PWD:xx"),
            ("he${UNS:-\\${PWD}z}xx", "he${PWDz}xx"),
            ("${aaa:-bbb {foo}", "bbb {foo"),
            ("${F#*/}", "b/c.tar.gz"),
            ("${F##*/}", "c.tar.gz"),
            ("${F%.*}", "a/b/c.tar"),
            ("${F%%.*}", "a/b/c"),
            ("${A#x}${A%?}", "abcab"),
            ("9${P%80}/udp", "980/udp"),
            ("${F/\\//-}", "a-b/c.tar.gz"),
            ("${F//\\//-}", "a-b-c.tar.gz"),
            ("${A/b*/x}", "ax"),
            ("${A//?/$P}", "808080808080"),
            ("${A/b/}", "ac"),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn refusals() {
        for (text, reason) in [
            ("${}", "syntax error: bad substitution"),
            ("${:x}", "syntax error: bad substitution"),
            ("${{", "syntax error: bad substitution"),
            ("${A", "syntax error: missing '}'"),
            ("${", "syntax error: missing '}'"),
            ("${aaa:-bbb ${foo}", "syntax error: missing '}'"),
            ("he${.}", "unsupported modifier (.) in substitution"),
            ("${UNS:YYY}", "unsupported modifier (:Y) in substitution"),
            ("${PWD:=000}", "unsupported modifier (:=) in substitution"),
            ("${A:#x}", "unsupported modifier (:#) in substitution"),
            ("${A^}", "unsupported modifier (^) in substitution"),
            ("${A/x}", "syntax error: missing '/' in ${}"),
            ("${A#\\x}", "invalid escape '\\x'"),
            ("${NULL:?}", "NULL: is not allowed to be empty"),
            ("${N?}", "N: is not allowed to be unset"),
            ("${N:?no $A}", "N: no abc"),
            (
                "he\\\\'llo",
                "unexpected end of statement while looking for matching single-quote",
            ),
            (
                "\"a",
                "unexpected end of statement while looking for matching double-quote",
            ),
        ] {
            check(text, Err(reason));
        }
    }

    #[test]
    fn heredocs_keep_quotes() {
        let text = "'$A' \"$A\" \\d line \\\nnext \\$A";
        let got = word(text, &value, '\\', Quotes::Text).unwrap();
        assert_eq!(got, "'abc' \"abc\" d line \nnext $A");
    }

    #[test]
    fn growth_is_bounded() {
        let long = "x".repeat(40_000);
        let lookup = |_: &str| Some(long.clone());
        assert!(word("$A$A$A", &lookup, '\\', Quotes::Removed).is_err());
        let deep = format!("{}{}", "${A:-".repeat(40), "}".repeat(40));
        assert!(word(&deep, &|_: &str| None, '\\', Quotes::Removed).is_err());
    }
}
