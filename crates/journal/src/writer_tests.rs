//! Tests of `writer`: what is on the disk after it, and after it died.

use super::*;
use crate::last::last;
use crate::line::Source;
use crate::scratch::Scratch;

fn line(at_us: u64, text: &[u8]) -> Line {
    Line {
        at_us,
        source: Source::App,
        process: "web.1".into(),
        text: text.to_vec(),
    }
}

fn texts(dir: &Path) -> Vec<String> {
    let tail = last(&[dir.to_owned()], LOG_LINES_MAX, &|_| true).unwrap();
    let text = |line: &Line| line.text_lossy().into_owned();
    tail.lines.iter().map(text).collect()
}

fn small() -> Limits {
    Limits {
        segment_max_bytes: 200,
        segments_min: 3,
        lines_min: 5,
    }
}

#[test]
fn modes_and_names() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("app");
    let mut writer = Writer::open(&dir, Limits::default()).unwrap();
    writer.append(&line(1, b"x")).unwrap();
    writer.sync().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&dir), 0o2770);
    assert_eq!(mode(&dir.join("0000000000000001.log")), 0o640);
}

#[test]
fn one_writer_at_a_time() {
    let scratch = Scratch::new();
    let first = Writer::open(scratch.path(), small()).unwrap();
    let second = Writer::open(scratch.path(), small());
    assert!(matches!(second, Err(WriterError::Taken(_))));
    drop(first);
    Writer::open(scratch.path(), small()).unwrap();
}

#[test]
fn long_lines_are_split_between_characters() {
    let scratch = Scratch::new();
    let mut writer = Writer::open(scratch.path(), Limits::default()).unwrap();
    let n = LOG_LINE_MAX_BYTES;
    let ascii = "a".repeat(n);
    let umlauts = format!("a{}", "\u{e4}".repeat(n / 2));
    let garbage = vec![0x80; n + 1];
    let cases: [(&[u8], &[usize]); 6] = [
        (b"", &[0]),
        (ascii.as_bytes(), &[n]),
        (&[ascii.as_bytes(), b"b"].concat(), &[n, 1]),
        (&ascii.as_bytes().repeat(3), &[n, n, n]),
        (umlauts.as_bytes(), &[n - 1, 2]),
        (&garbage, &[n, 1]),
    ];
    for (text, _) in cases {
        writer.append(&line(1, text)).unwrap();
    }
    let tail = last(&[scratch.path().to_owned()], 100, &|_| true).unwrap();
    let lengths: Vec<usize> = tail.lines.iter().map(|line| line.text.len()).collect();
    let expected: Vec<usize> = cases
        .iter()
        .flat_map(|(_, lengths)| *lengths)
        .copied()
        .collect();
    assert_eq!(lengths, expected);
}

#[test]
fn old_segments_go_but_enough_lines_stay() {
    let scratch = Scratch::new();
    let mut writer = Writer::open(scratch.path(), small()).unwrap();
    for n in 0..100 {
        writer
            .append(&line(n, format!("short {n}").as_bytes()))
            .unwrap();
    }
    // Six lines of 31 bytes to a segment, three segments.
    assert_eq!(segment::list(scratch.path()).unwrap().len(), 3);
    let kept = texts(scratch.path());
    assert_eq!(kept.last().unwrap(), "short 99");
    assert!(kept.len() > 12, "{kept:?}");

    // Lines that fill a segment each: five of them stay, and the one being written.
    for n in 0..20 {
        writer.append(&line(n, &[b'x'; 190])).unwrap();
    }
    assert_eq!(segment::list(scratch.path()).unwrap().len(), 6);
    drop(writer);
    let mut again = Writer::open(scratch.path(), small()).unwrap();
    for n in 0..3 {
        again.append(&line(n, &[b'y'; 190])).unwrap();
    }
    assert_eq!(segment::list(scratch.path()).unwrap().len(), 6);
}

#[test]
fn a_batch_over_several_segments_is_whole() {
    let scratch = Scratch::new();
    let mut writer = Writer::open(scratch.path(), small()).unwrap();
    let limits = Limits {
        lines_min: 1000,
        ..small()
    };
    writer.limits = limits;
    let batch: Vec<Line> = (0..50)
        .map(|n| line(n, format!("line {n}").as_bytes()))
        .collect();
    writer.append_batch(&batch).unwrap();
    writer.append_batch(&[]).unwrap();
    let expected: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
    assert_eq!(texts(scratch.path()), expected);
    for sequence in segment::list(scratch.path()).unwrap() {
        let bytes = segment::read(scratch.path(), sequence).unwrap().unwrap();
        assert!(bytes.len() as u64 <= limits.segment_max_bytes);
    }
}

/// Cut anywhere, or with garbage at the end: the next writer keeps the whole lines and goes on.
#[test]
fn a_torn_end_is_cut() {
    let whole: Vec<String> = (0..3).map(|n| format!("line {n}")).collect();
    let make = |scratch: &Scratch| {
        let mut writer = Writer::open(scratch.path(), Limits::default()).unwrap();
        for text in &whole {
            writer.append(&line(1, text.as_bytes())).unwrap();
        }
        segment::path(scratch.path(), 1)
    };
    let check = |damage: &dyn Fn(&File, u64), kept: usize| {
        let scratch = Scratch::new();
        let path = make(&scratch);
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        damage(&file, file.metadata().unwrap().len());
        assert_eq!(texts(scratch.path()), whole[..kept], "a reader sees it cut");
        let mut writer = Writer::open(scratch.path(), Limits::default()).unwrap();
        writer.append(&line(2, b"after")).unwrap();
        let mut expected = whole[..kept].to_vec();
        expected.push("after".into());
        assert_eq!(texts(scratch.path()), expected);
    };
    check(&|_, _| {}, 3);
    for cut in 1..29 {
        check(&|file, length| file.set_len(length - cut).unwrap(), 2);
    }
    for garbage in [
        &b"x"[..],
        b"garbage that is longer than a head",
        &[0; 4096],
        &[0xff; 64],
    ] {
        check(&|mut file, _| file.write_all(garbage).unwrap(), 3);
    }
    // Numbers that claim more than there is.
    check(
        &|mut file, _| file.write_all(&[200, 0, 0, 0, 1, 2, 3, 4, 5]).unwrap(),
        3,
    );
}

#[test]
fn a_missing_parent_is_told() {
    let scratch = Scratch::new();
    let error = Writer::open(&scratch.path().join("a/b"), small()).unwrap_err();
    assert!(error.to_string().starts_with("create "), "{error}");
}
