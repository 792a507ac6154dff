//! How a path of any bytes is shown in a message: on one line, in plain text, not too long.

/// Bytes of a path that a message shows.
const SHOWN_MAX_BYTES: usize = 300;

/// Escapes what is not printable ASCII and shortens what is long.
pub(crate) fn path(bytes: &[u8]) -> String {
    let cut = bytes.get(..SHOWN_MAX_BYTES);
    let mut text = cut.unwrap_or(bytes).escape_ascii().to_string();
    if cut.is_some() {
        text.push_str("...");
    }
    text
}
