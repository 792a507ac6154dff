//! The words of `table.txt`: rows, steps, and what is expected of them.

/// A network mode of dynos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Central,
    Isolated,
}

/// Who makes an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Attacker,
    Anybody,
    Sibling,
    Stranger,
    OneOff,
    Build,
    Built,
    Refused,
    Host,
}

/// Where a step makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Always,
    In(Mode),
    Lsm { is_there: bool },
}

/// One attempt and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) only: Only,
    /// What to do; `{names}` stand for addresses and ports of the scene.
    pub(crate) words: String,
    expected: String,
}

/// One way to attack.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) number: u8,
    modes: Vec<Mode>,
    pub(crate) steps: Vec<Step>,
}

const WHO: [(&str, Who); 9] = [
    ("attacker", Who::Attacker),
    ("anybody", Who::Anybody),
    ("sibling", Who::Sibling),
    ("stranger", Who::Stranger),
    ("one-off", Who::OneOff),
    ("build", Who::Build),
    ("built", Who::Built),
    ("refused", Who::Refused),
    ("host", Who::Host),
];

const MODES: [(&str, &[Mode]); 3] = [
    ("both", &[Mode::Central, Mode::Isolated]),
    ("central", &[Mode::Central]),
    ("isolated", &[Mode::Isolated]),
];

const ONLY: [(&str, Only); 4] = [
    ("[central] ", Only::In(Mode::Central)),
    ("[isolated] ", Only::In(Mode::Isolated)),
    ("[lsm] ", Only::Lsm { is_there: true }),
    ("[no lsm] ", Only::Lsm { is_there: false }),
];

/// Words for many outcomes.
const MANY: [(&str, &str); 2] = [
    (
        "no way",
        "ECONNREFUSED|timed out|EHOSTUNREACH|ENETUNREACH|EACCES|EPERM",
    ),
    ("closed", "EPERM|EACCES|ENOENT|EROFS"),
];

/// All rows of the table, in its order.
pub(crate) fn table() -> Vec<Row> {
    let text = include_str!("table.txt");
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(step) = line.strip_prefix("    ") {
            rows.last_mut().unwrap().steps.push(Step::parse(step));
        } else if !line.is_empty() {
            rows.push(Row::parse(line));
        }
    }
    rows
}

impl Mode {
    /// As the platform's configuration has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Central => "central",
            Self::Isolated => "isolated",
        }
    }
}

impl Row {
    fn parse(line: &str) -> Self {
        let (head, _) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let (number, modes) = head.split_once(' ').unwrap();
        let modes = MODES.iter().find(|(word, _)| *word == modes);
        Self {
            number: number.parse().unwrap(),
            modes: modes.unwrap_or_else(|| panic!("{line}")).1.to_vec(),
            steps: Vec::new(),
        }
    }

    pub(crate) fn is_of(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }
}

impl Step {
    fn parse(line: &str) -> Self {
        let parts = || {
            let (who, rest) = line.split_once(':')?;
            let (words, expected) = rest.trim_start().split_once(" -> ")?;
            let (_, who) = WHO.iter().find(|(word, _)| *word == who)?;
            Some((*who, words, expected))
        };
        let (who, words, expected) = parts().unwrap_or_else(|| panic!("no step: {line}"));
        let only = ONLY.iter().find(|(word, _)| words.starts_with(word));
        let (prefix, only) = only.copied().unwrap_or(("", Only::Always));
        Self {
            who,
            only,
            words: words.strip_prefix(prefix).unwrap().to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// What is wrong with this outcome, if anything is.
    pub(crate) fn fault(&self, row: &Row, outcome: &str) -> Option<String> {
        let many = MANY.iter().find(|(word, _)| *word == self.expected);
        let all = many.map_or(self.expected.as_str(), |(_, all)| all);
        let fits = all.split('|').any(|one| fits(one, outcome));
        (!fits).then(|| {
            let Self { who, words, .. } = self;
            format!(
                "row {}, {who:?}: {words}\n    expected {all}, got {outcome}",
                row.number
            )
        })
    }
}

fn fits(expected: &str, outcome: &str) -> bool {
    if let Some((start, most)) = expected.split_once("<=") {
        let number = outcome.strip_prefix(start);
        let number = number.and_then(|number| number.parse::<u64>().ok());
        return number.is_some_and(|number| number <= most.parse().unwrap());
    }
    match expected.strip_suffix('*') {
        Some(start) => outcome.starts_with(start),
        None => outcome == expected,
    }
}
