//! Tests of `output`.

use super::*;
use crate::scratch::Scratch;

const SOON: Duration = Duration::from_secs(20);

fn read_all(follower: &mut Follower) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let chunk = follower.next(SOON).unwrap();
        all.extend(chunk.bytes);
        assert_eq!(chunk.offset, all.len() as u64);
        if chunk.is_last {
            return all;
        }
    }
}

#[test]
fn followed_from_before_the_start_to_the_end() {
    let scratch = Scratch::new();
    let path = scratch.path().join("later/1.out");
    let mut follower = Follower::open(&path, 0).unwrap();
    assert_eq!(follower.next(Duration::ZERO).unwrap(), Chunk::default());
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            fs::create_dir(path.parent().unwrap()).unwrap();
            let mut output = Output::create(&path).unwrap();
            for n in 0..20_000 {
                output.append(format!("line {n}\n").as_bytes()).unwrap();
            }
            output.finish().unwrap();
        }
    });
    let all = read_all(&mut follower);
    writer.join().unwrap();
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let expected = lines.concat();
    assert_eq!(String::from_utf8(all).unwrap(), expected);

    let mut middle = Follower::open(&path, expected.len() as u64 - 5).unwrap();
    let chunk = middle.next(SOON).unwrap();
    assert_eq!(
        (chunk.bytes.as_slice(), chunk.is_last),
        (&b"9999\n"[..], true)
    );
    let mut behind = Follower::open(&path, 1 << 40).unwrap();
    assert!(behind.next(SOON).unwrap().is_last);
}

#[test]
fn bounded_and_it_says_so() {
    const END: &str = "\n !     The output is too long, the rest is not kept.\n";
    let scratch = Scratch::new();
    for (name, parts, expected) in [
        ("exact", vec!["1234", "5678"], "12345678".to_owned()),
        ("over", vec!["1234", "567890"], format!("12345678{END}")),
        (
            "after",
            vec!["12345678", "9", "0"],
            format!("12345678{END}"),
        ),
        (
            "once",
            vec!["12345678901234567890"],
            format!("12345678{END}"),
        ),
    ] {
        let path = scratch.path().join(name);
        let mut output = Output::create_bounded(&path, 8).unwrap();
        for part in parts {
            output.append(part.as_bytes()).unwrap();
        }
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{name}");
    }
}

#[test]
fn an_output_whose_writer_died_is_ended_by_others() {
    let scratch = Scratch::new();
    let path = scratch.path().join("1.out");
    let mut output = Output::create(&path).unwrap();
    output.append(b"half\n").unwrap();
    drop(output);
    let mut follower = Follower::open(&path, 0).unwrap();
    let chunk = follower.next(SOON).unwrap();
    assert_eq!(
        (chunk.bytes.as_slice(), chunk.is_last),
        (&b"half\n"[..], false)
    );
    finish_left(&path, b"the builder was restarted\n").unwrap();
    finish_left(&path, b"twice\n").unwrap();
    let mut rest = Vec::new();
    loop {
        let chunk = follower.next(SOON).unwrap();
        rest.extend(chunk.bytes);
        if chunk.is_last {
            break;
        }
    }
    assert_eq!(rest, b"the builder was restarted\n");
}

#[test]
fn made_once() {
    let scratch = Scratch::new();
    let path = scratch.path().join("1.out");
    Output::create(&path).unwrap();
    let error = Output::create(&path).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
}
