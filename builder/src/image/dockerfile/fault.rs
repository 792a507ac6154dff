//! What is wrong with a Dockerfile, and where. Pure.

use std::fmt;

/// Lines of a file shown before and after the culprit.
const CONTEXT_LINES: usize = 2;
/// Bytes of a line that are shown.
const SHOWN_MAX_CHARS: usize = 160;

/// Something wrong in some lines of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The first line, from 1; 0: the file as a whole.
    pub first: usize,
    /// The last line.
    pub last: usize,
    /// The word that is to blame, if one is.
    pub word: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    /// A fault of the lines `first` to `last`.
    pub(crate) fn new((first, last): (usize, usize), message: impl Into<String>) -> Self {
        Self {
            first,
            last,
            word: None,
            message: message.into(),
        }
    }

    /// The same, caused by one word of these lines.
    pub(crate) fn at(self, word: &str) -> Self {
        Self {
            word: Some(word.to_owned()),
            ..self
        }
    }

    /// What the person sees: file, line and column, the message, and the lines with a mark.
    pub(crate) fn told(&self, file: &str, text: &str) -> Vec<String> {
        if self.first == 0 {
            return vec![format!("{file}: {}", self.message)];
        }
        let lines: Vec<&str> = text.lines().collect();
        let place = match self.column(&lines) {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => format!("{file}:{}", self.first),
        };
        let mut told = vec![format!("{place}: {}", self.message)];
        told.extend(frame(&lines, self.first, self.last));
        told
    }

    /// Line and column of the word, both from 1.
    fn column(&self, lines: &[&str]) -> Option<(usize, usize)> {
        let word = self.word.as_deref().filter(|word| !word.is_empty())?;
        let count = (self.last + 1).saturating_sub(self.first);
        let numbered = lines.iter().enumerate().skip(self.first - 1).take(count);
        for (index, line) in numbered {
            if let Some(at) = line.find(word) {
                let before = line.get(..at).unwrap_or_default();
                return Some((index + 1, before.chars().count() + 1));
            }
        }
        None
    }
}

/// The lines around the culprits, which are marked with `>>>`.
pub(crate) fn frame(lines: &[&str], first: usize, last: usize) -> Vec<String> {
    let rule = "-".repeat(20);
    let from = first.saturating_sub(CONTEXT_LINES).max(1);
    let to = (last + CONTEXT_LINES).min(lines.len());
    let mut told = vec![rule.clone()];
    for (index, line) in lines.iter().enumerate().skip(from - 1) {
        let number = index + 1;
        if number > to {
            break;
        }
        let mark = if (first..=last).contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let shown: String = line.trim_end().chars().take(SHOWN_MAX_CHARS).collect();
        told.push(
            format!("{number:>4} | {mark} {shown}")
                .trim_end()
                .to_owned(),
        );
    }
    told.push(rule);
    told
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.first, self.message)
    }
}

impl std::error::Error for Fault {}

/// ` (did you mean X?)` when one of `known` is near, else nothing. Equal words, whatever their
/// case, are no suggestion.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let lower = word.to_lowercase();
    let near = known
        .into_iter()
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((1..=2, name)) => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}

/// Levenshtein's distance of two words; words of more than 64 characters are far from everything.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(65).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(65).enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let [over, above] = [j, j + 1].map(|at| row.get(at).copied().unwrap_or(usize::MAX - 1));
            let left = next.last().copied().unwrap_or_default();
            let changed = over + usize::from(x != *y);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let check = |word: &str, expected: &str| {
            let known = ["FROM", "RUN", "ENTRYPOINT", "EXPOSE"];
            assert_eq!(suggestion(word, known), expected, "{word}");
        };
        check("FNTRYPOINT", " (did you mean ENTRYPOINT?)");
        check("RUM", " (did you mean RUN?)");
        check("exposed", " (did you mean EXPOSE?)");
        check("RUN", "");
        check("COPPPY", "");
        check(&"R".repeat(1_000), "");
    }

    #[test]
    fn the_lines_are_shown_with_a_mark() {
        let fault = Fault::new((2, 2), "unknown flag: --bogus").at("--bogus");
        assert_eq!(
            fault.told("Dockerfile", "FROM a\nCOPY --bogus a b\nRUN c\n"),
            [
                "Dockerfile:2:6: unknown flag: --bogus",
                "--------------------",
                "   1 |     FROM a",
                "   2 | >>> COPY --bogus a b",
                "   3 |     RUN c",
                "--------------------",
            ]
        );
        assert_eq!(
            Fault::new((0, 0), "is empty").told("Dockerfile", ""),
            ["Dockerfile: is empty"]
        );
    }
}
