//! Keys: parts with slashes between them, e.g. `rel/<app>/<n>`.

use model::limits::STORE_KEY_MAX_BYTES;

/// Whether a text can be a key: printable ASCII without blanks, parts that are not empty.
pub(crate) fn is_key(text: &str) -> bool {
    text.len() <= STORE_KEY_MAX_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.split('/').all(|part| !part.is_empty())
}

/// A text behind all keys that start with `prefix` and before all others that are behind it: no key
/// has a byte as high as 0x7f.
pub(crate) fn prefix_end(prefix: &str) -> String {
    format!("{prefix}\u{7f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let long = "x".repeat(STORE_KEY_MAX_BYTES);
        for (text, expected) in [
            ("app/0190-aa", true),
            ("host/*.example.org->app", true),
            (&long, true),
            (&format!("{long}x"), false),
            ("", false),
            ("/app", false),
            ("app/", false),
            ("app//x", false),
            ("app/a b", false),
            ("app/\u{e4}", false),
            ("app/\n", false),
        ] {
            assert_eq!(is_key(text), expected, "{text}");
        }
    }

    #[test]
    fn prefixes_end_behind_their_keys() {
        for (prefix, key, expected) in [
            ("", "~", true),
            ("app/", "app/~~", true),
            ("app/", "app0", false),
            ("app", "app0", true),
            ("app/1", "app/1", true),
            ("app/1", "app/2", false),
        ] {
            assert_eq!(
                key < prefix_end(prefix).as_str(),
                expected,
                "{prefix} {key}"
            );
        }
    }
}
