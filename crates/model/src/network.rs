//! Addresses of an instance: one /16, cut into three by the third byte.
//!
//! `.0` to `.127` dynos in central mode, `.128` to `.191` dynos with a net namespace of their own,
//! `.192` to `.255` builds.

use std::net::Ipv4Addr;

/// The PORT inside a dyno that has a net namespace of its own.
pub const ISOLATED_PORT: u16 = 5000;
/// Slots of a node: one dyno each. Bounded by the /18 of the isolated dynos.
pub const SLOTS_MAX: u16 = 8192;

/// The /16 of an instance, `10.201.0.0/16` unless configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range([u8; 2]);

/// The text is no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is a /16 like 10.201.0.0/16")]
pub struct RangeError;

impl Range {
    /// Parses `A.B.0.0/16`.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let address: Ipv4Addr = text
            .strip_suffix("/16")
            .and_then(|a| a.parse().ok())
            .ok_or(RangeError)?;
        match address.octets() {
            [a, b, 0, 0] if address.is_private() => Ok(Self([a, b])),
            _ => Err(RangeError),
        }
    }

    const fn at(self, third: u8, offset: u16) -> Ipv4Addr {
        let [high, low] = offset.to_be_bytes();
        let [a, b] = self.0;
        Ipv4Addr::new(a, b, third + high, low)
    }

    /// The node's own address on the bridge of the isolated dynos.
    pub const fn dyno_gateway(self) -> Ipv4Addr {
        self.at(128, 1)
    }

    /// The address of an isolated dyno in a slot below [`SLOTS_MAX`].
    pub const fn dyno_address(self, slot: u16) -> Ipv4Addr {
        debug_assert!(slot < SLOTS_MAX, "a slot within the range");
        self.at(128, slot + 2)
    }

    /// The node's own address on the bridge of the builds.
    pub const fn build_gateway(self) -> Ipv4Addr {
        self.at(192, 1)
    }

    /// The address of the n-th running build or job, n below [`SLOTS_MAX`].
    pub const fn build_address(self, n: u16) -> Ipv4Addr {
        debug_assert!(n < SLOTS_MAX, "a job within the range");
        self.at(192, n + 2)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.0;
        write!(f, "{a}.{b}.0.0/16")
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;
    fn try_from(text: String) -> Result<Self, RangeError> {
        Self::parse(&text)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let range = Range::parse("10.201.0.0/16").unwrap();
        assert_eq!(range.to_string(), "10.201.0.0/16");
        assert_eq!(range.dyno_gateway().to_string(), "10.201.128.1");
        assert_eq!(range.dyno_address(0).to_string(), "10.201.128.2");
        assert_eq!(
            range.dyno_address(SLOTS_MAX - 1).to_string(),
            "10.201.160.1"
        );
        assert_eq!(range.build_address(300).to_string(), "10.201.193.46");
        for bad in ["10.201.0.0", "10.201.1.0/16", "8.8.0.0/16", "x/16", ""] {
            assert_eq!(Range::parse(bad), Err(RangeError), "{bad}");
        }
    }
}
