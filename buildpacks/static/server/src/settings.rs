//! `static.json` -> checked settings. The keys are those of Heroku's static buildpack; every fault
//! of a file is told at once, in words for the person who wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::pattern::Pattern;

/// Largest `static.json` in bytes, and most rules of one kind: bounds for memory and time alone.
const FILE_MAX_BYTES: u64 = 1 << 20;
const RULES_MAX: usize = 1000;
const KNOWN_KEYS: &[&str] = &[
    "root",
    "clean_urls",
    "routes",
    "redirects",
    "headers",
    "error_page",
    "https_only",
    "encoding",
    "logging",
];

/// What a site wants, all of it usable as it stands.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Folder below the app, `.` for the app itself.
    pub(crate) root: String,
    pub(crate) clean_urls: bool,
    pub(crate) https_only: bool,
    /// Charset of text files.
    pub(crate) encoding: String,
    /// Path of the page for status 404, relative to the root.
    pub(crate) error_page: Option<String>,
    /// The first that matches counts; looked at when there is no file.
    pub(crate) routes: Vec<(Pattern, String)>,
    /// The first that matches counts; looked at before files.
    pub(crate) redirects: Vec<(Pattern, Redirect)>,
    /// All that match count, and of one name the last.
    pub(crate) headers: Vec<(Pattern, Vec<(HeaderName, HeaderValue)>)>,
    /// Keys without any meaning here.
    pub(crate) unknown: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    pub(crate) url: HeaderValue,
    pub(crate) status: StatusCode,
}

/// Something in the site's settings that keeps it from being served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("static.json could not be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("static.json is larger than {} KB", FILE_MAX_BYTES >> 10)]
    TooLarge,
    #[error("static.json is no valid JSON of settings: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("static.json: {at}: {what}")]
    Wrong { at: String, what: String },
    #[error("the folder {root}, which static.json names as root, could not be opened: {source}")]
    NoRoot { root: String, source: io::Error },
}

/// The file as it is written. Objects whose order matters keep it.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct File {
    root: String,
    clean_urls: bool,
    https_only: bool,
    encoding: String,
    error_page: Option<String>,
    routes: Ordered<String>,
    redirects: Ordered<RedirectFile>,
    headers: Ordered<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct RedirectFile {
    url: String,
    #[serde(default = "moved_permanently")]
    status: u16,
}

fn moved_permanently() -> u16 {
    301
}

impl Default for File {
    fn default() -> File {
        File {
            root: "public_html/".to_owned(),
            clean_urls: false,
            https_only: false,
            encoding: "UTF-8".to_owned(),
            error_page: None,
            routes: Ordered::default(),
            redirects: Ordered::default(),
            headers: Ordered::default(),
        }
    }
}

/// The entries of a JSON object in the order of the file.
#[derive(Debug)]
struct Ordered<Value>(Vec<(String, Value)>);

impl<Value> Default for Ordered<Value> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<'de, Value: Deserialize<'de>> Deserialize<'de> for Ordered<Value> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

struct Entries<Value>(std::marker::PhantomData<Value>);

impl<'de, Value: Deserialize<'de>> Visitor<'de> for Entries<Value> {
    type Value = Ordered<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of paths, { \"/path\": ... }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if entries.len() == RULES_MAX {
                return Err(serde::de::Error::custom(format!(
                    "more than {RULES_MAX} entries"
                )));
            }
            entries.push(entry);
        }
        Ok(Ordered(entries))
    }
}

impl Settings {
    /// Reads `static.json` of the app. Without one the app itself is the site.
    pub(crate) fn read(app: &Path) -> Result<Settings, Vec<Fault>> {
        let path = app.join("static.json");
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Settings::parse("{\"root\": \".\"}");
            }
            Err(error) => return Err(vec![error.into()]),
            Ok(metadata) if metadata.len() > FILE_MAX_BYTES => return Err(vec![Fault::TooLarge]),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| vec![error.into()])?;
        Settings::parse(text.trim_start_matches('\u{feff}'))
    }

    fn parse(text: &str) -> Result<Settings, Vec<Fault>> {
        let file: File = serde_json::from_str(text).map_err(|error| vec![error.into()])?;
        let entries: Ordered<IgnoredAny> =
            serde_json::from_str(text).map_err(|error| vec![error.into()])?;
        let keys: Vec<String> = entries.0.into_iter().map(|(key, _)| key).collect();
        let mut check = Check { faults: Vec::new() };
        check.refused_keys(&keys);
        let settings = Settings {
            root: check.below("root", &file.root),
            clean_urls: file.clean_urls,
            https_only: file.https_only,
            encoding: check.encoding(file.encoding),
            error_page: file.error_page.map(|page| check.below("error_page", &page)),
            routes: check.routes(file.routes),
            redirects: check.redirects(file.redirects),
            headers: check.headers(file.headers),
            unknown: keys
                .into_iter()
                .filter(|key| !KNOWN_KEYS.contains(&key.as_str()))
                .collect(),
        };
        if check.faults.is_empty() {
            Ok(settings)
        } else {
            Err(check.faults)
        }
    }
}

/// Gathers faults, so that a person learns of all of them with one push.
struct Check {
    faults: Vec<Fault>,
}

impl Check {
    fn wrong(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.faults.push(Fault::Wrong {
            at: at.into(),
            what: what.into(),
        });
    }

    /// Settings whose silent absence would open or break a site.
    fn refused_keys(&mut self, keys: &[String]) {
        for (key, what) in [
            (
                "basic_auth",
                "password protection does not exist here; the site would be open to all",
            ),
            ("proxies", "forwarding to other servers does not exist here"),
        ] {
            if keys.iter().any(|found| found == key) {
                self.wrong(key, what);
            }
        }
    }

    /// A path below a folder, without slashes around it.
    fn below(&mut self, at: &str, path: &str) -> String {
        let trimmed = path.trim_matches('/');
        let is_absolute = path.starts_with('/') && at == "root";
        if is_absolute || trimmed.contains('\0') || trimmed.split('/').any(|part| part == "..") {
            self.wrong(at, format!("\"{path}\" must be a path inside the app"));
        }
        if trimmed.is_empty() {
            ".".to_owned()
        } else {
            trimmed.to_owned()
        }
    }

    fn encoding(&mut self, name: String) -> String {
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte))
        {
            self.wrong("encoding", format!("\"{name}\" is no name of a charset"));
        }
        name
    }

    fn pattern(&mut self, at: &str, text: &str) -> Pattern {
        if !text.starts_with('/') {
            self.wrong(at, format!("the path \"{text}\" must begin with a slash"));
        }
        Pattern::new(text)
    }

    fn routes(&mut self, routes: Ordered<String>) -> Vec<(Pattern, String)> {
        let rules = routes.0.into_iter();
        rules
            .map(|(path, target)| (self.pattern("routes", &path), target))
            .collect()
    }

    fn redirects(&mut self, redirects: Ordered<RedirectFile>) -> Vec<(Pattern, Redirect)> {
        let mut rules = Vec::new();
        for (path, redirect) in redirects.0 {
            let pattern = self.pattern("redirects", &path);
            let at = format!("redirects \"{path}\"");
            let status = match redirect.status {
                code @ (301 | 302 | 303 | 307 | 308) => StatusCode::from_u16(code).ok(),
                _ => None,
            };
            if status.is_none() {
                let code = redirect.status;
                self.wrong(
                    &at,
                    format!("status {code} must be 301, 302, 303, 307 or 308"),
                );
            }
            let url = HeaderValue::from_str(&redirect.url)
                .ok()
                .filter(|url| !url.is_empty());
            if url.is_none() {
                self.wrong(
                    &at,
                    format!("\"{}\" is no address", redirect.url.escape_debug()),
                );
            }
            if let (Some(url), Some(status)) = (url, status) {
                rules.push((pattern, Redirect { url, status }));
            }
        }
        rules
    }

    fn headers(
        &mut self,
        headers: Ordered<BTreeMap<String, String>>,
    ) -> Vec<(Pattern, Vec<(HeaderName, HeaderValue)>)> {
        let mut rules = Vec::new();
        for (path, values) in headers.0 {
            let pattern = self.pattern("headers", &path);
            let at = format!("headers \"{path}\"");
            let pairs = values
                .into_iter()
                .filter_map(|(name, value)| self.header(&at, &name, &value));
            rules.push((pattern, pairs.collect()));
        }
        rules
    }

    fn header(&mut self, at: &str, name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
        let parsed_name = HeaderName::try_from(name)
            .ok()
            .filter(|name| !is_ours(name));
        let parsed_value = HeaderValue::from_str(value).ok();
        if parsed_name.is_none() {
            let shown = name.escape_debug();
            self.wrong(at, format!("\"{shown}\" is no header that a site may set"));
        }
        if parsed_value.is_none() {
            self.wrong(
                at,
                format!(
                    "the value of \"{}\" has characters that headers cannot carry",
                    name.escape_debug()
                ),
            );
        }
        Some((parsed_name?, parsed_value?))
    }
}

/// Headers that say how the answer is framed: a site that sets them breaks its connections.
fn is_ours(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, TRANSFER_ENCODING, UPGRADE};
    [
        CONNECTION,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        match Settings::parse(text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn defaults_are_herokus() {
        let settings = Settings::parse("{}").unwrap();
        assert_eq!(settings.root, "public_html");
        assert!(!settings.clean_urls);
    }

    #[test]
    fn order_of_rules_is_kept() {
        let settings = Settings::parse(r#"{"routes": {"/z": "1", "/a": "2", "/m": "3"}}"#).unwrap();
        let targets: Vec<&str> = settings
            .routes
            .iter()
            .map(|(_, target)| target.as_str())
            .collect();
        assert_eq!(targets, ["1", "2", "3"]);
    }

    #[test]
    fn unknown_keys_are_named() {
        let settings = Settings::parse(r#"{"rooot": "x", "logging": {"access": false}}"#).unwrap();
        assert_eq!(settings.unknown, ["rooot"]);
    }

    #[test]
    fn faults_are_clear() {
        let cases = [
            (
                r#"{"root": "../x"}"#,
                "static.json: root: \"../x\" must be a path inside the app",
            ),
            (
                r#"{"root": "/etc"}"#,
                "static.json: root: \"/etc\" must be a path inside the app",
            ),
            (
                r#"{"error_page": "a/../../b"}"#,
                "static.json: error_page: \"a/../../b\" must be a path inside the app",
            ),
            (
                r#"{"routes": {"x": "y"}}"#,
                "static.json: routes: the path \"x\" must begin with a slash",
            ),
            (
                r#"{"redirects": {"/x": {"url": "/y", "status": 200}}}"#,
                "static.json: redirects \"/x\": status 200 must be 301, 302, 303, 307 or 308",
            ),
            (
                r#"{"redirects": {"/x": {"url": "a\r\nb"}}}"#,
                "static.json: redirects \"/x\": \"a\\r\\nb\" is no address",
            ),
            (
                r#"{"headers": {"/": {"Content-Length": "1"}}}"#,
                "static.json: headers \"/\": \"Content-Length\" is no header that a site may set",
            ),
            (
                r#"{"headers": {"/": {"X": "a\nb"}}}"#,
                "static.json: headers \"/\": the value of \"X\" \
                 has characters that headers cannot carry",
            ),
            (
                r#"{"basic_auth": true}"#,
                "static.json: basic_auth: password protection does not exist here; \
                 the site would be open to all",
            ),
            (
                r#"{"clean_urls": "yes"}"#,
                "static.json is no valid JSON of settings: invalid type: \
                 string \"yes\", expected a boolean at line 1 column 20",
            ),
            (
                r#"{"routes": []}"#,
                "static.json is no valid JSON of settings: invalid type: sequence, \
                 expected an object of paths, { \"/path\": ... } at line 1 column 11",
            ),
            (
                "{",
                "static.json is no valid JSON of settings: EOF \
                 while parsing an object at line 1 column 1",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(faults_of(text), [expected], "{text}");
        }
    }

    #[test]
    fn all_faults_are_told_together() {
        assert_eq!(
            faults_of(r#"{"root": "..", "routes": {"a": "b"}, "proxies": {}}"#).len(),
            3
        );
        assert_eq!(faults_of(&"[".repeat(100_000)).len(), 1);
    }
}
