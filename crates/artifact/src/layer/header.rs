//! Heads of a tar: ustar, with a PAX record in front where ustar has no room (pax(1)).

use std::io::{self, Write};

const BLOCK_BYTES: usize = 512;
/// Bytes of a name or link that ustar holds.
const NAME_BYTES: usize = 100;
/// The largest number of eleven octal digits.
const NUMBER_MAX: u64 = 0o77_777_777_777;

/// Extended attributes: names and values.
pub(super) type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands in front of an entry's content.
pub(super) struct Head<'a> {
    /// Relative, a folder with a slash at its end.
    pub(super) name: &'a [u8],
    /// `0` file, `1` hard link, `2` link, `5` folder, `6` pipe.
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size_bytes: u64,
    pub(super) mtime_s: u64,
    /// Of links; else empty.
    pub(super) target: &'a [u8],
    /// Sorted.
    pub(super) attributes: Attributes,
}

/// Writes a head.
pub(super) fn write(head: &Head<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut records = Vec::new();
    if head.name.len() > NAME_BYTES {
        record(&mut records, b"path", head.name);
    }
    if head.target.len() > NAME_BYTES {
        record(&mut records, b"linkpath", head.target);
    }
    if head.size_bytes > NUMBER_MAX {
        record(
            &mut records,
            b"size",
            head.size_bytes.to_string().as_bytes(),
        );
    }
    for (name, value) in &head.attributes {
        let key = [super::PAX_ATTRIBUTE, name].concat();
        record(&mut records, &key, value);
    }
    if !records.is_empty() {
        let extension = Head {
            name: b"PaxHeaders.0/x",
            kind: b'x',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size_bytes: records.len() as u64,
            mtime_s: 0,
            target: b"",
            attributes: Vec::new(),
        };
        out.write_all(&block(&extension))?;
        out.write_all(&records)?;
        pad(records.len() as u64, out)?;
    }
    out.write_all(&block(head))
}

/// Fills the last block of so many bytes.
pub(super) fn pad(size_bytes: u64, out: &mut impl Write) -> io::Result<()> {
    let over = usize::try_from(size_bytes % BLOCK_BYTES as u64).unwrap_or_default();
    if over == 0 {
        return Ok(());
    }
    let zeros = [0; BLOCK_BYTES];
    out.write_all(zeros.get(over..).unwrap_or_default())
}

/// Two blocks of zeros.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn block(head: &Head<'_>) -> Vec<u8> {
    let cut = |bytes: &[u8]| bytes.get(..NAME_BYTES).unwrap_or(bytes).to_vec();
    let octal = |number: u64, digits: usize| format!("{number:0digits$o}\0").into_bytes();
    let fields: [(Vec<u8>, usize); 13] = [
        (cut(head.name), NAME_BYTES),
        (octal(u64::from(head.mode & 0o7777), 7), 8),
        (octal(u64::from(head.uid), 7), 8),
        (octal(u64::from(head.gid), 7), 8),
        (octal(head.size_bytes.min(NUMBER_MAX), 11), 12),
        (octal(head.mtime_s.min(NUMBER_MAX), 11), 12),
        (b"        ".to_vec(), 8),
        (vec![head.kind], 1),
        (cut(head.target), NAME_BYTES),
        (b"ustar\x0000".to_vec(), 8),
        (Vec::new(), 64),
        (octal(0, 7), 8),
        (octal(0, 7), 8),
    ];
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for (mut bytes, width) in fields {
        bytes.resize(width, 0);
        block.append(&mut bytes);
    }
    block.resize(BLOCK_BYTES, 0);
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ").into_bytes();
    block.splice(148..156, sum);
    block
}
