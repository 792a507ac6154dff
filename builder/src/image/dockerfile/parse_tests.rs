//! Each rule of the grammar as a case.

use super::*;
use crate::image::dockerfile::instruction::{Copy, Run};

fn kind(line: &str) -> Kind {
    let file =
        parse(format!("FROM a\n{line}").as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}"));
    file.stages[0].instructions[0].kind.clone()
}

fn run(line: &str) -> Run {
    match kind(line) {
        Kind::Run(run) => *run,
        other => panic!("{line}: {other:?}"),
    }
}

fn copy(line: &str) -> Copy {
    match kind(line) {
        Kind::Copy(copy) => *copy,
        other => panic!("{line}: {other:?}"),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(owned(words))
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn stages() {
    let file = parse(b"ARG V=1\nFROM --platform=$P a:$V as Build\nRUN x\nfrom build\n").unwrap();
    assert_eq!(file.arguments.len(), 1);
    assert_eq!(file.stages[0].name.as_deref(), Some("build"));
    assert_eq!(file.stages[0].image, "a:$V");
    assert_eq!(file.stages[0].platform.as_deref(), Some("$P"));
    assert_eq!(file.stages[0].instructions[0].source, "RUN x");
    assert_eq!(file.stages[1].span, (4, 4));
}

#[test]
fn commands() {
    for (line, expected) in [
        ("CMD a  b", shell("a  b")),
        ("cmd [\"a\", \"b\"]", exec(&["a", "b"])),
        ("CMD ['a']", shell("['a']")),
        ("CMD []", exec(&[])),
    ] {
        assert_eq!(kind(line), Kind::Cmd(expected), "{line}");
    }
    assert_eq!(kind("ENTRYPOINT [\"a\"]"), Kind::Entrypoint(exec(&["a"])));
    assert_eq!(
        kind("SHELL [\"a\", \"-c\"]"),
        Kind::Shell(owned(&["a", "-c"]))
    );
}

#[test]
fn names_and_values() {
    for (line, expected) in [
        (
            "ENV A=1 B=\"x y\" C=a\\ b",
            vec![pair("A", "1"), pair("B", "\"x y\""), pair("C", "a\\ b")],
        ),
        ("ENV A  the  rest ", vec![pair("A", "the  rest")]),
        ("ENV A=b=c", vec![pair("A", "b=c")]),
        ("ENV a.b-c=1", vec![pair("a.b-c", "1")]),
    ] {
        assert_eq!(kind(line), Kind::Env(expected), "{line}");
    }
    assert_eq!(kind("LABEL a=b"), Kind::Label(vec![pair("a", "b")]));
    let arguments = vec![
        ("A".to_owned(), Some("1".to_owned())),
        ("B".to_owned(), None),
    ];
    assert_eq!(kind("ARG A=1 B"), Kind::Arg(arguments));
}

#[test]
fn plain_ones() {
    assert_eq!(kind("WORKDIR /a b"), Kind::Workdir("/a b".to_owned()));
    assert_eq!(kind("USER a:b"), Kind::User("a:b".to_owned()));
    assert_eq!(
        kind("EXPOSE 80 81/udp"),
        Kind::Expose(owned(&["80", "81/udp"]))
    );
    assert_eq!(kind("VOLUME [\"/a\"]"), Kind::Volume(owned(&["/a"])));
    assert_eq!(kind("VOLUME [\"x"), Kind::Volume(owned(&["[\"x"])));
    assert_eq!(
        kind("STOPSIGNAL SIGINT"),
        Kind::StopSignal("SIGINT".to_owned())
    );
    assert_eq!(
        kind("MAINTAINER a <b>"),
        Kind::Maintainer("a <b>".to_owned())
    );
    assert_eq!(kind("ONBUILD RUN a"), Kind::OnBuild("RUN a".to_owned()));
}

#[test]
fn runs() {
    assert_eq!(run("RUN a && \\\n  b").command, shell("a &&   b"));
    assert_eq!(run("RUN [\"a\"]").command, exec(&["a"]));
    assert_eq!(run("RUN <<E\na\nb\nE").command, shell("a\nb\n"));
    assert_eq!(run("RUN <<-E\n\ta\n\tE").command, shell("a\n"));
    assert_eq!(
        run("RUN cat <<A <<B\na\nA\nb\nB").command,
        shell("cat <<A <<B\na\nA\nb\nB")
    );
    let script = run("RUN <<E\n#!/usr/bin/python3\nE");
    assert_eq!(script.command, shell("/dev/pipes/E"));
    assert_eq!(script.script, Some(pair("E", "#!/usr/bin/python3\n")));
    assert!(!run("RUN --network=none a").has_network);
    let mounts = run("RUN --mount=type=cache,dst=/c --mount=type=bind,src=a,target=b,rw x").mounts;
    assert_eq!(mounts[0]["target"], "/c");
    assert_eq!(
        (mounts[1]["source"].as_str(), mounts[1]["rw"].as_str()),
        ("a", "true")
    );
}

#[test]
fn copies() {
    let plain = copy("COPY a b /c");
    assert_eq!(
        (plain.sources, plain.dest.as_str()),
        (owned(&["a", "b"]), "/c")
    );
    assert_eq!(copy("COPY [\"a b\", \"c\"]").sources, ["a b"]);
    let flags = copy("COPY --from=x --chown=1:2 --chmod=755 --link --exclude=*.md a /b");
    assert_eq!(flags.from.as_deref(), Some("x"));
    assert_eq!(
        (flags.chown.as_deref(), flags.chmod.as_deref()),
        (Some("1:2"), Some("755"))
    );
    assert!(flags.excludes == ["*.md"]);
    let heredocs = copy("COPY a <<one <<'two' /d/\n1\none\n2\ntwo");
    assert_eq!((heredocs.sources.len(), heredocs.heredocs.len()), (1, 2));
    assert_eq!(copy("ADD --unpack=false a /b").unpack, Some(false));
}

#[test]
fn health() {
    let Kind::HealthCheck(check) = kind("HEALTHCHECK --interval=7s --retries=2 CMD curl x") else {
        panic!("no check");
    };
    assert_eq!(check.test, ["CMD-SHELL", "curl x"]);
    assert_eq!(
        (check.numbers["interval"], check.numbers["retries"]),
        (7_000_000_000, 2)
    );
}

const REFUSED: &[(&str, &str)] = &[
    ("RUN a", "no build stage in current context"),
    ("ARG A", "no build stage in current context"),
    ("FROM a b", "FROM requires either one or three arguments"),
    (
        "FROM a AS 1bad!",
        "invalid name for build stage: \"1bad!\", name can't start with a number or contain symbols",
    ),
    (
        "FROM a\nFNTRYPOINT x",
        "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)",
    ),
    (
        "FROM a\nENV X=1 # y",
        "Syntax error - can't find = in \"#\". Must be of the form: name=value",
    ),
    ("FROM a\nENV K", "ENV must have two arguments"),
    ("FROM a\nENV =x", "ENV names can not be blank"),
    (
        "FROM a\nCMD [\"a\", 1]",
        "when using JSON array syntax, arrays must be comprised of strings only",
    ),
    (
        "FROM a\nSHELL x",
        "SHELL requires the arguments to be in JSON form",
    ),
    ("FROM a\nRUN", "RUN requires at least one argument"),
    (
        "FROM a\nCOPY x",
        "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    (
        "FROM a\nCOPY x <<E\nE",
        "COPY cannot accept a heredoc as a destination",
    ),
    (
        "FROM a\nCOPY http://a/b /c",
        "source can't be a URL for COPY",
    ),
    (
        "FROM a\nCOPY --checksum=x a /c",
        "checksum can't be specified for COPY",
    ),
    (
        "FROM a\nCOPY --chonw=x a /c",
        "unknown flag: --chonw (did you mean chown?)",
    ),
    (
        "FROM a\nCOPY --from=$x a /c",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
    ),
    (
        "FROM a\nRUN --network=host x",
        "entitlement network.host is not allowed",
    ),
    ("FROM a\nRUN --network=x y", "invalid network mode \"x\""),
    (
        "FROM a\nRUN --security=insecure x",
        "entitlement security.insecure is not allowed",
    ),
    (
        "FROM a\nRUN --mount=type=bogus,target=/a x",
        "unsupported mount type \"bogus\"",
    ),
    (
        "FROM a\nRUN --mount=typ=x x",
        "unexpected key 'typ' in 'typ=x' (did you mean type?)",
    ),
    (
        "FROM a\nRUN --mount=target=/ x",
        "invalid mount target \"/\"",
    ),
    (
        "FROM a\nRUN --mount=type=tmpfs,target=/a,mode=1 x",
        "mode not allowed for \"tmpfs\" type mounts",
    ),
    (
        "FROM a\nVOLUME [\"\"]",
        "VOLUME specified can not be an empty string",
    ),
    (
        "FROM a\nHEALTHCHECK x",
        "Unknown type \"x\" in HEALTHCHECK (try CMD)",
    ),
    (
        "FROM a\nHEALTHCHECK CMD",
        "Missing command after HEALTHCHECK CMD",
    ),
    (
        "FROM a\nHEALTHCHECK NONE x",
        "HEALTHCHECK NONE takes no arguments",
    ),
    (
        "FROM a\nHEALTHCHECK --interval=abc CMD x",
        "time: invalid duration \"abc\"",
    ),
    (
        "FROM a\nONBUILD ONBUILD RUN x",
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    (
        "FROM a\nONBUILD FROM x",
        "FROM isn't allowed as an ONBUILD trigger",
    ),
    (
        "FROM a\nONBUILD RUM x",
        "unknown instruction: RUM (did you mean RUN?)",
    ),
];

#[test]
fn refusals() {
    for (text, message) in REFUSED {
        assert_eq!(
            parse(text.as_bytes()).unwrap_err().message,
            *message,
            "{text}"
        );
    }
}

#[test]
fn triggers_are_parsed_later() {
    let span = (3, 3);
    let Kind::OnBuild(text) = kind("ONBUILD RUN <<E\nhello\nE") else {
        panic!("no trigger");
    };
    let run = trigger(&text, '\\', span).unwrap();
    assert_eq!(run.span, span);
    assert!(matches!(run.kind, Kind::Run(run) if run.command == shell("hello\n")));
    assert!(trigger("RUN a\nRUN b", '\\', span).is_err());
}
