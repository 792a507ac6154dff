//! How a line lies in a file: length, checksum, fields.
//!
//! ```text
//! u32 length of what follows the checksum   u32 crc32 of that
//! u64 at_us   u8 source (0 app, 1 heroku)   u8 length of process   process   text
//! ```
//! All numbers little-endian. A record that is cut or whose checksum is wrong ends the file: it was
//! being written when its writer, or the machine, stopped.

use crate::line::{Line, Source};
use model::limits::LOG_LINE_MAX_BYTES;

const HEAD_BYTES: usize = 8;
const FIELDS_BYTES: usize = 10;
const PROCESS_MAX_BYTES: usize = 255;
/// Bytes of the longest record.
pub(crate) const RECORD_MAX_BYTES: usize =
    HEAD_BYTES + FIELDS_BYTES + PROCESS_MAX_BYTES + LOG_LINE_MAX_BYTES;

/// Appends a record to `out`. `text` is at most [`LOG_LINE_MAX_BYTES`] long, which the writer sees
/// to.
pub(crate) fn encode(line: &Line, text: &[u8], out: &mut Vec<u8>) {
    debug_assert!(text.len() <= LOG_LINE_MAX_BYTES, "the writer splits lines");
    let process = line.process.as_bytes();
    let process = process.get(..PROCESS_MAX_BYTES).unwrap_or(process);
    let process_len = u8::try_from(process.len()).expect("it was cut to 255");
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.extend_from_slice(&line.at_us.to_le_bytes());
    out.push(match line.source {
        Source::App => 0,
        Source::Heroku => 1,
    });
    out.push(process_len);
    out.extend_from_slice(process);
    out.extend_from_slice(text);
    let body = out.get(start + HEAD_BYTES..).unwrap_or_default();
    let length = u32::try_from(body.len()).expect("RECORD_MAX_BYTES fits into 32 bits");
    let head = u64::from(length) | u64::from(crc32(body)) << 32;
    let place = out.get_mut(start..start + HEAD_BYTES);
    place
        .expect("these bytes were appended above")
        .copy_from_slice(&head.to_le_bytes());
}

/// What stands at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole record and its length in bytes.
    Line(Line, usize),
    /// The front of a record, or nothing.
    Incomplete,
    /// Something else.
    Damaged,
}

/// Reads the record at the front.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Decoded::Incomplete;
    };
    let head = u64::from_le_bytes(*head);
    let length = usize::try_from(head & 0xffff_ffff).unwrap_or(usize::MAX);
    if !(FIELDS_BYTES..=RECORD_MAX_BYTES - HEAD_BYTES).contains(&length) {
        return Decoded::Damaged;
    }
    let Some(body) = rest.get(..length) else {
        return Decoded::Incomplete;
    };
    if u64::from(crc32(body)) != head >> 32 {
        return Decoded::Damaged;
    }
    match fields(body) {
        Some(line) => Decoded::Line(line, HEAD_BYTES + length),
        None => Decoded::Damaged,
    }
}

fn fields(body: &[u8]) -> Option<Line> {
    let (at_us, rest) = body.split_first_chunk::<8>()?;
    let (&[source, process_len], rest) = rest.split_first_chunk::<2>()?;
    let (process, text) = rest.split_at_checked(process_len.into())?;
    Some(Line {
        at_us: u64::from_le_bytes(*at_us),
        source: match source {
            0 => Source::App,
            1 => Source::Heroku,
            _ => return None,
        },
        process: String::from_utf8_lossy(process).into_owned(),
        text: text.to_vec(),
    })
}

/// Counts the whole records at the front and their bytes, without looking at checksums.
pub(crate) fn count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((length, _)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(length.saturating_add(HEAD_BYTES)..) else {
            break;
        };
        bytes = rest;
        count += 1;
    }
    count
}

/// The checksum of zlib, gzip and PNG (polynomial 0xedb88320, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| CRC_TABLE.get(index));
        (crc >> 8) ^ entry.expect("the index has eight bits and the table 256 entries")
    })
}

const CRC_TABLE: [u32; 256] = crc_table();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler: a wrong index is an error of the build"
)]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut value: u32 = 0;
    while index < table.len() {
        let mut entry = value;
        let mut bit = 0;
        while bit < 8 {
            let low = entry & 1;
            entry = (entry >> 1) ^ (0xedb8_8320 * low);
            bit += 1;
        }
        table[index] = entry;
        index += 1;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(process: &str, text: &[u8]) -> Line {
        Line {
            at_us: 1_700_000_000_000_001,
            source: Source::Heroku,
            process: process.into(),
            text: text.into(),
        }
    }

    #[test]
    fn crc_of_the_standard_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_encoded_decodes_and_every_cut_is_incomplete() {
        let lines = [
            line("web.1", b"hello"),
            line("", b""),
            line("router", &[0xff, 0, b'\n']),
            line("x", &vec![b'y'; LOG_LINE_MAX_BYTES]),
        ];
        for line in lines {
            let mut bytes = Vec::new();
            encode(&line, &line.text, &mut bytes);
            assert!(bytes.len() <= RECORD_MAX_BYTES);
            assert_eq!(decode(&bytes), Decoded::Line(line, bytes.len()));
            for cut in (0..bytes.len()).rev().take(300) {
                assert_eq!(decode(&bytes[..cut]), Decoded::Incomplete);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let line = line("web.1", b"hello");
        let mut bytes = Vec::new();
        encode(&line, &line.text, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&bytes), Decoded::Line(..)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(decode(&[0; 64]), Decoded::Damaged);
    }

    #[test]
    fn records_are_counted() {
        let mut bytes = Vec::new();
        for _ in 0..3 {
            encode(&line("a", b"b"), b"b", &mut bytes);
        }
        assert_eq!(count(&bytes), 3);
        assert_eq!(count(&bytes[..bytes.len() - 1]), 2);
        assert_eq!(count(&[]), 0);
    }
}
