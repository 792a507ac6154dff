//! Conditional and partial requests (RFC 9110, 13 and 14): `ETag`, Last-Modified, 304, Range.

use http::HeaderMap;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// What a client may compare a file with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) etag: String,
    pub(crate) last_modified: String,
    modified_unix_s: i64,
}

/// Which bytes of a file an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// First byte and number of bytes, both within the file.
    Bytes {
        from: u64,
        count: u64,
    },
    /// No byte of the file was asked for: status 416.
    Beyond,
}

impl Validators {
    pub(crate) fn new(size_bytes: u64, modified_unix_s: i64) -> Validators {
        let time = OffsetDateTime::from_unix_timestamp(modified_unix_s)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Validators {
            etag: format!("\"{modified_unix_s:x}-{size_bytes:x}\""),
            last_modified: time.format(HTTP_DATE).unwrap_or_default(),
            modified_unix_s,
        }
    }

    /// Whether the client has this file already: status 304.
    pub(crate) fn is_known_by(&self, headers: &HeaderMap) -> bool {
        if let Some(list) = text(headers, &IF_NONE_MATCH) {
            return list
                .split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || self.is_etag(tag));
        }
        text(headers, &IF_MODIFIED_SINCE)
            .and_then(parse_date)
            .is_some_and(|since_unix_s| self.modified_unix_s <= since_unix_s)
    }

    fn is_etag(&self, tag: &str) -> bool {
        tag.strip_prefix("W/").unwrap_or(tag) == self.etag
    }

    /// The part that `Range` asks for. Several ranges, and what is no byte range, get the whole.
    pub(crate) fn part_for(&self, headers: &HeaderMap, size_bytes: u64) -> Part {
        let still_same = text(headers, &IF_RANGE)
            .is_none_or(|known| known == self.etag || known == self.last_modified);
        match text(headers, &RANGE) {
            Some(range) if still_same => part_of(range, size_bytes),
            _ => Part::Whole,
        }
    }
}

fn text<'map>(headers: &'map HeaderMap, name: &http::HeaderName) -> Option<&'map str> {
    headers.get(name)?.to_str().ok()
}

fn parse_date(text: &str) -> Option<i64> {
    let time = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
    Some(time.assume_utc().unix_timestamp())
}

fn part_of(range: &str, size_bytes: u64) -> Part {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|list| list.split_once('-'))
    else {
        return Part::Whole;
    };
    let (from, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size_bytes)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, size_bytes),
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            (size_bytes.saturating_sub(count), size_bytes)
        }
        _ => return Part::Whole,
    };
    if from >= end {
        return Part::Beyond;
    }
    Part::Bytes {
        from,
        count: end - from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let bytes = |from, count| Part::Bytes { from, count };
        let cases = [
            ("bytes=0-0", bytes(0, 1)),
            ("bytes=0-99", bytes(0, 10)),
            ("bytes=2-5", bytes(2, 4)),
            ("bytes=7-", bytes(7, 3)),
            ("bytes=-3", bytes(7, 3)),
            ("bytes=-99", bytes(0, 10)),
            ("bytes=-0", Part::Beyond),
            ("bytes=10-", Part::Beyond),
            ("bytes=18446744073709551615-", Part::Beyond),
            ("bytes=0-18446744073709551615", bytes(0, 10)),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
        ];
        for (range, expected) in cases {
            assert_eq!(part_of(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn known_by_client() {
        let file = Validators::new(10, 784_111_777);
        assert_eq!(file.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases = [
            ("if-none-match", "\"2ebc98a1-a\"", true),
            ("if-none-match", "\"x\", W/\"2ebc98a1-a\"", true),
            ("if-none-match", "*", true),
            ("if-none-match", "\"x\"", false),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("if-modified-since", "yesterday", false),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(file.is_known_by(&headers), expected, "{name}: {value}");
        }
    }
}
