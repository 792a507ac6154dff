//! The formation: how many dynos of which size each process type has.

use crate::process::Type;
use crate::size::Size;
use std::collections::BTreeMap;

/// Quantity and size of one process type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// How many dynos there shall be.
    pub quantity: u32,
    /// The size of each.
    pub size: Size,
}

/// Entries by process type. Types that left the Procfile stay here and come back as they were.
pub type Formation = BTreeMap<Type, Entry>;

/// A wanted quantity: `2`, `+1`, `-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Exactly so many.
    Exactly(u32),
    /// So many more, or fewer when negative.
    By(i64),
}

/// Why a quantity is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Neither `2` nor `+1` nor `-1`.
    #[error("quantity is a number, or +N or -N")]
    Malformed,
    /// The result would be below zero or above the limit.
    #[error("quantity must be between 0 and {}", crate::limits::DYNOS_PER_TYPE_MAX)]
    OutOfRange,
}

impl Quantity {
    /// Parses `2`, `+1` or `-1`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let number = |digits: &str| {
            let plain = !digits.is_empty()
                && digits.len() <= 6
                && digits.bytes().all(|b| b.is_ascii_digit());
            if plain {
                digits.parse::<u32>().map_err(|_| QuantityError::Malformed)
            } else {
                Err(QuantityError::Malformed)
            }
        };
        match text.split_at_checked(1) {
            Some(("+", rest)) => Ok(Self::By(i64::from(number(rest)?))),
            Some(("-", rest)) => Ok(Self::By(-i64::from(number(rest)?))),
            _ => Ok(Self::Exactly(number(text)?)),
        }
    }

    /// The quantity that results from the one there is.
    pub fn apply(self, now: u32) -> Result<u32, QuantityError> {
        let wanted = match self {
            Self::Exactly(count) => i64::from(count),
            Self::By(change) => i64::from(now) + change,
        };
        u32::try_from(wanted)
            .ok()
            .filter(|count| *count <= crate::limits::DYNOS_PER_TYPE_MAX)
            .ok_or(QuantityError::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, now, result) in [
            ("2", 5, Ok(2)),
            ("+1", 5, Ok(6)),
            ("-1", 5, Ok(4)),
            ("-6", 5, Err(QuantityError::OutOfRange)),
            ("0", 5, Ok(0)),
            ("", 5, Err(QuantityError::Malformed)),
            ("+", 5, Err(QuantityError::Malformed)),
            ("1.5", 5, Err(QuantityError::Malformed)),
            ("++1", 5, Err(QuantityError::Malformed)),
            ("101", 5, Err(QuantityError::OutOfRange)),
        ] {
            assert_eq!(
                Quantity::parse(text).and_then(|q| q.apply(now)),
                result,
                "{text}"
            );
        }
    }
}
