//! Heredocs: which words of a line open one. Pure.

use super::words;

/// A heredoc with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// The word that ends it, and the name of the file it becomes.
    pub name: String,
    /// Whether variables in it are expanded by COPY and ADD: the word had no quotes.
    pub expands: bool,
    /// `<<-`: tabs in front of each line are cut.
    pub strips_tabs: bool,
    /// Its lines.
    pub content: String,
}

/// Whether the instruction of a line may have heredocs.
pub(crate) fn may_open(line: &str) -> bool {
    let (mut keyword, mut rest) = words::split_first(line);
    if keyword.eq_ignore_ascii_case("ONBUILD") {
        (keyword, rest) = words::split_first(rest);
    }
    let has_rest = !rest.is_empty();
    let known = ["RUN", "COPY", "ADD"];
    has_rest
        && known.iter().any(|name| keyword.eq_ignore_ascii_case(name))
        && !rest.starts_with('[')
}

/// The heredocs that the words of a line open, still without their text.
pub(crate) fn openings(rest: &str, escape: char) -> Vec<Heredoc> {
    let words = words::quoted(rest, escape);
    words
        .iter()
        .filter_map(|word| opening(word, escape))
        .collect()
}

/// What a word opens: `3<<-NAME`.
pub(crate) fn opening(word: &str, escape: char) -> Option<Heredoc> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let word = word.strip_prefix("<<")?;
    let (strips_tabs, word) = match word.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, word),
    };
    if word.contains('<') {
        return None;
    }
    let mut name = String::new();
    let mut chars = word.chars();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => name.extend(chars.next()),
            _ => name.push(c),
        }
    }
    let is_name = !name.is_empty() && quote.is_none() && !name.contains(char::is_whitespace);
    is_name.then(|| Heredoc {
        expands: !word.contains(['\'', '"']),
        name,
        strips_tabs,
        content: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_open_one() {
        let check = |rest: &str, expected: &[(&str, bool, bool)]| {
            let got: Vec<_> = openings(rest, '\\')
                .into_iter()
                .map(|h| (h.name, h.expands, h.strips_tabs))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, expands, strips)| ((*name).to_owned(), *expands, *strips))
                .collect();
            assert_eq!(got, expected, "{rest}");
        };
        check("<<EOF", &[("EOF", true, false)]);
        check(
            "cat <<-A 3<<\"B\" > x",
            &[("A", true, true), ("B", false, false)],
        );
        check("<<E\"O\"F", &[("EOF", false, false)]);
        check("echo $((1<<2)) \"<<EOF\" a<<EOF <<", &[]);
        check("<<<x", &[]);
    }

    #[test]
    fn instructions_that_may_have_one() {
        let check = |line: &str, expected: bool| assert_eq!(may_open(line), expected, "{line}");
        check("run <<E", true);
        check("ONBUILD COPY <<E /x", true);
        check("ENV A=<<E", false);
        check("RUN [\"<<E\"]", false);
    }
}
