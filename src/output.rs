//! What a person reads: results on standard output, everything else on standard error, colours
//! only on a terminal. The one place of the program that prints.
#![expect(
    clippy::print_stderr,
    reason = "this module is the command line's voice"
)]

use http_body_util::BodyExt as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// Also into pipes and files.
    Always,
    /// Not at all.
    Never,
    /// When the stream is a terminal, `NO_COLOR` is unset and TERM is not dumb.
    #[default]
    Auto,
}

/// What a piece of text is; decides its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ink {
    /// An app's name.
    App,
    /// The platform's own words.
    Platform,
    /// It is well.
    Good,
    /// It is on its way.
    Wait,
    /// It is broken.
    Bad,
    /// Of less weight.
    Dim,
    /// A name that the user chose, a head.
    Bold,
}

static COLORS: OnceLock<(bool, bool)> = OnceLock::new();

/// Fixes once whether the two streams take colours.
pub(crate) fn set_color(choice: Color, is_plain: bool) {
    let wanted = |is_terminal: bool| match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !is_plain,
    };
    let colors = (
        wanted(std::io::stdout().is_terminal()),
        wanted(std::io::stderr().is_terminal()),
    );
    COLORS.get_or_init(|| colors);
}

fn paint(is_colored: bool, ink: Ink, text: &str) -> String {
    let code = match ink {
        Ink::App => "36",
        Ink::Platform => "35",
        Ink::Good => "32",
        Ink::Wait => "33",
        Ink::Bad => "31",
        Ink::Dim => "2",
        Ink::Bold => "1",
    };
    if is_colored {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The text in its colour, for standard output.
pub(crate) fn ink(ink: Ink, text: &str) -> String {
    paint(COLORS.get().is_some_and(|colors| colors.0), ink, text)
}

/// The text in its colour, for standard error.
pub(crate) fn ink_aside(ink: Ink, text: &str) -> String {
    paint(COLORS.get().is_some_and(|colors| colors.1), ink, text)
}

/// One line of the result. False: nobody reads any more, as after `| head`.
pub(crate) fn line(text: &str) -> bool {
    writeln!(std::io::stdout().lock(), "{text}").is_ok()
}

/// One line beside the result: progress, hints, warnings.
pub(crate) fn aside(text: &str) {
    eprintln!("{text}");
}

/// The start of a line beside the result that [`aside`] will end.
pub(crate) fn begin_aside(text: &str) {
    eprint!("{text}");
}

/// Bytes of a dyno as they are: its terminal is this one.
pub(crate) fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// A stream to its end, or until nobody reads any more, as after `| head`.
pub(crate) async fn stream(mut body: hyper::body::Incoming) -> hyper::Result<()> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data()
            && bytes(&data).is_err()
        {
            break;
        }
    }
    Ok(())
}

/// A value as one JSON document.
pub(crate) fn json(value: &serde_json::Value) {
    line(&format!("{value:#}"));
}

/// An error as people read it: what happened with an arrow, then the next step.
pub(crate) fn failure(message: &str, hint: Option<&str>) {
    let mut lines = message.lines();
    eprintln!(
        " {}     {}",
        paint(COLORS.get().is_some_and(|colors| colors.1), Ink::Bad, "!"),
        lines.next().unwrap_or("")
    );
    for line in lines.chain(hint.into_iter().flat_map(str::lines)) {
        eprintln!("       {line}");
    }
}

/// A table: two blanks between columns, empty cells as `-`, nothing cut.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(head.get(column).map(|title| title.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{:<width$}", if cell.is_empty() { "-" } else { cell }))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    line(&ink(Ink::Dim, &render(&mut head.iter().copied())));
    for row in rows {
        line(&render(&mut row.iter().map(String::as_str)));
    }
}

/// Text of strangers made harmless on a terminal: control characters but TAB become U+FFFD.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
