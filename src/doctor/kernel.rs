//! What the machine has to offer a sandbox; the sandbox knows what it needs.

use super::Finding;
use sandbox::doctor::{Probes, State, judge};

pub(super) fn look() -> Vec<Finding> {
    let findings = judge(&Probes::of_this_machine());
    findings
        .into_iter()
        .map(|finding| match finding.state {
            State::Well { seen } => Finding::well(finding.what, seen),
            State::Poor(lack) => Finding::poor(finding.what, lack.to_string()),
            State::Broken(lack) => Finding::broken(finding.what, lack.to_string()),
        })
        .collect()
}
