//! Which buildpacks build an app. Pure.
//!
//! The app's own list, else the `.buildpacks` file of the repository, else the first of the
//! built-in ones that says yes.

use model::limits::BUILDPACKS_MAX;

/// The order in which built-in buildpacks are asked (docs/heroku.md, "Buildpacks"), as far as they
/// are there.
const ORDER: [&str; 13] = [
    "ruby", "nodejs", "clojure", "python", "java", "gradle", "scala", "php", "go", "dotnet",
    "rust", "static", "procfile",
];

/// Namespaces that name the same built-in buildpacks.
const NAMESPACES: [&str; 3] = ["urn:buildpack:", "heroku/", "paas/"];

/// A buildpack, as the app's list names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Buildpack {
    /// As it was written.
    pub reference: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a buildpack comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A folder of the platform's `buildpacks/`.
    BuiltIn(String),
    /// A git repository.
    Git {
        /// Its address.
        url: String,
        /// A branch, tag or commit; the repository's default branch without.
        revision: Option<String>,
    },
    /// A folder of the app itself.
    Folder {
        /// From the root of the app, without `./`.
        path: String,
    },
    /// A `.tgz`.
    Archive {
        /// Its address.
        url: String,
    },
}

/// How an app is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// All of these, in order; each has to say yes.
    Listed(Vec<Buildpack>),
    /// The first of these that says yes.
    Detect(Vec<Buildpack>),
}

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// Not a name, not an address.
    #[error(
        "there is no buildpack {name}; built in are {built_in}, others are named by the URL of their git repository or .tgz, or as ./FOLDER of the app"
    )]
    Unknown {
        /// As it was written.
        name: String,
        /// All built-in names.
        built_in: String,
    },
    /// More than [`BUILDPACKS_MAX`].
    #[error("the app has {0} buildpacks, at most {BUILDPACKS_MAX} are run")]
    TooMany(usize),
}

/// Decides. `listed` is the app's list, `file` the `.buildpacks` file, `built_in` what is
/// installed.
pub(crate) fn plan(
    listed: &[String],
    file: Option<&str>,
    built_in: &[String],
) -> Result<Plan, PlanError> {
    let from_file: Vec<String> = file
        .unwrap_or_default()
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let references = if listed.is_empty() {
        &from_file
    } else {
        listed
    };
    if references.len() > BUILDPACKS_MAX {
        return Err(PlanError::TooMany(references.len()));
    }
    if !references.is_empty() {
        let all = references.iter().map(|text| parse(text, built_in));
        return Ok(Plan::Listed(all.collect::<Result<_, _>>()?));
    }
    let here = |name: &&str| built_in.iter().any(|known| known == name);
    let asked = ORDER.into_iter().filter(here).take(BUILDPACKS_MAX);
    Ok(Plan::Detect(asked.map(self::built_in).collect()))
}

fn built_in(name: &str) -> Buildpack {
    Buildpack {
        reference: format!("heroku/{name}"),
        source: Source::BuiltIn(name.to_owned()),
    }
}

fn parse(reference: &str, built_in: &[String]) -> Result<Buildpack, PlanError> {
    let reference = reference.trim();
    let source = if reference.contains("://") {
        remote(reference)
    } else if let Some(path) = reference.strip_prefix("./") {
        folder(path)
    } else {
        let mut name = reference;
        for namespace in NAMESPACES {
            name = name.strip_prefix(namespace).unwrap_or(name);
        }
        let known = built_in.iter().find(|known| *known == name);
        known.map(|name| Source::BuiltIn(name.clone()))
    };
    match source {
        Some(source) => Ok(Buildpack {
            reference: reference.to_owned(),
            source,
        }),
        None => Err(PlanError::Unknown {
            name: reference
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
            built_in: built_in.join(", "),
        }),
    }
}

/// A folder below the root of the app: plain names alone.
fn folder(path: &str) -> Option<Source> {
    let path = path.trim_end_matches('/');
    let is_plain = |name: &str| {
        !name.is_empty() && name != "." && name != ".." && !name.chars().any(char::is_control)
    };
    path.split('/').all(is_plain).then(|| Source::Folder {
        path: path.to_owned(),
    })
}

/// An address of a scheme that a build can reach. What looks like an option of git or curl, or
/// holds blanks, is none.
fn remote(reference: &str) -> Option<Source> {
    let (url, revision) = match reference.split_once('#') {
        Some((url, revision)) => (url, Some(revision)),
        None => (reference, None),
    };
    let is_plain = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let schemes = ["https://", "http://", "git://"];
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) || !is_plain(reference) {
        return None;
    }
    if revision.is_some_and(|revision| revision.is_empty() || revision.starts_with('-')) {
        return None;
    }
    let path = url.split('?').next().unwrap_or(url).to_ascii_lowercase();
    let is_archive = [".tgz", ".tar.gz"].iter().any(|end| path.ends_with(end));
    if is_archive {
        return Some(Source::Archive {
            url: url.to_owned(),
        });
    }
    Some(Source::Git {
        url: url.to_owned(),
        revision: revision.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Vec<String> {
        ["nodejs", "procfile", "python", "static"]
            .map(str::to_owned)
            .to_vec()
    }

    fn check(reference: &str, expected: Option<&Source>) {
        let got = parse(reference, &installed())
            .ok()
            .map(|buildpack| buildpack.source);
        assert_eq!(got.as_ref(), expected, "{reference}");
    }

    #[test]
    fn references() {
        let python = Some(Source::BuiltIn("python".to_owned()));
        for name in [
            "python",
            "heroku/python",
            "urn:buildpack:heroku/python",
            "paas/python",
        ] {
            check(name, python.as_ref());
        }
        for name in [
            "",
            "ruby",
            "../python",
            "heroku/../x",
            "/etc",
            "file:///x",
            "ssh://a/b",
        ] {
            check(name, None);
        }
        let git = |url: &str, revision: Option<&str>| {
            Some(Source::Git {
                url: url.to_owned(),
                revision: revision.map(str::to_owned),
            })
        };
        check("https://a/b.git", git("https://a/b.git", None).as_ref());
        check("https://a/b", git("https://a/b", None).as_ref());
        check(
            "https://a/b.git#v1",
            git("https://a/b.git", Some("v1")).as_ref(),
        );
        check("https://a/b.git#", None);
        check("https://a/b.git#--upload-pack=x", None);
        check("https://a/b c.git", None);
        let folder = |path: &str| {
            Some(Source::Folder {
                path: path.to_owned(),
            })
        };
        check("./buildpack", folder("buildpack").as_ref());
        check("./a/b/", folder("a/b").as_ref());
        for path in ["./", "./..", "./a/../b", "./a//b", "."] {
            check(path, None);
        }
        let archive = |url: &str| {
            Some(Source::Archive {
                url: url.to_owned(),
            })
        };
        check("https://a/b.tgz", archive("https://a/b.tgz").as_ref());
        check(
            "https://a/b.tar.gz?x=1",
            archive("https://a/b.tar.gz?x=1").as_ref(),
        );
    }

    #[test]
    fn the_list_comes_before_the_file_and_both_before_detection() {
        let names = |plan: &Plan| {
            let (word, all) = match plan {
                Plan::Listed(all) => ("listed", all),
                Plan::Detect(all) => ("detect", all),
            };
            let all: Vec<_> = all.iter().map(|b| b.reference.clone()).collect();
            format!("{word} {}", all.join(" "))
        };
        let listed = ["python".to_owned()];
        let file = Some("# c\nheroku/nodejs\n\nstatic\n");
        for (listed, file, expected) in [
            (&listed[..], file, "listed python"),
            (&[], file, "listed heroku/nodejs static"),
            (
                &[],
                Some("\n"),
                "detect heroku/nodejs heroku/python heroku/static heroku/procfile",
            ),
            (
                &[],
                None,
                "detect heroku/nodejs heroku/python heroku/static heroku/procfile",
            ),
        ] {
            assert_eq!(names(&plan(listed, file, &installed()).unwrap()), expected);
        }
        let many = vec!["python".to_owned(); 11];
        assert_eq!(plan(&many, None, &[]), Err(PlanError::TooMany(11)));
        assert_eq!(
            plan(&["perl".to_owned()], None, &installed())
                .unwrap_err()
                .to_string(),
            "there is no buildpack perl; built in are nodejs, procfile, python, static, others are \
             named by the URL of their git repository or .tgz, or as ./FOLDER of the app"
        );
    }
}
