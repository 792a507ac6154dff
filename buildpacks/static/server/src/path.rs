//! The path of a request, decoded and checked once; what comes after may trust its shape.

/// A decoded path: begins with `/`, holds no NUL, no empty, `.` or `..` segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SitePath {
    text: String,
}

impl SitePath {
    /// None: not a path that a file can have. Repeated slashes count as one.
    pub(crate) fn parse(raw: &str) -> Option<SitePath> {
        let decoded = decode(raw)?;
        if !decoded.starts_with('/') || decoded.contains('\0') {
            return None;
        }
        let segments: Vec<&str> = decoded.split('/').filter(|part| !part.is_empty()).collect();
        if segments.iter().any(|part| matches!(*part, "." | "..")) {
            return None;
        }
        let mut text = format!("/{}", segments.join("/"));
        if decoded.ends_with('/') && text.len() > 1 {
            text.push('/');
        }
        Some(SitePath { text })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The path as the file system is asked for it, relative to the root; `.` is the root itself.
    pub(crate) fn relative(&self) -> &str {
        let relative = self.text.trim_matches('/');
        if relative.is_empty() { "." } else { relative }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.text.ends_with('/')
    }

    /// Names with a dot in front (`.git`, `.env`) are nobody's business, but for RFC 8615's.
    pub(crate) fn is_hidden(&self) -> bool {
        self.text
            .split('/')
            .any(|part| part.starts_with('.') && part != ".well-known")
    }

    /// The path as a `Location`, always below this host: it begins with exactly one slash.
    pub(crate) fn encoded(&self) -> String {
        let mut text = String::with_capacity(self.text.len());
        for byte in self.text.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push('%');
                text.extend([byte >> 4, byte & 15].map(hex_digit));
            }
        }
        text
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// Percent-decoding (RFC 3986, 2.1). None for a broken escape or a text that is not UTF-8.
fn decode(raw: &str) -> Option<String> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
        let value = digits[0]? * 16 + digits[1]?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<&str>) {
        let found = SitePath::parse(raw);
        assert_eq!(found.as_ref().map(SitePath::as_str), expected, "{raw}");
    }

    #[test]
    fn parses() {
        let cases = [
            ("/", Some("/")),
            ("/a/b.html", Some("/a/b.html")),
            ("/a/", Some("/a/")),
            ("//evil.example/", Some("/evil.example/")),
            ("/a%20b", Some("/a b")),
            ("/%C3%A4", Some("/ä")),
            ("/a/../b", None),
            ("/a/%2e%2E/b", None),
            ("/..%2fetc/passwd", None),
            ("/./a", None),
            ("/a%00", None),
            ("/%FF", None),
            ("/%4", None),
            ("/%zz", None),
            ("a", None),
            ("", None),
            ("*", None),
        ];
        for (raw, expected) in cases {
            check(raw, expected);
        }
    }

    #[test]
    fn hides_dot_files() {
        let cases = [
            ("/.git/config", true),
            ("/a/.env", true),
            ("/.well-known/security.txt", false),
            ("/a.b", false),
        ];
        for (raw, expected) in cases {
            assert_eq!(SitePath::parse(raw).unwrap().is_hidden(), expected, "{raw}");
        }
    }

    #[test]
    fn encodes() {
        assert_eq!(
            SitePath::parse("//a%20b/%C3%A4/").unwrap().encoded(),
            "/a%20b/%C3%A4/"
        );
    }
}
