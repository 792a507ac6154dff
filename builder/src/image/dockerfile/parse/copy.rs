//! COPY and ADD.

use crate::image::dockerfile::fault::Fault;
use crate::image::dockerfile::flags::{Flags, Shape};
use crate::image::dockerfile::heredoc;
use crate::image::dockerfile::instruction::Copy;
use crate::image::dockerfile::lines::Line;
use crate::image::dockerfile::words;

const COPY_FLAGS: [(&str, Shape); 7] = [
    ("from", Shape::Text),
    ("chown", Shape::Text),
    ("chmod", Shape::Text),
    ("link", Shape::Bool),
    ("parents", Shape::Bool),
    ("exclude", Shape::Texts),
    ("checksum", Shape::Text),
];
const ADD_FLAGS: [(&str, Shape); 7] = [
    ("chown", Shape::Text),
    ("chmod", Shape::Text),
    ("link", Shape::Bool),
    ("exclude", Shape::Texts),
    ("checksum", Shape::Text),
    ("keep-git-dir", Shape::Bool),
    ("unpack", Shape::Bool),
];

/// Parses one.
pub(super) fn parse(line: &Line, escape: char) -> Result<Copy, Fault> {
    let keyword = line.keyword.to_uppercase();
    let is_add = keyword == "ADD";
    let known = if is_add { &ADD_FLAGS } else { &COPY_FLAGS };
    let (flags, rest) = Flags::take(&line.rest, escape, line.span, known)?;
    let fault = |message: String| Fault::new(line.span, message);
    let mut words = match words::json(rest, line.span)? {
        Some(words) => words,
        None => words::by_blanks(rest),
    };
    if words.len() < 2 {
        return Err(fault(format!(
            "{keyword} requires at least two arguments, but only one was provided. Destination \
             could not be determined"
        )));
    }
    let dest = words.pop().unwrap_or_default();
    if !line.heredocs.is_empty() {
        if heredoc::opening(&dest, escape).is_some() {
            let message = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(fault(message).at(&dest));
        }
        words.retain(|word| heredoc::opening(word, escape).is_none());
    }
    if !is_add && flags.text("checksum").is_some() {
        return Err(fault("checksum can't be specified for COPY".to_owned()).at("--checksum"));
    }
    if let Some(from) = flags.text("from").filter(|from| from.contains('$')) {
        return Err(fault(
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround"
                .to_owned(),
        )
        .at(&from));
    }
    let is_url = |word: &&String| word.starts_with("http://") || word.starts_with("https://");
    if !is_add && let Some(url) = words.iter().find(is_url) {
        return Err(fault("source can't be a URL for COPY".to_owned()).at(url));
    }
    let has_name = |owner: String| owner.chars().any(|c| !c.is_ascii_digit() && c != ':');
    if flags.bool("link") == Some(true) && flags.text("chown").is_some_and(has_name) {
        let message = "--link with --chown needs numbers: there is no passwd file to look in";
        return Err(fault(message.to_owned()).at("--chown"));
    }
    Ok(Copy {
        is_add,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        checksum: flags.text("checksum"),
        excludes: flags.texts("exclude"),
        keeps_parents: flags.bool("parents") == Some(true),
        unpack: flags.bool("unpack"),
        sources: words,
        heredocs: line.heredocs.clone(),
        dest,
    })
}
