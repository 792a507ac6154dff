//! Which app a command is about: `--app`, else the git remote `paas`, else `PAAS_APP`.

use crate::account::environment;
use crate::client::Client;
use crate::failure::Failure;
use serde_json::Value;

/// The options of every command that is about one app.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Choice {
    /// App by name
    #[arg(long, short, global = false)]
    app: Option<String>,
    /// Git remote whose app is meant
    #[arg(long, short, default_value = "paas")]
    remote: String,
}

impl Choice {
    /// An app that was named.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            app: Some(name.to_owned()),
            remote: String::new(),
        }
    }

    /// The app's name, without asking the platform whether there is one.
    pub(crate) fn name(&self) -> Result<String, Failure> {
        let given = self.app.clone().or_else(|| environment("PAAS_APP"));
        given.or_else(|| of_remote(&self.remote)).ok_or_else(|| {
            Failure::usage("no app was named and this folder has no git remote paas")
                .hint("name it with --app NAME, or add the remote: paas git:remote -a NAME")
        })
    }

    /// The path of the app in the API, with a tail like `/dynos`.
    pub(crate) fn path(&self, tail: &str) -> Result<String, Failure> {
        Ok(format!("/apps/{}{tail}", escape(&self.name()?)))
    }
}

/// The app that a git remote of this folder pushes to.
fn of_remote(remote: &str) -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["config", "--get", &format!("remote.{remote}.url")])
        .output()
        .ok()?;
    let url = String::from_utf8(output.stdout).ok()?;
    let name = url.trim().rsplit('/').next()?.strip_suffix(".git")?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A text as one segment of a path.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Adds "did you mean" to a refusal because of an unknown app.
pub(crate) async fn suggest(client: &Client, name: &str, failure: Failure) -> Failure {
    if failure.id != "not_found" || !failure.message.contains("find that app") {
        return failure;
    }
    let apps = client.get("/users/~/apps").await.unwrap_or(Value::Null);
    let names: Vec<&str> = apps
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|app| app.get("name").and_then(Value::as_str))
        .collect();
    let nearest = names
        .iter()
        .map(|other| (distance(name, other), *other))
        .min()
        .filter(|(far, _)| *far <= 2);
    let mut failure = Failure {
        message: format!("no app named {name} on {}", client.account.api_url),
        ..failure
    };
    failure.hint = Some(match nearest {
        Some((_, other)) => format!("did you mean {other}? all apps: paas apps"),
        None => "all apps: paas apps".to_owned(),
    });
    failure
}

/// The number of letters to add, drop or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((above, diagonal), other) in row.iter().skip(1).zip(&row).zip(&b) {
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(letter != *other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, far) in [
            ("", "", 0),
            ("helo", "hello", 1),
            ("hello", "hello", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), far, "{a} {b}");
        }
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(escape("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
