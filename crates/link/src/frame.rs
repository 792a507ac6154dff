//! One message on a stream: a 4-byte big-endian length, then JSON, at most
//! [`FRAME_MAX_BYTES`].
//!
//! Neither function is cancel-safe: a stream whose read or write was dropped half-way is good for
//! nothing any more.

use model::limits::FRAME_MAX_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Why a message did not pass.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke, or ended inside a message.
    #[error("pass a message")]
    Io(#[from] std::io::Error),
    /// The message, or the length that the peer announced, is over [`FRAME_MAX_BYTES`].
    #[error("pass a message of {bytes} bytes, the limit is {FRAME_MAX_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are no such message.
    #[error("read a message")]
    Malformed(#[source] serde_json::Error),
}

/// Reads one message; none when the stream ends before its first byte.
///
/// # Errors
/// [`FrameError`]; the stream cannot be used after any of them.
pub async fn read<T: serde::de::DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    match stream.read(&mut length).await? {
        0 => return Ok(None),
        got => {
            let rest = length.get_mut(got..).unwrap_or_default();
            stream.read_exact(rest).await?;
        }
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).expect("usize holds 32 bits");
    if bytes > FRAME_MAX_BYTES {
        return Err(FrameError::TooLarge { bytes });
    }
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).await?;
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(FrameError::Malformed)
}

/// Writes one message and flushes.
///
/// # Errors
/// [`FrameError`]; after [`FrameError::TooLarge`] nothing was written.
pub async fn write<T: serde::Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?).await?;
    Ok(stream.flush().await?)
}

/// The bytes of one message, length included: for those who fill chunks up to the limit.
///
/// # Errors
/// [`FrameError::TooLarge`].
pub fn encode<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Malformed)?;
    let length = bytes.len() - 4;
    if length > FRAME_MAX_BYTES {
        return Err(FrameError::TooLarge { bytes: length });
    }
    let head = u32::try_from(length).expect("the limit fits 32 bits");
    for (byte, value) in bytes.iter_mut().zip(head.to_be_bytes()) {
        *byte = value;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_pass_and_the_end_is_none() {
        let (mut near, mut far) = tokio::io::duplex(64);
        write(&mut near, &"hello").await.unwrap();
        write(&mut near, &7).await.unwrap();
        drop(near);
        assert_eq!(read::<String>(&mut far).await.unwrap().unwrap(), "hello");
        assert_eq!(read::<u8>(&mut far).await.unwrap(), Some(7));
        assert_eq!(read::<u8>(&mut far).await.unwrap(), None);
    }

    #[tokio::test]
    async fn bad_input() {
        let cases: [(&[u8], &str); 4] = [
            (&[0, 0], "pass a message"),
            (&[0, 0, 0, 5, b'1'], "pass a message"),
            (&[0, 0, 0, 1, b'x'], "read a message"),
            (
                &[0xff; 4],
                "pass a message of 4294967295 bytes, the limit is 1048576",
            ),
        ];
        for (mut bytes, text) in cases {
            let error = read::<u8>(&mut bytes).await.unwrap_err();
            assert_eq!(error.to_string(), text, "{bytes:?}");
        }
        let large = "x".repeat(FRAME_MAX_BYTES);
        assert!(matches!(encode(&large), Err(FrameError::TooLarge { .. })));
    }
}
