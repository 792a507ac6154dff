//! A log line.

/// One line of an app's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, Unix time in microseconds.
    pub at_us: u64,
    /// Whose it is.
    pub source: Source,
    /// `web.1`, `router`, `api`; at most 255 bytes, the rest is cut.
    pub process: String,
    /// Without the newline; any bytes, of any length: the writer splits what is over
    /// [`model::limits::LOG_LINE_MAX_BYTES`].
    pub text: Vec<u8>,
}

impl Line {
    /// The text as text; bytes that are none become U+FFFD.
    pub fn text_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }
}

/// Who speaks in an app's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The app's own processes, and changes that its people made (`app[api]`).
    App,
    /// The platform: router, dyno manager.
    Heroku,
}

impl Source {
    /// As it stands in front of a line and in the `source` filter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Heroku => "heroku",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Source {
    type Err = SourceError;
    fn from_str(text: &str) -> Result<Self, SourceError> {
        match text {
            "app" => Ok(Self::App),
            "heroku" => Ok(Self::Heroku),
            _ => Err(SourceError),
        }
    }
}

/// The text is no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a source is app or heroku")]
pub struct SourceError;
