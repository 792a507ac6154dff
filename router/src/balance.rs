//! Which dyno gets the next request: a pure choice over loads.
//!
//! The least outstanding requests win, ties are broken at random; dynos in quarantine are passed
//! over. Called by `route`. docs/router.md, "Balancing": least-outstanding takes more than half off
//! p99 against random, and is far better still for dynos that serve one request at a time.

/// A dyno as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests and tunnels under way.
    pub outstanding: u32,
    /// It gets nothing before this moment of the router's clock, milliseconds.
    pub quarantined_until_ms: u64,
}

/// What the choice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The dyno at this place.
    Dyno(usize),
    /// All are in quarantine, the first until then.
    Quarantined {
        /// Moment of the router's clock, milliseconds.
        until_ms: u64,
    },
    /// There is none.
    Nobody,
}

/// Chooses among dynos that are up. `random` is any number; the same one gives the same choice.
pub fn pick(loads: impl Iterator<Item = Load>, now_ms: u64, random: u64) -> Pick {
    let mut best: Option<(usize, u32)> = None;
    let mut ties = 0_u64;
    let mut first_free_ms: Option<u64> = None;
    for (place, load) in loads.enumerate() {
        if load.quarantined_until_ms > now_ms {
            let until = load.quarantined_until_ms;
            first_free_ms = Some(first_free_ms.map_or(until, |first| first.min(until)));
            continue;
        }
        match best {
            Some((_, least)) if load.outstanding > least => {}
            Some((_, least)) if load.outstanding == least => {
                // Each of n ties stays with chance 1/n: one pass, no list.
                ties += 1;
                if mix(random, ties).is_multiple_of(ties) {
                    best = Some((place, least));
                }
            }
            _ => {
                ties = 1;
                best = Some((place, load.outstanding));
            }
        }
    }
    match (best, first_free_ms) {
        (Some((place, _)), _) => Pick::Dyno(place),
        (None, Some(until_ms)) => Pick::Quarantined { until_ms },
        (None, None) => Pick::Nobody,
    }
}

/// An independent number for each step (splitmix64's finish).
const fn mix(random: u64, step: u64) -> u64 {
    let mut z = random.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(loads: &[(u32, u64)], random: u64) -> Pick {
        let loads = loads.iter().map(|(outstanding, until)| Load {
            outstanding: *outstanding,
            quarantined_until_ms: *until,
        });
        pick(loads, 100, random)
    }

    #[test]
    fn least_outstanding_out_of_quarantine() {
        for (loads, wanted) in [
            (&[][..], Pick::Nobody),
            (&[(9, 0)], Pick::Dyno(0)),
            (&[(3, 0), (1, 0), (2, 0)], Pick::Dyno(1)),
            (&[(0, 101), (5, 0)], Pick::Dyno(1)),
            (&[(0, 100), (5, 0)], Pick::Dyno(0)),
            (&[(0, 300), (0, 200)], Pick::Quarantined { until_ms: 200 }),
        ] {
            assert_eq!(choose(loads, 7), wanted, "{loads:?}");
        }
    }

    #[test]
    fn ties_are_even() {
        let mut counts = [0_u32; 4];
        for random in 0..4_000_u64 {
            match choose(&[(1, 0), (1, 0), (2, 0), (1, 0)], random) {
                Pick::Dyno(place) => counts[place] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(counts[2], 0);
        for place in [0, 1, 3] {
            assert!((1_200..1_470).contains(&counts[place]), "{counts:?}");
        }
    }
}
