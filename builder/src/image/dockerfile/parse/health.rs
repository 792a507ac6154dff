//! HEALTHCHECK.

use crate::image::dockerfile::fault::Fault;
use crate::image::dockerfile::flags::{Flags, Shape};
use crate::image::dockerfile::instruction::{Command, HealthCheck};
use crate::image::dockerfile::lines::Line;
use crate::image::dockerfile::words;

const DURATIONS: [&str; 4] = ["interval", "timeout", "start-period", "start-interval"];
const NANOSECONDS_PER_MS: i64 = 1_000_000;

/// Parses one.
pub(super) fn parse(line: &Line, escape: char) -> Result<HealthCheck, Fault> {
    let known = DURATIONS
        .map(|name| (name, Shape::Text))
        .into_iter()
        .chain([("retries", Shape::Text)])
        .collect::<Vec<_>>();
    let (flags, rest) = Flags::take(&line.rest, escape, line.span, &known)?;
    let fault = |message: String| Fault::new(line.span, message);
    let mut check = HealthCheck::default();
    for name in DURATIONS {
        let Some(text) = flags.text(name) else {
            continue;
        };
        let nanoseconds = duration(&text)
            .ok_or_else(|| fault(format!("time: invalid duration \"{text}\"")).at(&text))?;
        if nanoseconds != 0 && nanoseconds < NANOSECONDS_PER_MS {
            return Err(fault(format!("Interval \"{name}\" cannot be less than 1ms")).at(&text));
        }
        check.numbers.insert(name, nanoseconds);
    }
    if let Some(text) = flags.text("retries") {
        let retries: i64 = text
            .parse()
            .ok()
            .filter(|retries| *retries >= 0)
            .ok_or_else(|| fault(format!("--retries cannot be {text}")).at(&text))?;
        check.numbers.insert("retries", retries);
    }
    let (word, rest) = words::split_first(rest);
    check.test = match word.to_uppercase().as_str() {
        "NONE" if rest.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(fault("HEALTHCHECK NONE takes no arguments".to_owned())),
        "CMD" if rest.is_empty() => {
            return Err(fault("Missing command after HEALTHCHECK CMD".to_owned()));
        }
        "CMD" => match super::command(rest, line.span)? {
            Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text],
        },
        _ => {
            let message = format!("Unknown type \"{word}\" in HEALTHCHECK (try CMD)");
            return Err(fault(message).at(word));
        }
    };
    Ok(check)
}

/// Go's durations: `1m30s`, `500ms`, `1.5h`, `0`.
fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = after.split_at(unit_end.unwrap_or(after.len()));
        let nanoseconds = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * nanoseconds;
        rest = next;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a duration longer than 292 years saturates"
    )]
    let nanoseconds = total.round() as i64;
    (!text.is_empty()).then_some(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("1m30s", Some(90_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0", Some(0)),
            ("abc", None),
            ("5", None),
            ("", None),
            ("s", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
