//! Dyno sizes: Heroku's names with what each gives.

/// A dyno size.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
#[expect(
    missing_docs,
    reason = "the names are Heroku's; `FACTS` says what each gives"
)]
pub enum Size {
    Eco,
    Basic,
    #[default]
    Standard1X,
    Standard2X,
    PerformanceM,
    PerformanceL,
    PerformanceLRam,
    PerformanceXl,
    Performance2Xl,
}

/// What a size gives.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The size itself.
    pub size: Size,
    /// Its name as the API writes it.
    pub name: &'static str,
    /// Memory quota, MiB.
    pub memory_mib: u64,
    /// cgroup v2 `cpu.weight`, 1 to 10,000; 100 is one share.
    pub cpu_weight: u32,
    /// Processes and threads together.
    pub pids_max: u32,
    /// Whether it is one of Heroku's dedicated sizes.
    pub is_dedicated: bool,
}

const fn facts(
    size: Size,
    name: &'static str,
    memory_mib: u64,
    cpu_weight: u32,
    pids_max: u32,
) -> Facts {
    Facts {
        size,
        name,
        memory_mib,
        cpu_weight,
        pids_max,
        is_dedicated: pids_max > 1024,
    }
}

/// All sizes, smallest first; source: Heroku's "Dyno Types" and what its buildpacks' tests see.
pub const FACTS: [Facts; 9] = [
    facts(Size::Eco, "Eco", 512, 100, 256),
    facts(Size::Basic, "Basic", 512, 100, 256),
    facts(Size::Standard1X, "Standard-1X", 512, 100, 256),
    facts(Size::Standard2X, "Standard-2X", 1024, 200, 512),
    facts(Size::PerformanceM, "Performance-M", 2560, 1200, 16384),
    facts(Size::PerformanceL, "Performance-L", 14336, 5000, 32768),
    facts(
        Size::PerformanceLRam,
        "Performance-L-RAM",
        30720,
        2500,
        32768,
    ),
    facts(Size::PerformanceXl, "Performance-XL", 63488, 5000, 32768),
    facts(
        Size::Performance2Xl,
        "Performance-2XL",
        129_024,
        10_000,
        32768,
    ),
];

/// The text names no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such dyno size: {0}; sizes are Eco, Basic, Standard-1X, Standard-2X, Performance-M, Performance-L, Performance-L-RAM, Performance-XL, Performance-2XL"
)]
pub struct SizeError(pub String);

impl Size {
    /// Parses a name in any case.
    pub fn parse(text: &str) -> Result<Self, SizeError> {
        FACTS
            .iter()
            .find(|facts| facts.name.eq_ignore_ascii_case(text))
            .map(|facts| facts.size)
            .ok_or_else(|| SizeError(text.chars().take(40).collect()))
    }

    /// What it gives.
    pub fn facts(self) -> &'static Facts {
        FACTS
            .iter()
            .find(|facts| facts.size == self)
            .expect("FACTS lists every size")
    }

    /// Its name as the API writes it.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;
    fn try_from(text: String) -> Result<Self, SizeError> {
        Self::parse(&text)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_parses_in_any_case() {
        for facts in FACTS {
            assert_eq!(Size::parse(&facts.name.to_lowercase()), Ok(facts.size));
            assert_eq!(facts.size.name(), facts.name);
        }
        assert!(Size::parse("huge").is_err());
    }
}
