//! The YAML that `bin/release` prints: `default_process_types`. Pure.
//!
//! Buildpacks write a small part of YAML here, and that part is read: block mappings, plain,
//! quoted and folded scalars, JSON (which is YAML, too). Everything but the process types is
//! passed over: add-ons do not exist here, and Heroku applies `config_vars` on first deploys only.

use model::process::{Type, Types};

/// Bytes of the output; ours. What comes is cut at this by the jail.
const LINES_MAX: usize = 2_000;

/// What cannot be read, as a sentence's end after "bin/release".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlError {
    /// A line is outside of the part of YAML that is read.
    #[error("line {0} is no `name: command`")]
    Line(usize),
    /// The name is no process type.
    #[error("names the process type {0:?}: {1}")]
    Type(String, model::process::TypeError),
    /// The output begins like JSON and is none.
    #[error("is no JSON")]
    Json,
}

/// Reads the process types; `---`, `--- {}` and nothing have none.
pub(crate) fn process_types(text: &str) -> Result<Types, YamlError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let text = text.strip_prefix("---").unwrap_or(text).trim_start();
    if text.starts_with('{') {
        return from_json(text);
    }
    from_block(text)
}

fn from_json(text: &str) -> Result<Types, YamlError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    // `{}` aside, flow mappings with plain scalars are not written by any buildpack we know.
    let Some(Ok(value)) = values.next() else {
        return Err(YamlError::Json);
    };
    let mut types = Types::new();
    let entries = value
        .get("default_process_types")
        .and_then(|v| v.as_object());
    for (name, command) in entries.into_iter().flatten() {
        insert(&mut types, name, command.as_str().unwrap_or_default())?;
    }
    Ok(types)
}

/// A line with its number from 1 and how far it is indented.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

fn from_block(text: &str) -> Result<Types, YamlError> {
    let mut lines = text
        .lines()
        .enumerate()
        .take(LINES_MAX)
        .map(|(index, line)| Line {
            number: index + 1,
            indent: line.len() - line.trim_start_matches(' ').len(),
            text: line.trim(),
        })
        .filter(|line| !line.text.is_empty() && !line.text.starts_with('#'))
        .take_while(|line| line.text != "...")
        .peekable();
    let mut types = Types::new();
    while let Some(line) = lines.next() {
        // What belongs to a key that is passed over; a list may stand as far left as its key.
        if line.indent > 0 || line.text == "-" || line.text.starts_with("- ") {
            continue;
        }
        let Some((key, value)) = split(line.text) else {
            return Err(YamlError::Line(line.number));
        };
        if scalar(key) != "default_process_types" {
            continue;
        }
        if value.starts_with('{') {
            let json = format!("{{\"default_process_types\":{value}}}");
            types.append(&mut from_json(&json)?);
            continue;
        }
        let mut entry_indent = None;
        while let Some(line) = lines.next_if(|line| line.indent > 0) {
            let indent = *entry_indent.get_or_insert(line.indent);
            let (name, value) = split(line.text).ok_or(YamlError::Line(line.number))?;
            // Deeper lines go on with the scalar: folded plain text, or a block after `|` or `>`.
            let is_block = value.starts_with(['|', '>']);
            let mut command = if is_block {
                String::new()
            } else {
                value.to_owned()
            };
            while let Some(more) = lines.next_if(|line| line.indent > indent) {
                if !command.is_empty() {
                    command.push(' ');
                }
                command.push_str(more.text);
            }
            let command = if is_block { command } else { scalar(&command) };
            insert(&mut types, &scalar(name), &command)?;
        }
    }
    Ok(types)
}

/// Splits `key: value` or `key:` at the first colon outside of quotes.
fn split(text: &str) -> Option<(&str, &str)> {
    let start = match text.chars().next()? {
        quote @ ('"' | '\'') => text.get(1..)?.find(quote)? + 2,
        _ => 0,
    };
    let colon = text
        .match_indices(':')
        .map(|(at, _)| at)
        .filter(|at| *at >= start)
        .find(|at| {
            text.get(at + 1..)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        })?;
    let (key, value) = text.split_at_checked(colon)?;
    Some((key.trim(), value.get(1..)?.trim()))
}

/// A plain or quoted scalar, without the comment after it.
fn scalar(text: &str) -> String {
    if let Some(body) = text.strip_prefix('\'') {
        let end = body.rfind('\'').unwrap_or(body.len());
        return body.get(..end).unwrap_or(body).replace("''", "'");
    }
    if text.starts_with('"') {
        let end = text.rfind('"').unwrap_or(0);
        let quoted = text.get(..=end).unwrap_or(text);
        // Double-quoted YAML is JSON's string for all that buildpacks write.
        return serde_json::from_str(quoted)
            .unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
    }
    let end = text.find(" #").unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end().to_owned()
}

fn insert(types: &mut Types, name: &str, command: &str) -> Result<(), YamlError> {
    if command.is_empty() {
        return Ok(());
    }
    let name = Type::parse(name).map_err(|error| YamlError::Type(name.to_owned(), error))?;
    types.insert(name, command.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let types = process_types(text).expect(text);
        let got: Vec<_> = types
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn what_buildpacks_print() {
        for empty in [
            "",
            "---",
            "--- {}",
            "---\n",
            "--- \n{}",
            "---\naddons: []\n",
            "# x",
        ] {
            check(empty, &[]);
        }
        check(
            "---\naddons:\n  - heroku-postgresql\ndefault_process_types:\n  web: npm start\n",
            &[("web", "npm start")],
        );
        check(
            "---\naddons:\n- a\nconfig_vars: {}\ndefault_process_types:\n  rake: bundle exec rake\n  \
             web: bin/rails server -p ${PORT:-5000} -e $RAILS_ENV\n",
            &[
                ("rake", "bundle exec rake"),
                ("web", "bin/rails server -p ${PORT:-5000} -e $RAILS_ENV"),
            ],
        );
        check(
            "default_process_types:\n    web: \"a \\\"b\\\" # c\"\n    w: 'it''s'\n    x: a # c\n",
            &[("w", "it's"), ("web", "a \"b\" # c"), ("x", "a")],
        );
        check(
            "default_process_types:\n  web: java $JAVA_OPTS\n    -jar target/*.jar\n  b: >-\n    one\n    two\nother: x\n",
            &[
                ("b", "one two"),
                ("web", "java $JAVA_OPTS -jar target/*.jar"),
            ],
        );
        check(
            "{\"default_process_types\": {\"web\": \"x: y\"}}",
            &[("web", "x: y")],
        );
        check("default_process_types: {\"web\": \"x\"}", &[("web", "x")]);
        check(
            "default_process_types:\n  web: http://a:80/\n",
            &[("web", "http://a:80/")],
        );
        check("default_process_types: {}\n", &[]);
    }

    #[test]
    fn what_is_refused() {
        for (text, error) in [
            ("nonsense", "line 1 is no `name: command`"),
            (
                "default_process_types:\n  - web",
                "line 2 is no `name: command`",
            ),
            ("{web: x}", "is no JSON"),
            (
                "default_process_types:\n  w/b: x",
                "names the process type \"w/b\": process types are 1 to 63 letters, digits, \
                 dashes and underscores and start with a letter or digit",
            ),
        ] {
            assert_eq!(process_types(text).unwrap_err().to_string(), error);
        }
    }
}
