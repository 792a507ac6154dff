//! Where a reader stands in several folders.

use std::fmt;
use std::str::FromStr;

/// Count of folders that one position can speak of; an app has four.
const PLACES_MAX: usize = 16;

/// Where a reader stands in each of its folders, in the order in which it was given them.
///
/// Its text (`1.4f2-0.0-3.12`, at most 544 bytes of `0-9 a-f . -`) is meant for `Last-Event-ID` and
/// the like; it may come from a stranger, who can only choose what of these very folders is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub(crate) places: Vec<Place>,
}

/// Where a reader stands in one folder: in front of the byte `offset` of a segment. `0.0` is in
/// front of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
}

impl Position {
    /// In front of everything that is there.
    pub fn start() -> Self {
        Self::default()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            let separator = if index == 0 { "" } else { "-" };
            write!(f, "{separator}{:x}.{:x}", place.sequence, place.offset)?;
        }
        Ok(())
    }
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position has the form 1.4f2-0.0")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        if text.is_empty() {
            return Ok(Self::start());
        }
        let places: Option<Vec<Place>> = text.split('-').take(PLACES_MAX + 1).map(place).collect();
        match places {
            Some(places) if places.len() <= PLACES_MAX => Ok(Self { places }),
            _ => Err(PositionError),
        }
    }
}

fn place(text: &str) -> Option<Place> {
    let (sequence, offset) = text.split_once('.')?;
    Some(Place {
        sequence: number(sequence)?,
        offset: number(offset)?,
    })
}

fn number(text: &str) -> Option<u64> {
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        for text in ["", "0.0", "1.4f2-0.0", "ffffffffffffffff.ffffffffffffffff"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        let many = "0.0-".repeat(16) + "0.0";
        for text in [
            "-",
            "1",
            "1.",
            ".1",
            "1.2-",
            "+1.2",
            "g.1",
            "10000000000000000.0",
            &many,
        ] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
