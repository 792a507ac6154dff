//! A request's body on its way into a job: decompressed, bounded, never held.

use axum::body::{Body, BodyDataStream};
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;
use model::limits::PACK_MAX_BYTES;
use std::io::{self, Write as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;

/// Bytes of compressed input that are decoded at once: gzip makes at most a thousandfold of it.
const SLICE_BYTES: usize = 4 * 1024;

/// A body that was not read yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: BodyDataStream,
    is_gzip: bool,
}

impl Incoming {
    /// A body with this `Content-Encoding`; none for one that is not understood.
    pub(crate) fn new(body: Body, encoding: Option<&str>) -> Option<Self> {
        let is_gzip = match encoding.map(str::trim) {
            None | Some("" | "identity") => false,
            Some("gzip" | "x-gzip") => true,
            Some(_) => return None,
        };
        Some(Self {
            stream: body.into_data_stream(),
            is_gzip,
        })
    }

    /// Writes all of it; the pipe closes at the end. Goes no faster than its reader, and fails when
    /// the reader goes, when the client goes, and at [`PACK_MAX_BYTES`].
    pub(crate) async fn pump(mut self, mut to: pipe::Sender) -> io::Result<()> {
        let mut decoder = self.is_gzip.then(|| GzDecoder::new(Vec::new()));
        let mut left = PACK_MAX_BYTES;
        while let Some(chunk) = self.stream.next().await {
            let chunk = chunk.map_err(io::Error::other)?;
            match &mut decoder {
                None => send(&mut to, &chunk, &mut left).await?,
                Some(decoder) => {
                    for slice in chunk.chunks(SLICE_BYTES) {
                        decoder.write_all(slice)?;
                        let plain = std::mem::take(decoder.get_mut());
                        send(&mut to, &plain, &mut left).await?;
                    }
                }
            }
        }
        if let Some(decoder) = decoder {
            let plain = decoder.finish()?;
            send(&mut to, &plain, &mut left).await?;
        }
        Ok(())
    }
}

async fn send(to: &mut pipe::Sender, bytes: &[u8], left: &mut u64) -> io::Result<()> {
    *left = left
        .checked_sub(bytes.len() as u64)
        .ok_or(io::ErrorKind::FileTooLarge)?;
    to.write_all(bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::io::AsyncReadExt as _;

    async fn check(body: Vec<u8>, encoding: Option<&str>, expected: Option<&[u8]>) {
        let (sender, mut receiver) = pipe::pipe().unwrap();
        let incoming = Incoming::new(Body::from(body), encoding).expect("an encoding we know");
        let mut got = Vec::new();
        let (pumped, read) = tokio::join!(incoming.pump(sender), receiver.read_to_end(&mut got));
        read.unwrap();
        match expected {
            Some(expected) => {
                pumped.unwrap();
                assert_eq!(got, expected);
            }
            None => assert!(pumped.is_err()),
        }
    }

    #[tokio::test]
    async fn bodies_pass() {
        let plain = vec![7; 300_000];
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        let packed = encoder.finish().unwrap();
        check(plain.clone(), None, Some(&plain)).await;
        check(packed.clone(), Some("gzip"), Some(&plain)).await;
        check(b"no gzip".to_vec(), Some("gzip"), None).await;
        let half = packed.get(..packed.len() / 2).unwrap().to_vec();
        check(half, Some("gzip"), None).await;
        assert!(Incoming::new(Body::empty(), Some("br")).is_none());
    }
}
