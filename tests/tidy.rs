//! What a reviewer would otherwise have to count: the rules of the house that no other tool knows.
//!
//! Plain std, reads the sources once, says everything that is wrong at once.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "all of this file is a test, helpers included"
)]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Lines of a file before its tests, and of a file of tests.
const FILE_MAX_LINES: usize = 400;
const TEST_FILE_MAX_LINES: usize = 600;
const LINE_MAX_COLUMNS: usize = 100;
const ERROR_MAX_VARIANTS: usize = 12;
const LOCKFILE_MAX_PACKAGES: usize = 250;

/// Who may name whom among our own crates. Everything else is refused.
const ARROWS: [(&str, &[&str]); 12] = [
    (
        "paas",
        &[
            "api", "artifact", "builder", "dynod", "journal", "link", "model", "router", "sandbox",
            "store",
        ],
    ),
    ("api", &["artifact", "journal", "link", "model", "store"]),
    (
        "builder",
        &["artifact", "journal", "link", "model", "sandbox"],
    ),
    (
        "dynod",
        &["artifact", "journal", "link", "model", "sandbox"],
    ),
    ("router", &["journal", "link", "model"]),
    ("store", &["model"]),
    ("artifact", &["model"]),
    ("journal", &["model"]),
    ("sandbox", &["model"]),
    ("link", &["model"]),
    ("model", &[]),
    ("static-server", &[]),
];

/// A name that says nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = [
    "util", "utils", "common", "helpers", "misc", "types", "manager",
];

/// Other people's words for our things (docs/words.md has ours).
const FOREIGN_WORDS: [(&str, &str); 2] = [("container", "dyno"), ("microservice", "app")];

struct Source {
    path: PathBuf,
    text: String,
}

struct House {
    sources: Vec<Source>,
    faults: Vec<String>,
}

#[test]
fn the_house_is_tidy() {
    let mut house = House::open();
    house.arrows();
    house.files();
    house.unsafe_code();
    house.open_ends();
    house.errors();
    house.limits();
    house.words();
    house.lockfile();
    house.architecture();
    house.objects();
    assert!(
        house.faults.is_empty(),
        "{} faults:\n{}",
        house.faults.len(),
        house.faults.join("\n")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder with this extension, by path below the root.
fn find(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or("");
        if path.is_symlink() || name == "target" || name.starts_with('.') || name == "node_modules"
        {
            continue;
        }
        if path.is_dir() {
            find(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// `#[cfg(test)] mod tests {` and what follows it.
fn before_tests(text: &str) -> &str {
    let start = text.find("#[cfg(test)]\nmod tests {");
    start.map_or(text, |start| &text[..start])
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let is_below_tests = path.components().any(|part| part.as_os_str() == "tests");
    is_below_tests || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// The line without what stands in quotes.
fn plain(line: &str) -> String {
    line.split('"').step_by(2).collect()
}

/// The line without what stands in quotes or behind a comment sign.
fn code(line: &str) -> String {
    plain(line.split("//").next().unwrap_or(""))
}

fn is_used(used: &HashSet<&str>, word: &str) -> bool {
    let mut letters = word.chars();
    let capital: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    [word.to_owned(), format!("{word}s"), capital]
        .iter()
        .any(|form| used.contains(form.as_str()))
}

impl House {
    fn open() -> Self {
        let mut paths = Vec::new();
        find(root(), "rs", &mut paths);
        paths.sort();
        let sources = paths.into_iter().map(|path| Source {
            text: std::fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(root()).unwrap().to_owned(),
        });
        Self {
            sources: sources.collect(),
            faults: Vec::new(),
        }
    }

    fn fault(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.faults.push(format!("  {place}: {what}"));
    }

    /// Looks at every source; the function gives line (0: the whole file) and fault.
    fn each(&mut self, look: impl Fn(&Source) -> Vec<(usize, String)>) {
        let mut found = Vec::new();
        for source in &self.sources {
            for (line, what) in look(source) {
                found.push((format!("{}:{line}", source.path.display()), what));
            }
        }
        for (place, what) in found {
            self.fault(place, what);
        }
    }

    fn arrows(&mut self) {
        let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
        let mut manifests = Vec::new();
        find(root(), "toml", &mut manifests);
        manifests.retain(|path| path.ends_with("Cargo.toml"));
        for manifest in manifests {
            let text = std::fs::read_to_string(&manifest).unwrap();
            let Some(package) = section(&text, "[package]").find_map(|line| value(line, "name"))
            else {
                continue;
            };
            let place = manifest.strip_prefix(root()).unwrap().display().to_string();
            let Some(targets) = allowed.get(package) else {
                self.fault(place, format!("{package} is not in the table of arrows"));
                continue;
            };
            for line in section(&text, "[dependencies]") {
                let name = line.split(['.', ' ', '=']).next().unwrap_or("");
                if allowed.contains_key(name) && !targets.contains(&name) {
                    self.fault(&place, format!("{package} must not know {name}"));
                }
            }
        }
    }

    fn files(&mut self) {
        self.each(|source| {
            let mut faults = Vec::new();
            let (path, text) = (&source.path, &source.text);
            let lines = before_tests(text).lines().count();
            let max = if is_test(path) {
                TEST_FILE_MAX_LINES
            } else {
                FILE_MAX_LINES
            };
            if lines > max {
                faults.push((0, format!("{lines} lines, the limit is {max}")));
            }
            if !text.starts_with("//!") {
                faults.push((
                    1,
                    "does not begin by saying what it is for (//!)".to_owned(),
                ));
            }
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "mod" {
                faults.push((0, "mod.rs: use NAME.rs beside the folder NAME".to_owned()));
            }
            if EMPTY_NAMES.contains(&stem) {
                faults.push((0, format!("{stem} says nothing about what is inside")));
            }
            for (number, line) in before_tests(text).lines().enumerate() {
                // rustfmt leaves these alone, so people may, too.
                let is_text = ["\"", "http", "#["].iter().any(|part| line.contains(part));
                if line.chars().count() > LINE_MAX_COLUMNS && !is_text {
                    faults.push((number + 1, "longer than 100 columns".to_owned()));
                }
            }
            faults
        });
    }

    fn unsafe_code(&mut self) {
        self.each(|source| {
            let home = Path::new("crates/sandbox/src/sys");
            if source.path.starts_with(home) || source.path == home.with_extension("rs") {
                return Vec::new();
            }
            lines_with(&source.text, |line| {
                line.contains("unsafe") && words(&code(line)).any(|word| word == "unsafe")
            })
            .map(|line| {
                (
                    line,
                    "unsafe has its home in crates/sandbox/src/sys".to_owned(),
                )
            })
            .collect()
        });
    }

    fn open_ends(&mut self) {
        let own = Path::new("tests/tidy.rs");
        self.each(|source| {
            if source.path == own {
                return Vec::new();
            }
            let is_open = |line: &str| {
                let marked = ["TODO", "FIXME", "XXX"]
                    .iter()
                    .any(|mark| line.contains(mark));
                marked && !line.contains('#')
            };
            let mut faults: Vec<(usize, String)> = lines_with(&source.text, is_open)
                .map(|line| {
                    (
                        line,
                        "an open end without the number of an issue".to_owned(),
                    )
                })
                .collect();
            let allows = lines_with(&source.text, |line| {
                line.trim_start().starts_with("#[allow(")
            });
            faults.extend(allows.map(|line| (line, "use #[expect(..., reason)]".to_owned())));
            faults
        });
    }

    fn errors(&mut self) {
        self.each(|source| {
            let mut faults = Vec::new();
            let mut lines = source.text.lines().enumerate();
            while let Some((number, line)) = lines.next() {
                let name = line
                    .split_once("enum ")
                    .and_then(|(_, rest)| rest.split([' ', '<']).next());
                let Some(name) = name.filter(|name| name.ends_with("Error") && line.ends_with('{'))
                else {
                    continue;
                };
                let body = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "}");
                // Variants are the only lines four blanks in that begin with a capital.
                let is_variant = |line: &&str| {
                    let rest = line.strip_prefix("    ").unwrap_or(" ");
                    rest.starts_with(|c: char| c.is_ascii_uppercase())
                };
                let count = body.filter(is_variant).count();
                if count > ERROR_MAX_VARIANTS {
                    let what =
                        format!("{name} has {count} variants, the limit is {ERROR_MAX_VARIANTS}");
                    faults.push((number + 1, what));
                }
            }
            faults
        });
    }

    /// A BPF object that is committed was built from the source that is committed.
    fn objects(&mut self) {
        let folder = "crates/sandbox/bpf";
        let mut sources = Vec::new();
        find(&root().join(folder), "c", &mut sources);
        for source in sources {
            let text =
                read(&format!("{folder}/policy.h")) + &std::fs::read_to_string(&source).unwrap();
            let mark = format!("source sha256 {}", artifact::sha256(text.as_bytes()).hex());
            let object = std::fs::read(source.with_extension("o")).unwrap_or_default();
            if !object
                .windows(mark.len())
                .any(|part| part == mark.as_bytes())
            {
                let place = source.strip_prefix(root()).unwrap().display().to_string();
                self.fault(place, "its object is older than it: `make bpf`");
            }
        }
    }

    /// Each bound's doc begins with its unit and says where the number comes from.
    fn limits(&mut self) {
        let path = "crates/model/src/limits.rs";
        let units = ["Bytes", "Count", "Milliseconds", "Seconds"];
        let text = read(path);
        let mut doc = String::new();
        for (number, line) in text.lines().enumerate() {
            if let Some(line) = line.strip_prefix("///") {
                doc.push_str(line);
                continue;
            }
            if let Some(rest) = line.strip_prefix("pub const ") {
                let name = rest.split(':').next().unwrap_or(rest);
                let place = format!("{path}:{}", number + 1);
                if !units.iter().any(|unit| doc.trim_start().starts_with(unit)) {
                    self.fault(
                        &place,
                        format!("the doc of {name} does not begin with its unit"),
                    );
                }
                if ![": ", "Ours", ".md "]
                    .iter()
                    .any(|source| doc.contains(source))
                {
                    self.fault(&place, format!("{name} does not say where it comes from"));
                }
            }
            doc.clear();
        }
    }

    /// Every word of the glossary is in use, and nobody else's word stands for it.
    fn words(&mut self) {
        let used: HashSet<&str> = self.sources.iter().flat_map(|s| words(&s.text)).collect();
        let glossary = read("docs/words.md");
        let lines = glossary
            .lines()
            .skip_while(|line| !line.starts_with("|---"));
        let unused: Vec<&str> = lines
            .skip(1)
            .filter_map(|line| Some(line.strip_prefix('|')?.split('|').next()?.trim()))
            .filter(|word| !word.split([' ', '-']).all(|part| is_used(&used, part)))
            .collect();
        for word in unused.into_iter().map(str::to_owned).collect::<Vec<_>>() {
            self.fault("docs/words.md", format!("nobody uses the word {word}"));
        }
        let own = Path::new("tests/tidy.rs");
        self.each(|source| {
            let mut faults = Vec::new();
            for (foreign, ours) in FOREIGN_WORDS.iter().filter(|_| source.path != own) {
                let has_it = |line: &str| {
                    line.contains(foreign) && words(&plain(line)).any(|word| word == *foreign)
                };
                let what = format!("{foreign}: our word is {ours}");
                faults.extend(lines_with(&source.text, has_it).map(|line| (line, what.clone())));
            }
            faults
        });
    }

    fn lockfile(&mut self) {
        let count = read("Cargo.lock")
            .lines()
            .filter(|line| *line == "[[package]]")
            .count();
        if count > LOCKFILE_MAX_PACKAGES {
            let what = format!("{count} packages, the limit is {LOCKFILE_MAX_PACKAGES}");
            self.fault("Cargo.lock", what);
        }
    }

    /// What the architecture page names is there: a path in backticks has a slash in it.
    fn architecture(&mut self) {
        let page = "docs/architecture.md";
        let text = read(page);
        for path in text.split('`').skip(1).step_by(2) {
            let is_path = path.contains('/')
                && path
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/_-.".contains(&b))
                && !path.starts_with('/');
            if is_path && !root().join(path).exists() {
                self.fault(page, format!("{path} does not exist"));
            }
        }
    }
}

/// The lines of a section of a manifest.
fn section<'a>(text: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .skip_while(move |line| *line != head)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
}

/// `name = "paas"`
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
    Some(rest.trim().trim_matches('"'))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The numbers of the lines, from 1.
fn lines_with<'a>(
    text: &'a str,
    is_it: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    text.lines()
        .enumerate()
        .filter(move |(_, line)| is_it(line))
        .map(|(number, _)| number + 1)
}
