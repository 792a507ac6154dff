//! What a file comes to, case by case.

use super::*;
use crate::image::dockerfile;
use std::collections::BTreeSet;

/// All stages of a file, or the fault's message.
fn planned(text: &str, given: &Given) -> Result<Vec<Stage>, String> {
    let file = dockerfile::parse(text.as_bytes()).map_err(|fault| fault.message)?;
    let graph = Graph::new(&file, given).map_err(|fault| fault.message)?;
    let mut stages: Vec<Stage> = Vec::new();
    for index in 0..file.stages.len() {
        let parent = match &graph.bases[index] {
            Base::Stage(below) => Parent {
                settings: stages[*below].settings.clone(),
                author: None,
                arguments: stages[*below].arguments.clone(),
            },
            _ => Parent::default(),
        };
        let mut warnings = Vec::new();
        let context = (&graph, given);
        let done = stage(&file, index, context, parent, (&[], &mut warnings));
        stages.push(done.map_err(|fault| fault.message)?);
    }
    Ok(stages)
}

fn last(text: &str) -> Stage {
    let stages = planned(text, &Given::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
    stages.into_iter().next_back().unwrap()
}

fn given(arguments: &[(&str, &str)]) -> Given {
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    Given {
        arguments: arguments.iter().map(pair).collect(),
        target: None,
    }
}

/// The environment that the last RUN of a file sees.
fn env(text: &str, arguments: &[(&str, &str)]) -> BTreeMap<String, String> {
    let stages = planned(text, &given(arguments)).unwrap();
    let steps = stages.iter().flat_map(|stage| &stage.steps);
    let runs = steps.filter_map(|step| match &step.action {
        Action::Run(run) => Some(run.env.clone()),
        _ => None,
    });
    let mut env = runs.collect::<Vec<_>>().pop().unwrap();
    env.remove("PATH");
    env
}

#[test]
fn variables() {
    let check = |text: &str, arguments: &[(&str, &str)], expected: &[(&str, &str)]| {
        let expected = given(expected).arguments;
        assert_eq!(env(text, arguments), expected, "{text}");
    };
    check(
        "FROM scratch\nENV A=1\nENV A=2 B=$A\nRUN x",
        &[],
        &[("A", "2"), ("B", "1")],
    );
    check(
        "FROM scratch\nARG A=1 B=$A\nRUN x",
        &[],
        &[("A", "1"), ("B", "1")],
    );
    check("FROM scratch\nARG A=1\nRUN x", &[("A", "2")], &[("A", "2")]);
    check(
        "FROM scratch\nENV X=env\nARG X\nRUN x",
        &[("X", "cli")],
        &[("X", "cli")],
    );
    check(
        "FROM scratch\nARG Y=1\nENV Y=$Y-e\nRUN x",
        &[],
        &[("Y", "1-e")],
    );
    check("ARG V=1\nFROM scratch\nRUN x", &[], &[]);
    check("ARG V=1\nFROM scratch\nARG V\nRUN x", &[], &[("V", "1")]);
    check("ARG V=1\nFROM scratch\nARG V=2\nRUN x", &[], &[("V", "2")]);
    check(
        "ARG V=1 W=$V\nFROM scratch\nARG W\nRUN x",
        &[("V", "3")],
        &[("W", "3")],
    );
    check(
        "FROM scratch AS a\nARG A=1\nFROM a\nRUN x",
        &[],
        &[("A", "1")],
    );
    check("FROM scratch AS a\nARG A=1\nFROM scratch\nRUN x", &[], &[]);
    check(
        "FROM scratch\nARG TARGETOS\nRUN x",
        &[],
        &[("TARGETOS", "linux")],
    );
    check("FROM scratch\nARG A\nRUN x", &[], &[]);
}

#[test]
fn config() {
    let stage = last(
        "FROM scratch\nENV A=1 B=2\nENV A=3\nWORKDIR a\nWORKDIR ../b/\nUSER me\nLABEL k=\"v w\"\n\
         EXPOSE 80 7000-7001/udp\nVOLUME /d\nSTOPSIGNAL INT\nMAINTAINER me\nCMD x y",
    );
    let settings = &stage.settings;
    assert_eq!(
        settings.env,
        [&format!("PATH={DEFAULT_PATH}"), "A=3", "B=2"]
    );
    assert_eq!(settings.working_dir, "/b");
    assert_eq!(
        (settings.user.as_str(), settings.labels["k"].as_str()),
        ("me", "v w")
    );
    let ports: Vec<&String> = settings.exposed_ports.keys().collect();
    assert_eq!(ports, ["7000/udp", "7001/udp", "80/tcp"]);
    assert_eq!(settings.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "x y"]);
    assert_eq!(stage.author.as_deref(), Some("me"));
    let layers = stage.history.iter().filter(|(_, makes_layer)| *makes_layer);
    assert_eq!((layers.count(), stage.steps.len()), (2, 2));
}

#[test]
fn commands() {
    let check = |text: &str, entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let settings = last(text).settings;
        assert_eq!(settings.entrypoint, entrypoint.map(owned), "{text}");
        assert_eq!(settings.cmd, cmd.map(owned), "{text}");
    };
    check(
        "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"b\"]",
        Some(&["b"]),
        Some(&["a"]),
    );
    check(
        "FROM scratch AS x\nCMD [\"a\"]\nFROM x\nENTRYPOINT [\"b\"]",
        Some(&["b"]),
        None,
    );
    check(
        "FROM scratch\nENTRYPOINT [\"b\"]\nENTRYPOINT []",
        None,
        None,
    );
    check(
        "FROM scratch\nSHELL [\"bash\", \"-c\"]\nCMD a",
        None,
        Some(&["bash", "-c", "a"]),
    );
    check("FROM scratch\nCMD []", None, Some(&[]));
}

#[test]
fn copies() {
    let copied = |line: &str| match last(&format!("FROM scratch\nWORKDIR /w\n{line}"))
        .steps
        .pop()
    {
        Some(Step {
            action: Action::Copy(copy),
            ..
        }) => *copy,
        other => panic!("{line}: {other:?}"),
    };
    for (line, dest) in [
        ("COPY a b", "/w/b"),
        ("COPY a /b/", "/b/"),
        ("COPY a .", "/w/"),
        ("COPY a ./x/", "/w/x/"),
        ("COPY a /", "/"),
        ("COPY a ../..", "/"),
    ] {
        assert_eq!(copied(line).dest, dest, "{line}");
    }
    assert!(copied("ADD a b").unpacks && !copied("COPY a b").unpacks);
    assert!(!copied("ADD --unpack=false a b").unpacks);
    let heredoc = copied("COPY <<a <<'b' /d/\n$PATH\na\n$PATH\nb");
    assert_eq!(heredoc.files[0].1, format!("{DEFAULT_PATH}\n"));
    assert_eq!(heredoc.files[1].1, "$PATH\n");
}

#[test]
fn stages_that_are_needed() {
    let text = "FROM scratch AS a\nFROM scratch AS b\nFROM a AS c\nCOPY --from=b x /\n\
                FROM scratch AS d\nRUN --mount=from=a,target=/m x\nFROM scratch\nCOPY --from=0 x /";
    let file = dockerfile::parse(text.as_bytes()).unwrap();
    let check = |target: Option<&str>, expected: &[usize]| {
        let given = Given {
            target: target.map(str::to_owned),
            ..Given::default()
        };
        let graph = Graph::new(&file, &given).unwrap();
        let needed = graph.needed(&file, &BTreeMap::new()).unwrap();
        assert_eq!(
            needed,
            expected.iter().copied().collect::<BTreeSet<_>>(),
            "{target:?}"
        );
    };
    check(None, &[0, 4]);
    check(Some("C"), &[0, 1, 2]);
    check(Some("d"), &[0, 3]);
    check(Some("1"), &[1]);
}

#[test]
fn refusals() {
    for (text, message) in [
        ("FROM $X", "base name ($X) should not be blank"),
        (
            "FROM --platform=windows/amd64 a",
            "platform windows/amd64 cannot be built here, only linux/amd64",
        ),
        (
            "FROM scratch\nENV A=${",
            "failed to process \"${\": syntax error: missing '}'",
        ),
        (
            "FROM scratch\nEXPOSE notaport",
            "invalid containerPort: notaport",
        ),
        ("FROM scratch\nSTOPSIGNAL SIGNO", "Invalid signal: SIGNO"),
        (
            "FROM scratch AS me\nCOPY --from=me a b",
            "circular dependency detected on stage: me",
        ),
        ("FROM scratch\nCOPY --from=7 a b", "invalid stage index 7"),
        (
            "FROM scratch AS x\nCOPY --from=later a b\nFROM scratch AS later",
            "cannot copy from stage \"later\", it needs to be defined before current stage \"x\"",
        ),
        (
            "FROM scratch\nADD https://a/b /",
            "ADD of a URL or of git is not supported yet",
        ),
        (
            "FROM scratch\nRUN --mount=type=secret,id=s,required x",
            "secret s: not found; a push has no build secrets yet",
        ),
    ] {
        assert_eq!(
            planned(text, &Given::default()).unwrap_err(),
            message,
            "{text}"
        );
    }
    let target = Given {
        target: Some("buidl".to_owned()),
        ..Given::default()
    };
    assert_eq!(
        planned("FROM scratch AS build", &target).unwrap_err(),
        "target stage \"buidl\" could not be found (did you mean build?)"
    );
}
