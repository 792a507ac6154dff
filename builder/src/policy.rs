//! What becomes of each ref of a push: built, stored or refused. Pure.
//!
//! `main` or `master` is built (both at once: `main`), other branches are stored, and everything
//! that is no branch is refused: nothing here is deployed from a tag.

use crate::hook::talk::Update;

/// The branches that are built, the first of them wins.
const BUILT: [&str; 2] = ["refs/heads/main", "refs/heads/master"];

/// What becomes of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its commit is built; the ref moves when the release serves.
    Build,
    /// The ref moves, nothing is built.
    Store,
    /// The ref stays.
    Refuse {
        /// Beside the ref in git's own report.
        reason: String,
        /// For the pusher's terminal: which thing, and the next step.
        lines: Vec<String>,
    },
}

/// Decides, in the order of the updates. At most one fate is [`Fate::Build`].
pub(crate) fn decide(updates: &[Update]) -> Vec<Fate> {
    let moves = |name: &&&str| {
        let is_it = |u: &Update| u.name == **name && !u.is_deletion();
        updates.iter().any(is_it)
    };
    let built = BUILT.iter().find(moves);
    updates
        .iter()
        .map(|update| fate(update, built.is_some_and(|name| update.name == *name)))
        .collect()
}

fn fate(update: &Update, is_built: bool) -> Fate {
    if is_built {
        return Fate::Build;
    }
    let name = shown(&update.name);
    if let Some(branch) = name.strip_prefix("refs/heads/") {
        if update.is_deletion() && BUILT.contains(&update.name.as_str()) {
            return refuse(
                "the deployed branch cannot be deleted",
                format!("{branch} is what this app is built from and cannot be deleted."),
                "To remove the app: paas destroy".to_owned(),
            );
        }
        return Fate::Store;
    }
    if let Some(tag) = name.strip_prefix("refs/tags/") {
        return refuse(
            "tags are not deployed",
            format!("{tag} is a tag; only branches are stored here, and only main is built."),
            format!(
                "To deploy main: git push paas main. To deploy the tag: \
                 git push paas '{tag}^{{commit}}:refs/heads/main'"
            ),
        );
    }
    refuse(
        "not a branch",
        format!("{name} is no branch; only branches are stored here."),
        "To deploy: git push paas main".to_owned(),
    )
}

fn refuse(reason: &str, what: String, next: String) -> Fate {
    Fate::Refuse {
        reason: reason.to_owned(),
        lines: vec![what, next],
    }
}

/// A ref's name for a terminal: git keeps control characters out of names, but not other bytes.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(updates: &[(&str, bool)], expected: &[&str]) {
        let updates: Vec<Update> = updates
            .iter()
            .map(|(name, is_deletion)| Update {
                old: "1".repeat(40),
                new: if *is_deletion { "0" } else { "2" }.repeat(40),
                name: (*name).to_owned(),
            })
            .collect();
        let got: Vec<String> = decide(&updates)
            .into_iter()
            .map(|fate| match fate {
                Fate::Build => "build".to_owned(),
                Fate::Store => "store".to_owned(),
                Fate::Refuse { reason, .. } => reason,
            })
            .collect();
        assert_eq!(got, expected, "{updates:?}");
    }

    #[test]
    fn fates() {
        let (main, master) = ("refs/heads/main", "refs/heads/master");
        check(&[], &[]);
        check(&[(main, false)], &["build"]);
        check(&[(master, false)], &["build"]);
        check(&[(master, false), (main, false)], &["store", "build"]);
        check(&[(main, true)], &["the deployed branch cannot be deleted"]);
        check(
            &[(main, true), (master, false)],
            &["the deployed branch cannot be deleted", "build"],
        );
        check(&[("refs/heads/x/y", false)], &["store"]);
        check(&[("refs/heads/x", true)], &["store"]);
        check(&[("refs/tags/v1", false)], &["tags are not deployed"]);
        check(
            &[("refs/tags/main", false), (main, false)],
            &["tags are not deployed", "build"],
        );
        check(&[("refs/for/main", false)], &["not a branch"]);
        check(&[("refs/notes/commits", false)], &["not a branch"]);
    }

    #[test]
    fn a_refused_tag_names_itself_and_the_next_step() {
        let update = Update {
            old: "0".repeat(40),
            new: "1".repeat(40),
            name: "refs/tags/v1.0".to_owned(),
        };
        let Some(Fate::Refuse { lines, .. }) = decide(&[update]).pop() else {
            panic!("refused");
        };
        assert_eq!(
            lines.join("\n"),
            "v1.0 is a tag; only branches are stored here, and only main is built.\n\
             To deploy main: git push paas main. To deploy the tag: \
             git push paas 'v1.0^{commit}:refs/heads/main'"
        );
    }
}
