//! What has to be done so that what runs is what shall run: pure.

use model::dyno::Id;
use std::collections::BTreeSet;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// Start it: it is wanted and there is none.
    Start(Id),
    /// Stop it: it runs and nobody wants it.
    Stop(Id),
}

/// Compares what shall run with what there is. A dyno that is already being stopped counts as
/// being there and is asked for nothing twice.
pub(crate) fn plan(
    desired: &BTreeSet<Id>,
    observed: &BTreeSet<Id>,
    stopping: &BTreeSet<Id>,
) -> Vec<Action> {
    let stop = observed
        .difference(desired)
        .filter(|id| !stopping.contains(id))
        .map(|id| Action::Stop(*id));
    let start = desired.difference(observed).map(|id| Action::Start(*id));
    stop.chain(start).collect()
}

/// The lowest slot that is free, none when the node is full.
pub(crate) fn free_slot(taken: &BTreeSet<u16>, slots_max: u16) -> Option<u16> {
    (0..slots_max).find(|slot| !taken.contains(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> BTreeSet<Id> {
        text.chars()
            .map(|c| Id::parse(&format!("00000000-0000-4000-8000-00000000000{c}")).unwrap())
            .collect()
    }

    fn check(desired: &str, observed: &str, stopping: &str, expected: &[(char, char)]) {
        let expected: Vec<Action> = expected
            .iter()
            .map(|(what, id)| {
                let id = *ids(&id.to_string()).first().unwrap();
                if *what == '+' {
                    Action::Start(id)
                } else {
                    Action::Stop(id)
                }
            })
            .collect();
        assert_eq!(
            plan(&ids(desired), &ids(observed), &ids(stopping)),
            expected,
            "{desired} {observed} {stopping}"
        );
    }

    #[test]
    fn plans() {
        check("", "", "", &[]);
        check("12", "12", "", &[]);
        check("12", "", "", &[('+', '1'), ('+', '2')]);
        check("2", "12", "", &[('-', '1')]);
        check("3", "12", "1", &[('-', '2'), ('+', '3')]);
        check("1", "1", "1", &[]);
    }

    #[test]
    fn slots() {
        assert_eq!(free_slot(&BTreeSet::new(), 4), Some(0));
        assert_eq!(free_slot(&BTreeSet::from([0, 1, 3]), 4), Some(2));
        assert_eq!(free_slot(&BTreeSet::from([0, 1]), 2), None);
    }
}
