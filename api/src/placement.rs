//! Which dynos shall run: formation and release against the dynos there are, as plain data.
//!
//! Called when a release is switched to, on a scale and on a restart. It decides; the caller makes
//! records of it. There is one node so far, so it says nothing of where.

use model::dyno::{Id, Name};
use model::formation::Formation;
use model::process::{Type, Types};
use model::release;
use model::size::Size;
use std::collections::{BTreeMap, BTreeSet};

/// A formation dyno that is wanted now and is not about to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Existing {
    /// Which dyno.
    pub(crate) dyno: Id,
    /// `web.1`; two may have the same name while one takes over from the other.
    pub(crate) name: Name,
    /// Of which release.
    pub(crate) release: release::Number,
    /// Of which size.
    pub(crate) size: Size,
    /// The dyno it will take over from as soon as it is up.
    pub(crate) replaces: Option<Id>,
}

/// One step to the formation that shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A new dyno.
    Start {
        /// Its name.
        name: Name,
        /// Its size.
        size: Size,
        /// A web dyno of the same release that serves until this one is up.
        replaces: Option<Id>,
    },
    /// A web dyno leaves the route, ends its requests, then stops.
    Leave(Id),
    /// A dyno that has no requests stops at once.
    Stop(Id),
}

/// The steps from the dynos that exist, oldest first, to the formation of a release. Names get no
/// gaps: the highest numbers go first.
pub(crate) fn plan(
    formation: &Formation,
    release: release::Number,
    types: &Types,
    existing: &[Existing],
) -> Vec<Action> {
    let mut wanted = wanted(formation, types);
    let mut keep = BTreeSet::new();
    let mut actions = Vec::new();
    // The newest of a name is looked at first: it is the one that takes over.
    for dyno in existing.iter().rev() {
        let fits = dyno.release == release && wanted.get(&dyno.name) == Some(&dyno.size);
        if fits {
            wanted.remove(&dyno.name);
            keep.insert(dyno.dyno);
            keep.extend(dyno.replaces);
        }
    }
    let mut replaced = BTreeMap::new();
    for dyno in existing.iter().filter(|dyno| !keep.contains(&dyno.dyno)) {
        let is_resized = dyno.release == release && wanted.contains_key(&dyno.name);
        if is_resized && dyno.name.process_type.is_web() && dyno.replaces.is_none() {
            replaced.insert(dyno.name.clone(), dyno.dyno);
        } else {
            actions.push(farewell(dyno));
        }
    }
    actions.extend(wanted.into_iter().map(|(name, size)| Action::Start {
        replaces: replaced.get(&name).copied(),
        name,
        size,
    }));
    actions
}

/// The steps that put a fresh dyno into the place of each of these. One that another of them is
/// about to take over from gets no second successor.
pub(crate) fn restart(dynos: &[Existing]) -> Vec<Action> {
    let leaving: BTreeSet<_> = dynos.iter().filter_map(|dyno| dyno.replaces).collect();
    let mut actions = Vec::new();
    for dyno in dynos.iter().filter(|dyno| !leaving.contains(&dyno.dyno)) {
        let is_web = dyno.name.process_type.is_web();
        if !is_web || dyno.replaces.is_some() {
            actions.push(farewell(dyno));
        }
        actions.push(Action::Start {
            name: dyno.name.clone(),
            size: dyno.size,
            replaces: if is_web {
                Some(dyno.replaces.unwrap_or(dyno.dyno))
            } else {
                None
            },
        });
    }
    actions
}

fn farewell(dyno: &Existing) -> Action {
    if dyno.name.process_type.is_web() {
        Action::Leave(dyno.dyno)
    } else {
        Action::Stop(dyno.dyno)
    }
}

fn wanted(formation: &Formation, types: &Types) -> BTreeMap<Name, Size> {
    let mut wanted = BTreeMap::new();
    let scaled = |process_type: &&Type| process_type.is_scalable();
    for process_type in types.keys().filter(scaled) {
        let Some(entry) = formation.get(process_type) else {
            continue;
        };
        for number in 1..=entry.quantity {
            let name = Name {
                process_type: process_type.clone(),
                number,
            };
            wanted.insert(name, entry.size);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::formation::Entry;

    fn id(number: u128) -> Id {
        Id::new(uuid::Uuid::from_u128(number))
    }

    /// `1 web.1 v3 Basic` or `2 web.1 v3 Basic for 1`
    fn existing(text: &str) -> Existing {
        let words: Vec<_> = text.split(' ').collect();
        Existing {
            dyno: id(words[0].parse().unwrap()),
            name: Name::parse(words[1]).unwrap(),
            release: release::Number(words[2].trim_start_matches('v').parse().unwrap()),
            size: Size::parse(words[3]).unwrap(),
            replaces: words.get(5).map(|word| id(word.parse().unwrap())),
        }
    }

    fn shown(actions: &[Action]) -> Vec<String> {
        let number = |id: &Id| uuid::Uuid::parse_str(&id.to_string()).unwrap().as_u128();
        let shown = |action: &Action| match action {
            Action::Start {
                name,
                size,
                replaces,
            } => match replaces {
                Some(old) => format!("start {name} {size} for {}", number(old)),
                None => format!("start {name} {size}"),
            },
            Action::Leave(dyno) => format!("leave {}", number(dyno)),
            Action::Stop(dyno) => format!("stop {}", number(dyno)),
        };
        actions.iter().map(shown).collect()
    }

    /// The formation as `web=2:Basic`, the release as v3 with the types web, worker and release.
    fn check(formation: &[&str], dynos: &[&str], expected: &[&str]) {
        let entry = |text: &&str| {
            let (name, rest) = text.split_once('=').unwrap();
            let (quantity, size) = rest.split_once(':').unwrap();
            let quantity = quantity.parse().unwrap();
            let size = Size::parse(size).unwrap();
            (Type::parse(name).unwrap(), Entry { quantity, size })
        };
        let types =
            ["web", "worker", "release"].map(|name| (Type::parse(name).unwrap(), "x".to_owned()));
        let actions = plan(
            &formation.iter().map(entry).collect(),
            release::Number(3),
            &types.into_iter().collect(),
            &dynos.iter().map(|text| existing(text)).collect::<Vec<_>>(),
        );
        assert_eq!(shown(&actions), expected, "{formation:?} {dynos:?}");
    }

    #[test]
    fn scale() {
        check(&["web=1:Basic"], &[], &["start web.1 Basic"]);
        check(&["web=1:Basic"], &["1 web.1 v3 Basic"], &[]);
        check(
            &["web=3:Basic"],
            &["1 web.1 v3 Basic"],
            &["start web.2 Basic", "start web.3 Basic"],
        );
        check(
            &["web=1:Basic", "worker=0:Basic"],
            &[
                "1 web.1 v3 Basic",
                "2 web.2 v3 Basic",
                "3 worker.1 v3 Basic",
            ],
            &["leave 2", "stop 3"],
        );
        check(&["release=1:Basic", "gone=2:Basic"], &[], &[]);
    }

    #[test]
    fn resize_keeps_web_serving_and_swaps_the_others() {
        check(
            &["web=1:Standard-2X", "worker=1:Standard-2X"],
            &["1 web.1 v3 Basic", "2 worker.1 v3 Basic"],
            &[
                "stop 2",
                "start web.1 Standard-2X for 1",
                "start worker.1 Standard-2X",
            ],
        );
    }

    #[test]
    fn deploy() {
        check(
            &["web=1:Basic", "worker=1:Basic"],
            &["1 web.1 v2 Basic", "2 worker.1 v2 Basic"],
            &[
                "leave 1",
                "stop 2",
                "start web.1 Basic",
                "start worker.1 Basic",
            ],
        );
        // At the switch the new web dynos are there already.
        check(
            &["web=1:Basic", "worker=1:Basic"],
            &[
                "1 web.1 v2 Basic",
                "2 worker.1 v2 Basic",
                "3 web.1 v3 Basic",
            ],
            &["leave 1", "stop 2", "start worker.1 Basic"],
        );
    }

    #[test]
    fn a_dyno_that_takes_over_is_kept_together_with_the_one_it_takes_over_from() {
        let dynos = ["1 web.1 v3 Basic", "2 web.1 v3 Basic for 1"];
        check(&["web=1:Basic"], &dynos, &[]);
        check(&["web=0:Basic"], &dynos, &["leave 1", "leave 2"]);
        // Resized once more while it boots: the dyno that serves goes on serving.
        check(
            &["web=1:Standard-2X"],
            &dynos,
            &["leave 2", "start web.1 Standard-2X for 1"],
        );
    }

    #[test]
    fn restarts() {
        let check = |dynos: &[&str], expected: &[&str]| {
            let dynos: Vec<_> = dynos.iter().map(|text| existing(text)).collect();
            assert_eq!(shown(&restart(&dynos)), expected);
        };
        check(&["1 web.1 v3 Basic"], &["start web.1 Basic for 1"]);
        check(
            &["1 worker.1 v3 Basic"],
            &["stop 1", "start worker.1 Basic"],
        );
        check(
            &["1 web.1 v3 Basic", "2 web.1 v3 Basic for 1"],
            &["leave 2", "start web.1 Basic for 1"],
        );
    }
}
