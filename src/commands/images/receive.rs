//! An image on its way here.

use super::unusable;
use crate::failure::Failure;
use artifact::image::received;
use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use std::io::{self, Read};
use std::path::Path;
use tokio::sync::mpsc;

/// What came, read where it is written.
struct Pieces {
    from: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece
            .split_to(count)
            .copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Takes an answer's body into a folder.
pub(super) async fn receive(mut body: hyper::body::Incoming, folder: &Path) -> Result<(), Failure> {
    let (sender, from) = mpsc::channel(8);
    let pieces = Pieces {
        from,
        piece: Bytes::new(),
    };
    let to = folder.to_owned();
    let writing = tokio::task::spawn_blocking(move || received::receive(pieces, &to));
    let mut cut = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                cut = Some(Failure::new(format!("the image was cut: {error}")));
                break;
            }
        };
        // Whoever writes and has stopped says why.
        if let Ok(piece) = frame.into_data()
            && sender.send(piece).await.is_err()
        {
            break;
        }
    }
    drop(sender);
    let written = writing
        .await
        .map_err(|error| Failure::new(format!("the image was not written: {error}")))?;
    match cut {
        Some(cut) => Err(cut),
        None => written.map_err(unusable),
    }
}
