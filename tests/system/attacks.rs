//! What a stranger's code may try, tried from inside a dyno and from inside a build.
//!
//! `attacks/table.txt` is the whole list; here it is carried out, in each network mode.

#[cfg(test)]
mod host;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod step;

use scene::Scene;
use step::{Mode, Row, Who, table};

/// The rows that a build must withstand as well.
const OF_BUILDS: [std::ops::RangeInclusive<u8>; 3] = [7..=10, 18..=26, 34..=40];
/// The rows that are tried again after the platform's processes were killed.
const AFTER_A_KILL: std::ops::RangeInclusive<u8> = 1..=6;

#[test]
fn no_row_is_missing() {
    let rows = table();
    let numbers: Vec<u8> = rows.iter().map(|row| row.number).collect();
    let all: Vec<u8> = (1..=46).collect();
    assert_eq!(numbers, all);
    for row in rows {
        assert!(!row.steps.is_empty(), "row {} tries nothing", row.number);
    }
}

#[test]
fn from_a_dyno_in_isolated_mode() {
    everything_in(Mode::Isolated);
}

#[test]
fn from_a_dyno_in_central_mode() {
    everything_in(Mode::Central);
}

fn everything_in(mode: Mode) {
    let scene = Scene::start(mode);
    let rows: Vec<Row> = table().into_iter().filter(|row| row.is_of(mode)).collect();
    let mut faults = Vec::new();
    for row in &rows {
        faults.extend(scene.carry_out(row));
        if row.number == 17 {
            let again = rows.iter().filter(|row| AFTER_A_KILL.contains(&row.number));
            faults.extend(again.flat_map(|row| scene.carry_out(row)));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn from_a_build() {
    let scene = Scene::start(Mode::Isolated);
    let rows = table();
    let is_of_builds = |row: &&Row| OF_BUILDS.iter().any(|some| some.contains(&row.number));
    let rows: Vec<&Row> = rows.iter().filter(is_of_builds).collect();
    let steps = || {
        rows.iter()
            .flat_map(|row| row.steps.iter().map(move |step| (*row, step)))
    };
    let tried = steps().filter(|(_, step)| matches!(step.who, Who::Anybody | Who::Build));
    let tried: Vec<_> = tried.collect();
    let words = tried.iter().map(|(_, step)| scene.filled(&step.words));
    let outcomes = scene.build(&words.collect::<Vec<_>>());
    let faults = tried.iter().zip(&outcomes);
    let mut faults: Vec<String> = faults
        .filter_map(|((row, step), outcome)| step.fault(row, outcome))
        .collect();
    let built = steps().filter(|(_, step)| matches!(step.who, Who::Built | Who::Refused));
    faults.extend(
        built.filter_map(|(row, step)| step.fault(row, &scene.outcome(step.who, &step.words))),
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
