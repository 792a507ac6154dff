//! Lines -> instructions and stages. Pure.

mod copy;
mod health;
mod run;

use super::fault::{Fault, suggestion};
use super::flags::{Flags, Shape};
use super::instruction::{Command, Dockerfile, Instruction, Kind, Stage};
use super::lines::{self, Line};
use super::words;

/// All instructions, for suggestions.
const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "WORKDIR",
    "USER",
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "VOLUME",
    "SHELL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
    "MAINTAINER",
];
/// Count of stages. Ours.
const STAGES_MAX: usize = 200;

/// Parses a whole file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Dockerfile, Fault> {
    let read = lines::read(bytes)?;
    let mut file = Dockerfile {
        escape: read.escape,
        arguments: Vec::new(),
        stages: Vec::new(),
        warnings: read
            .empty_continuations
            .iter()
            .map(|(first, _)| format!("line {first}: empty lines within an instruction"))
            .collect(),
    };
    for line in &read.all {
        add(&mut file, line)?;
    }
    if file.stages.is_empty() {
        return Err(Fault::new((0, 0), "no build stage in current context"));
    }
    Ok(file)
}

/// Parses what an ONBUILD stored; its faults are those of the FROM at `span`.
pub(crate) fn trigger(
    text: &str,
    escape: char,
    span: (usize, usize),
) -> Result<Instruction, Fault> {
    let text = match escape {
        '`' => format!("# escape=`\n{text}"),
        _ => text.to_owned(),
    };
    let fault = |message: String| Fault::new(span, format!("ONBUILD of its base: {message}"));
    let read = lines::read(text.as_bytes()).map_err(|error| fault(error.message))?;
    let [line] = read.all.as_slice() else {
        return Err(fault("it is not one instruction".to_owned()));
    };
    let kind = instruction(line, escape).map_err(|error| fault(error.message))?;
    Ok(Instruction {
        span,
        source: source(line),
        kind,
    })
}

fn add(file: &mut Dockerfile, line: &Line) -> Result<(), Fault> {
    if line.keyword.eq_ignore_ascii_case("FROM") {
        if file.stages.len() == STAGES_MAX {
            return Err(Fault::new(line.span, "more than 200 stages"));
        }
        let stage = from(line, file.escape)?;
        let is_again = stage.name.is_some() && file.stages.iter().any(|s| s.name == stage.name);
        if is_again {
            let name = stage.name.as_deref().unwrap_or_default();
            let at = line.span.0;
            file.warnings
                .push(format!("line {at}: the stage name {name} is used twice"));
        }
        file.stages.push(stage);
        return Ok(());
    }
    let kind = instruction(line, file.escape)?;
    let instruction = Instruction {
        span: line.span,
        source: source(line),
        kind,
    };
    match (file.stages.last_mut(), &instruction.kind) {
        (Some(stage), _) => stage.instructions.push(instruction),
        (None, Kind::Arg(_)) => file.arguments.push(instruction),
        (None, _) => {
            let fault = Fault::new(line.span, "no build stage in current context");
            return Err(fault.at(&line.keyword));
        }
    }
    Ok(())
}

/// The instruction on one line, its keyword in capitals.
fn source(line: &Line) -> String {
    format!("{} {}", line.keyword.to_uppercase(), line.rest)
}

fn from(line: &Line, escape: char) -> Result<Stage, Fault> {
    let known = [("platform", Shape::Text)];
    let (flags, rest) = Flags::take(&line.rest, escape, line.span, &known)?;
    let words = words::by_blanks(rest);
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name)),
        _ => {
            let message = "FROM requires either one or three arguments";
            return Err(Fault::new(line.span, message));
        }
    };
    let name = name.map(|name| name.to_lowercase());
    if let Some(name) = &name
        && !is_stage_name(name)
    {
        let message = format!(
            "invalid name for build stage: \"{name}\", name can't start with a number or contain \
             symbols"
        );
        return Err(Fault::new(line.span, message));
    }
    Ok(Stage {
        span: line.span,
        image: image.clone(),
        platform: flags.text("platform"),
        name,
        instructions: Vec::new(),
    })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

/// What one line says.
fn instruction(line: &Line, escape: char) -> Result<Kind, Fault> {
    let keyword = line.keyword.to_uppercase();
    if line.rest.is_empty() && KEYWORDS.contains(&keyword.as_str()) {
        let message = format!("{keyword} requires at least one argument");
        return Err(Fault::new(line.span, message));
    }
    let whole = || line.rest.clone();
    Ok(match keyword.as_str() {
        "ARG" => Kind::Arg(arguments(line, escape)?),
        "ENV" | "LABEL" => {
            let pairs = pairs(line, &keyword, escape)?;
            if keyword == "ENV" {
                Kind::Env(pairs)
            } else {
                Kind::Label(pairs)
            }
        }
        "RUN" => Kind::Run(Box::new(run::parse(line, escape)?)),
        "COPY" | "ADD" => Kind::Copy(Box::new(copy::parse(line, escape)?)),
        "WORKDIR" => Kind::Workdir(whole()),
        "USER" => Kind::User(whole()),
        "CMD" => Kind::Cmd(command(&line.rest, line.span)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(&line.rest, line.span)?),
        "SHELL" => match words::json(&line.rest, line.span)? {
            Some(words) if !words.is_empty() => Kind::Shell(words),
            _ => {
                let message = "SHELL requires the arguments to be in JSON form";
                return Err(Fault::new(line.span, message));
            }
        },
        "EXPOSE" => Kind::Expose(words::by_blanks(&line.rest)),
        "VOLUME" => Kind::Volume(volumes(line)?),
        "STOPSIGNAL" => Kind::StopSignal(whole()),
        "MAINTAINER" => Kind::Maintainer(whole()),
        "HEALTHCHECK" => Kind::HealthCheck(health::parse(line, escape)?),
        "ONBUILD" => Kind::OnBuild(on_build(line)?),
        _ => {
            let near = suggestion(&keyword, KEYWORDS);
            let message = format!("unknown instruction: {}{near}", line.keyword);
            return Err(Fault::new(line.span, message).at(&line.keyword));
        }
    })
}

/// JSON words, or a text for the shell.
fn command(rest: &str, span: (usize, usize)) -> Result<Command, Fault> {
    Ok(match words::json(rest, span)? {
        Some(words) => Command::Exec(words),
        None => Command::Shell(rest.to_owned()),
    })
}

fn arguments(line: &Line, escape: char) -> Result<Vec<(String, Option<String>)>, Fault> {
    let words = words::quoted(&line.rest, escape);
    let argument = |word: &String| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if name.is_empty() {
            return Err(Fault::new(line.span, "ARG names can not be blank"));
        }
        Ok((name.to_owned(), value))
    };
    words.iter().map(argument).collect()
}

fn pairs(line: &Line, keyword: &str, escape: char) -> Result<Vec<(String, String)>, Fault> {
    let words = words::quoted(&line.rest, escape);
    let fault = |message: String| Fault::new(line.span, message);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (name, value) = words::split_first(&line.rest);
        if value.is_empty() {
            return Err(fault(format!("{keyword} must have two arguments")));
        }
        return Ok(vec![(name.to_owned(), value.to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        None => Err(fault(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))
        .at(word)),
        Some(("", _)) => Err(fault(format!("{keyword} names can not be blank"))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    };
    words.iter().map(pair).collect()
}

fn volumes(line: &Line) -> Result<Vec<String>, Fault> {
    let words = match words::json(&line.rest, line.span)? {
        Some(words) => words,
        None => words::by_blanks(&line.rest),
    };
    if words.is_empty() || words.iter().any(|word| word.trim().is_empty()) {
        let message = "VOLUME specified can not be an empty string";
        return Err(Fault::new(line.span, message));
    }
    Ok(words)
}

/// The text of a trigger with its heredocs, as it is run later.
fn on_build(line: &Line) -> Result<String, Fault> {
    let (keyword, rest) = words::split_first(&line.rest);
    let message = match keyword.to_uppercase().as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        "FROM" => "FROM isn't allowed as an ONBUILD trigger",
        "MAINTAINER" => "MAINTAINER isn't allowed as an ONBUILD trigger",
        _ => {
            let inner = Line {
                keyword: keyword.to_owned(),
                rest: rest.to_owned(),
                ..line.clone()
            };
            // So that a mistake is told here and not to the one who builds on it.
            instruction(&inner, '\\')?;
            return Ok(with_heredocs(line));
        }
    };
    Err(Fault::new(line.span, message).at(keyword))
}

fn with_heredocs(line: &Line) -> String {
    let mut text = line.rest.clone();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    text
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
