//! git's pkt-line framing (gitprotocol-common(5)): four hex digits of length, then the bytes.
//!
//! Spoken with `receive-pack` on the hook's standard input and output, and by the intake for the
//! first lines of an advertisement.

use std::io::{self, Read, Write};

/// Bytes of the longest packet, its four digits included (gitprotocol-common(5)).
pub const MAX_BYTES: usize = 65_520;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0000`: the end of a section.
    Flush,
    /// A line or a chunk; a line keeps its line feed.
    Data(Vec<u8>),
}

/// Why a packet cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The stream broke, or ended inside a packet.
    #[error("pass a packet")]
    Io(#[from] io::Error),
    /// The four digits are no length.
    #[error("read a packet: {0:?} is no length")]
    Length(String),
    /// The bytes do not fit into one packet.
    #[error("write a packet of {0} bytes")]
    TooLong(usize),
}

/// Reads one packet; none when the stream ends before its first byte.
pub fn read(stream: &mut impl Read) -> Result<Option<Packet>, PacketError> {
    let mut digits = [0; 4];
    let mut got = 0;
    while got < digits.len() {
        let rest = digits.get_mut(got..).unwrap_or_default();
        match stream.read(rest) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let bad = || PacketError::Length(String::from_utf8_lossy(&digits).into_owned());
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad());
    }
    let text = std::str::from_utf8(&digits).map_err(|_| bad())?;
    let length = usize::from_str_radix(text, 16).map_err(|_| bad())?;
    match length {
        0 => Ok(Some(Packet::Flush)),
        4..=MAX_BYTES => {
            let mut bytes = vec![0; length - 4];
            stream.read_exact(&mut bytes)?;
            Ok(Some(Packet::Data(bytes)))
        }
        _ => Err(bad()),
    }
}

/// Writes one packet of data.
pub fn write(stream: &mut impl Write, bytes: &[u8]) -> Result<(), PacketError> {
    let length = bytes.len() + 4;
    if length > MAX_BYTES {
        return Err(PacketError::TooLong(bytes.len()));
    }
    stream.write_all(format!("{length:04x}").as_bytes())?;
    Ok(stream.write_all(bytes)?)
}

/// Writes a flush packet.
pub fn flush(stream: &mut impl Write) -> Result<(), PacketError> {
    stream.write_all(b"0000")?;
    Ok(stream.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut bytes: &[u8], expected: Result<&[Option<Packet>], &str>) {
        let input = String::from_utf8_lossy(bytes).into_owned();
        let mut packets = Vec::new();
        let result = loop {
            match read(&mut bytes) {
                Ok(None) => {
                    packets.push(None);
                    break Ok(packets.as_slice());
                }
                Ok(packet) => packets.push(packet),
                Err(error) => break Err(error.to_string()),
            }
        };
        match (result, expected) {
            (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{input}"),
            (Err(got), Err(wanted)) => assert_eq!(got, wanted, "{input}"),
            (got, wanted) => panic!("{input}: {got:?} is not {wanted:?}"),
        }
    }

    #[test]
    fn packets_are_read() {
        let data = |text: &str| Some(Packet::Data(text.as_bytes().to_vec()));
        check(b"", Ok(&[None]));
        check(b"0000", Ok(&[Some(Packet::Flush), None]));
        check(b"0004", Ok(&[data(""), None]));
        check(
            b"000ahello\n0000",
            Ok(&[data("hello\n"), Some(Packet::Flush), None]),
        );
        check(b"000Ahello\n", Ok(&[data("hello\n"), None]));
        check(b"00", Err("pass a packet"));
        check(b"000ahel", Err("pass a packet"));
        check(b"0001", Err("read a packet: \"0001\" is no length"));
        check(b"0003", Err("read a packet: \"0003\" is no length"));
        check(b"zzzz", Err("read a packet: \"zzzz\" is no length"));
        check(b"+00a", Err("read a packet: \"+00a\" is no length"));
        check(b"ffff", Err("read a packet: \"ffff\" is no length"));
    }

    #[test]
    fn packets_are_written() {
        let mut out = Vec::new();
        write(&mut out, b"ok refs/heads/main").unwrap();
        flush(&mut out).unwrap();
        assert_eq!(out, b"0016ok refs/heads/main0000");
        assert!(matches!(
            write(&mut out, &vec![0; MAX_BYTES]),
            Err(PacketError::TooLong(MAX_BYTES))
        ));
    }
}
