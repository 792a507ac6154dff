//! Lists: the `Range` request header, and which part of a list it names.
//!
//! Grammar and answers: docs/platform-api.md, "Lists". Pure; the handlers give all rows with their
//! keys, and get back those of the page with the headers to send. `206` if and only if there is a
//! `Next-Range`: the official command line loops for ever on anything else.

use super::failure::Failure;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const MAX_DEFAULT: usize = 200;
const MAX_LIMIT: usize = 1000;

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    attribute: Option<String>,
    start: Option<String>,
    is_start_excluded: bool,
    end: Option<String>,
    max: usize,
    is_descending: Option<bool>,
}

impl Default for Range {
    fn default() -> Self {
        Self {
            attribute: None,
            start: None,
            is_start_excluded: false,
            end: None,
            max: MAX_DEFAULT,
            is_descending: None,
        }
    }
}

/// A kind of list: its attributes, how a row is keyed by one, which is the default.
pub(crate) struct Kind<T> {
    /// Attributes by which it can be ordered; the first is the default.
    pub(crate) attributes: &'static [&'static str],
    /// A row's key by an attribute, in a form whose text order is the order: numbers are padded.
    pub(crate) key: fn(&T, &str) -> String,
    /// A row's id, which parts rows of the same key.
    pub(crate) id: fn(&T) -> String,
}

/// The part of a list that was asked for.
pub(crate) struct Page<T> {
    rows: Vec<T>,
    content: Option<String>,
    next: Option<String>,
    attributes: &'static [&'static str],
}

impl Range {
    /// Reads the header; absent or empty: everything in default order.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        match headers.get(header::RANGE) {
            None => Ok(Self::default()),
            Some(value) => {
                let text = value
                    .to_str()
                    .map_err(|_| Failure::bad_range("The Range header is not plain text."))?;
                Self::parse(text).map_err(Failure::bad_range)
            }
        }
    }

    /// Parses `ATTR ["]"] [START] ".." [END] [";" OPTIONS]`.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (span, options) = text.split_once(';').unwrap_or((text, ""));
        let (left, end) = span.split_once("..").ok_or_else(|| {
            "The Range header has the form `id start..end; max=200, order=asc`.".to_owned()
        })?;
        let left = left.trim();
        let split = left.find([' ', '\t', ']']).unwrap_or(left.len());
        let (attribute, start) = left.split_at_checked(split).unwrap_or((left, ""));
        let start = start.trim();
        let is_start_excluded = start.starts_with(']');
        let text_of = |text: &str| {
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let mut range = Self {
            attribute: text_of(attribute),
            start: text_of(start.trim_start_matches(']')),
            is_start_excluded,
            end: text_of(end),
            ..Self::default()
        };
        for option in options.split([',', ';']).map(str::trim) {
            range.option(option)?;
        }
        Ok(range)
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match (name.trim(), value.trim()) {
            ("", "") => Ok(()),
            ("max", max) => match max.parse() {
                Ok(max) if (1..=MAX_LIMIT).contains(&max) => {
                    self.max = max;
                    Ok(())
                }
                _ => Err(format!("`max` in the Range header is 1 to {MAX_LIMIT}.")),
            },
            ("order", "asc") => {
                self.is_descending = Some(false);
                Ok(())
            }
            ("order", "desc") => {
                self.is_descending = Some(true);
                Ok(())
            }
            ("order", _) => Err("`order` in the Range header is `asc` or `desc`.".to_owned()),
            (name, _) => Err(format!(
                "The Range header has no option `{}`; there are `max` and `order`.",
                name.escape_debug()
            )),
        }
    }

    /// Cuts the page out of all rows.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, kind: &Kind<T>) -> Page<T> {
        let default = kind.attributes.first().copied().unwrap_or("id");
        let known = |asked: &String| kind.attributes.iter().find(|name| *name == asked).copied();
        // What is no attribute of this list is served in default order (heroku3 asks domains for
        // `domain ..`), and then its bounds mean nothing either.
        let asked = self.attribute.as_ref().map_or(Some(default), known);
        let attribute = asked.unwrap_or(default);
        let key = |row: &T| ((kind.key)(row, attribute), (kind.id)(row));
        rows.sort_by_cached_key(key);
        if self.is_descending == Some(true) {
            rows.reverse();
        }
        if asked.is_some() {
            rows.retain(|row| self.holds(&(kind.key)(row, attribute), &(kind.id)(row)));
        }
        let more = rows.len() > self.max;
        rows.truncate(self.max);
        let written = |row: &T| written(&(kind.key)(row, attribute), &(kind.id)(row));
        let content = rows
            .first()
            .zip(rows.last())
            .map(|(first, last)| format!("{attribute} {}..{}", written(first), written(last)));
        let order = match self.is_descending {
            Some(true) => ", order=desc",
            Some(false) => ", order=asc",
            None => "",
        };
        let next = rows.last().filter(|_| more).map(|last| {
            let end = self.end.as_deref().unwrap_or_default();
            format!(
                "{attribute} ]{}..{end}; max={}{order}",
                written(last),
                self.max
            )
        });
        Page {
            rows,
            content,
            next,
            attributes: kind.attributes,
        }
    }

    /// Whether a key lies between start and end, in the direction of the order.
    fn holds(&self, key: &str, id: &str) -> bool {
        let is_descending = self.is_descending == Some(true);
        let after = |bound: &str, is_bound_excluded: bool| {
            let order = compare(key, id, bound);
            let order = if is_descending {
                order.reverse()
            } else {
                order
            };
            order.is_gt() || (order.is_eq() && !is_bound_excluded)
        };
        let before = |bound: &str| {
            let order = compare(key, id, bound);
            let order = if is_descending {
                order.reverse()
            } else {
                order
            };
            order.is_le()
        };
        self.start
            .as_deref()
            .is_none_or(|bound| after(bound, self.is_start_excluded))
            && self.end.as_deref().is_none_or(before)
    }
}

/// A key with its id, as it stands in `Next-Range`: rows of the same key are not lost that way.
fn written(key: &str, id: &str) -> String {
    let key = plain(key);
    if key == id || key.bytes().all(|b| b.is_ascii_digit()) {
        key.to_owned()
    } else {
        format!("{key}~{id}")
    }
}

/// A padded number without its zeros.
fn plain(key: &str) -> &str {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) {
        let plain = key.trim_start_matches('0');
        if plain.is_empty() { "0" } else { plain }
    } else {
        key
    }
}

fn compare(key: &str, id: &str, bound: &str) -> std::cmp::Ordering {
    if let (Ok(key), Ok(bound)) = (key.parse::<u64>(), bound.parse::<u64>()) {
        return key.cmp(&bound);
    }
    match bound.rsplit_once('~') {
        Some((bound_key, bound_id)) => key.cmp(bound_key).then_with(|| id.cmp(bound_id)),
        None => key.cmp(bound),
    }
}

impl<T> Page<T> {
    /// The same page with each row in its answer's form.
    pub(crate) fn try_map<U, E>(self, form: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page {
            rows: self.rows.into_iter().map(form).collect::<Result<_, _>>()?,
            content: self.content,
            next: self.next,
            attributes: self.attributes,
        })
    }
}

impl<T: serde::Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let status = if self.next.is_some() {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        };
        let mut response = (status, axum::Json(self.rows)).into_response();
        let accepts = self.attributes.join(", ");
        let named = [
            (header::ACCEPT_RANGES, Some(accepts)),
            (header::CONTENT_RANGE, self.content),
            (HeaderName::from_static("next-range"), self.next),
        ];
        for (name, value) in named {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Kind<(u64, &str)> = Kind {
        attributes: &["version", "id", "name"],
        key: |row, attribute| match attribute {
            "version" => format!("{:020}", row.0),
            "name" => row.1.to_owned(),
            _ => format!("id{}", row.0),
        },
        id: |row| format!("id{}", row.0),
    };

    fn page(range: &str) -> Page<(u64, &'static str)> {
        let rows = (1..=12).map(|n| (n, if n % 2 == 0 { "even" } else { "odd" }));
        Range::parse(range).unwrap().cut(rows.collect(), &NUMBERS)
    }

    fn check(range: &str, numbers: &[u64], content: &str, next: Option<&str>) {
        let page = page(range);
        let got: Vec<_> = page.rows.iter().map(|row| row.0).collect();
        assert_eq!(got, numbers, "{range}");
        assert_eq!(page.content.as_deref(), Some(content), "{range}");
        assert_eq!(page.next.as_deref(), next, "{range}");
    }

    #[test]
    fn pages() {
        let all: Vec<_> = (1..=12).collect();
        check("", &all, "version 1..12", None);
        check("version ..", &all, "version 1..12", None);
        check("domain ..; ", &all, "version 1..12", None);
        check("version ..; max=12", &all, "version 1..12", None);
        check(
            "version ..; max=2, order=desc",
            &[12, 11],
            "version 12..11",
            Some("version ]11..; max=2, order=desc"),
        );
        check(
            "version ..; order=desc,max=1",
            &[12],
            "version 12..12",
            Some("version ]12..; max=1, order=desc"),
        );
        check(
            "version ]11..; max=2; order=desc;",
            &[10, 9],
            "version 10..9",
            Some("version ]9..; max=2, order=desc"),
        );
        check("version 3..5", &[3, 4, 5], "version 3..5", None);
        check(
            "version ]3..5; max=1",
            &[4],
            "version 4..4",
            Some("version ]4..5; max=1"),
        );
        check("version ..2; max=1000", &[1, 2], "version 1..2", None);
        check("id ]id8..", &[9], "id id9..id9", None);
    }

    #[test]
    fn equal_keys_lose_no_row() {
        let mut seen = Vec::new();
        let mut range = "name ..; max=5".to_owned();
        loop {
            let page = page(&range);
            seen.extend(page.rows.iter().map(|row| row.0));
            match page.next {
                Some(next) => range = next,
                None => break,
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn refusals() {
        for bad in [
            "version",
            "id ..; max=0",
            "id ..; max=1001",
            "id ..; max=x",
            "id ..; order=up",
            "id ..; foo=1",
        ] {
            assert!(Range::parse(bad).is_err(), "{bad}");
        }
    }
}
