//! Lines of a build, with the time at the right of each step that took long. Pure.
//!
//! A step is an arrow line (`-----> `) with what follows up to the next. The time of a step is
//! known when it ends, and a terminal of lines cannot go back: so a step is held for
//! [`HOLD_MS`]; one that ends sooner gets its time on the arrow line, a longer one goes out live
//! and its time comes in a line of its own.

/// Milliseconds a step is held at most.
pub(crate) const HOLD_MS: u64 = 1_000;
/// Milliseconds below which a time is not shown (docs/heroku.md, "Output of a push").
const SHOWN_FROM_MS: u64 = 100;
/// Column at which times end, counted after `remote: `.
const COLUMNS: usize = 75;

/// The arrow of a step.
const ARROW: &str = "-----> ";

/// Where the current step stands.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    current: Option<Step>,
}

#[derive(Debug)]
struct Step {
    started_ms: u64,
    /// Its lines, arrow line first; empty once it goes out live.
    held: Vec<String>,
}

impl Steps {
    /// Takes a line; returns what goes out now.
    pub(crate) fn line(&mut self, line: String, now_ms: u64) -> Vec<String> {
        if line.starts_with(ARROW) {
            let out = self.close(now_ms);
            self.current = Some(Step {
                started_ms: now_ms,
                held: vec![line],
            });
            return out;
        }
        match &mut self.current {
            Some(step) if !step.held.is_empty() => {
                step.held.push(line);
                self.release(now_ms)
            }
            _ => vec![line],
        }
    }

    /// When [`Steps::release`] has something to do; none while nothing is held.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let step = self.current.as_ref()?;
        (!step.held.is_empty()).then(|| step.started_ms + HOLD_MS)
    }

    /// Lets a step go that was held long enough.
    pub(crate) fn release(&mut self, now_ms: u64) -> Vec<String> {
        match &mut self.current {
            Some(step) if now_ms >= step.started_ms + HOLD_MS => std::mem::take(&mut step.held),
            _ => Vec::new(),
        }
    }

    /// Ends the current step.
    pub(crate) fn close(&mut self, now_ms: u64) -> Vec<String> {
        let Some(Step { started_ms, held }) = self.current.take() else {
            return Vec::new();
        };
        let took_ms = now_ms.saturating_sub(started_ms);
        let time = seconds(took_ms);
        let mut held = held.into_iter();
        match held.next() {
            None => vec![format!("{time:>COLUMNS$}")],
            Some(arrow) if took_ms < SHOWN_FROM_MS => std::iter::once(arrow).chain(held).collect(),
            Some(arrow) => {
                let width = COLUMNS.saturating_sub(arrow.chars().count() + 1);
                let arrow = format!("{arrow} {time:>width$}");
                std::iter::once(arrow).chain(held).collect()
            }
        }
    }
}

/// `0.42 s`.
pub(crate) fn seconds(ms: u64) -> String {
    let hundredths = (ms + 5) / 10;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines with their times in, lines with the times at which they came out.
    fn check(input: &[(u64, &str)], end_ms: u64, expected: &[(u64, &str)]) {
        let mut steps = Steps::default();
        let mut out = Vec::new();
        let mut emit = |at: u64, lines: Vec<String>| {
            out.extend(lines.into_iter().map(|line| (at, line)));
        };
        for (now, line) in input {
            if let Some(at) = steps.deadline_ms().filter(|at| at < now) {
                emit(at, steps.release(at));
            }
            emit(*now, steps.line((*line).to_owned(), *now));
        }
        if let Some(at) = steps.deadline_ms().filter(|at| *at < end_ms) {
            emit(at, steps.release(at));
        }
        emit(end_ms, steps.close(end_ms));
        let expected: Vec<_> = expected
            .iter()
            .map(|(at, l)| (*at, (*l).to_owned()))
            .collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn lines_before_any_step_go_out_at_once() {
        check(
            &[(0, "Building source:"), (5, "")],
            9,
            &[(0, "Building source:"), (5, "")],
        );
    }

    #[test]
    fn short_steps_have_no_time_longer_ones_have_it_on_the_arrow() {
        check(
            &[
                (0, "-----> Python app detected"),
                (40, "-----> Installing dependencies with uv"),
                (300, "       31 packages, 0 new"),
                (460, "-----> Discovering process types"),
            ],
            470,
            &[
                (40, "-----> Python app detected"),
                (
                    460,
                    "-----> Installing dependencies with uv                               0.42 s",
                ),
                (460, "       31 packages, 0 new"),
                (470, "-----> Discovering process types"),
            ],
        );
    }

    #[test]
    fn long_steps_go_out_live() {
        check(
            &[(0, "-----> Compiling"), (10, "a"), (2_000, "b")],
            61_234,
            &[
                (1_000, "-----> Compiling"),
                (1_000, "a"),
                (2_000, "b"),
                (61_234, &format!("{:>75}", "61.23 s")),
            ],
        );
    }

    #[test]
    fn arrow_lines_of_any_length() {
        let long = format!("-----> {}", "x".repeat(100));
        check(&[(0, &long)], 150, &[(150, &format!("{long} 0.15 s"))]);
    }
}
