//! Words of a line: by blanks, by quotes, as flags, or as a JSON array. Pure.

use super::fault::Fault;

/// Separates words.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// The first word and the rest, trimmed.
pub(crate) fn split_first(text: &str) -> (&str, &str) {
    let text = text.trim_matches(is_blank);
    match text.find(is_blank) {
        Some(at) => {
            let (word, rest) = text.split_at(at);
            (word, rest.trim_start_matches(is_blank))
        }
        None => (text, ""),
    }
}

/// Words by blanks alone; quotes mean nothing.
pub(crate) fn by_blanks(text: &str) -> Vec<String> {
    text.split(is_blank)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Words by blanks outside quotes; quotes and escapes stay in the words.
pub(crate) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && is_blank(c) {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_default();
        current.push(c);
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            current.extend(chars.next());
        }
    }
    words.extend(word);
    words
}

/// The flags in front, without their `--`, and the rest. `--` alone ends them.
pub(crate) fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while rest.starts_with("--") {
        let (word, after) = unquoted(rest, escape);
        rest = after.trim_start_matches(is_blank);
        match word.strip_prefix("--") {
            Some("") | None => break,
            Some(flag) => flags.push(flag.to_owned()),
        }
    }
    (flags, rest)
}

/// The first word without its quotes and escapes, and what follows it.
fn unquoted(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if is_blank(c) => return (word, text.get(at..).unwrap_or_default()),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, "")
}

/// The words of a JSON array, if that is what the text is.
pub(crate) fn json(text: &str, span: (usize, usize)) -> Result<Option<Vec<String>>, Fault> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let words: Option<Vec<String>> = values
        .iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect();
    match words {
        Some(words) => Ok(Some(words)),
        None => Err(Fault::new(
            span,
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_quotes() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(quoted(text, '\\'), expected, "{text}");
        };
        check("a  b\tc", &["a", "b", "c"]);
        check("K=\"a b\" L=c", &["K=\"a b\"", "L=c"]);
        check("K=a\\ b c", &["K=a\\ b", "c"]);
        check("K='a\\' b'", &["K='a\\'", "b'"]);
        check("K=\"a\\\" b\" c", &["K=\"a\\\" b\"", "c"]);
        check("", &[]);
    }

    #[test]
    fn flags_come_first() {
        let check = |text: &str, expected: &[&str], rest: &str| {
            let (got, after) = flags(text, '\\');
            assert_eq!((got, after), (owned(expected), rest), "{text}");
        };
        check("--from=a --link  b --c", &["from=a", "link"], "b --c");
        check("-- --from=a", &[], "--from=a");
        check("--mount=\"a b\",c\\ d x", &["mount=a b,c d"], "x");
        check("a --b", &[], "a --b");
        check("--only", &["only"], "");
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arrays_are_json_or_text() {
        let check = |text: &str, expected: Option<&[&str]>| {
            assert_eq!(json(text, (1, 1)).unwrap(), expected.map(owned), "{text}");
        };
        check("[\"a\", \"b c\"]", Some(&["a", "b c"]));
        check("[]", Some(&[]));
        check("['a']", None);
        check("[\"a\"", None);
        check("[\"a\"] x", None);
        check("a", None);
        assert!(json("[\"a\", 1]", (1, 1)).is_err());
    }
}
