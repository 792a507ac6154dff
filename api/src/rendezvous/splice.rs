//! Bytes between a person's TLS connection and the dyno's stream: docs/platform-api.md,
//! "Rendezvous".

use super::marker::Marker;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// What one TLS record holds.
const RECORD_BYTES: usize = 16 * 1024;
/// A tail that may be an exit marker waits so long for its end.
const MARKER_WAIT: Duration = Duration::from_millis(50);
/// After the end the client's end of input is waited for: closed at once, the official command
/// line dies of a broken pipe.
const CLOSING_GRACE: Duration = Duration::from_millis(300);
/// What the client still sends is read away for so long, or the kernel would cut off our last
/// bytes.
const LINGER: Duration = Duration::from_secs(2);
/// Silence in both directions after which the connection is closed. Heroku: 1 h.
const SILENCE: Duration = Duration::from_hours(1);
/// Without a terminal, a last byte 04 that nothing follows within this time ends the input.
const END_WAIT: Duration = Duration::from_millis(100);
/// The end-of-input byte.
const END: u8 = 4;

/// Carries bytes until the process or the person is gone. The client's first bytes may be the end
/// of the line on which it said its secret.
pub(super) async fn run<S>(client: S, dyno: UnixStream, has_terminal: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (from_client, mut to_client) = tokio::io::split(client);
    let (mut from_dyno, to_dyno) = dyno.into_split();
    let moved = watch::Sender::new(());
    let (ended, mut has_ended) = watch::channel(false);
    let mut input = Input {
        client: from_client,
        dyno: Some(to_dyno),
        has_terminal,
        ended,
        moved: &moved,
    };
    let up = input.run();
    tokio::pin!(up);
    let down = output(&mut from_dyno, &mut to_client, &moved);
    let is_done = tokio::select! {
        is_done = down => is_done,
        () = &mut up => false,
        () = silence(&moved) => false,
    };
    if !is_done {
        // The person went away, or nothing happened for too long: the dyno's stream closes with
        // this function, and the process gets SIGHUP.
        return;
    }
    let grace = timeout(CLOSING_GRACE, has_ended.wait_for(|ended| *ended));
    let is_client_gone = tokio::select! {
        _ = grace => false,
        () = &mut up => true,
    };
    let closed = timeout(LINGER, async {
        to_client.shutdown().await?;
        if !is_client_gone {
            up.await;
        }
        Ok::<(), std::io::Error>(())
    });
    if let Ok(Err(error)) = closed.await {
        tracing::debug!(%error, "a client went before the connection was closed");
    }
}

/// Dyno to client; true when all that the process wrote was handed on.
async fn output(
    dyno: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    moved: &watch::Sender<()>,
) -> bool {
    let mut buffer = vec![0; RECORD_BYTES];
    let mut marker = Marker::default();
    loop {
        let wait = if marker.is_holding() {
            MARKER_WAIT
        } else {
            SILENCE
        };
        let (bytes, is_end) = match timeout(wait, dyno.read(&mut buffer)).await {
            Err(_) => (marker.release(), false),
            Ok(Ok(count)) if count > 0 => {
                let read = buffer.get(..count).unwrap_or_default();
                (marker.pass(read), false)
            }
            // An error is the end as well: a dynod that was killed.
            Ok(_) => (marker.release(), true),
        };
        for record in bytes.chunks(RECORD_BYTES) {
            moved.send_replace(());
            let written = async {
                client.write_all(record).await?;
                client.flush().await
            };
            if written.await.is_err() {
                return false;
            }
        }
        if is_end {
            return true;
        }
    }
}

/// Client to dyno.
struct Input<'a, C, D> {
    client: C,
    /// None once its input has ended.
    dyno: Option<D>,
    has_terminal: bool,
    ended: watch::Sender<bool>,
    moved: &'a watch::Sender<()>,
}

impl<C: AsyncRead + Unpin, D: AsyncWrite + Unpin> Input<'_, C, D> {
    /// Runs until the client is gone.
    async fn run(&mut self) {
        let mut buffer = vec![0; RECORD_BYTES];
        let mut first = First::Nothing;
        let mut is_end_held = false;
        loop {
            let wait = if is_end_held { END_WAIT } else { SILENCE * 2 };
            let read = match timeout(wait, self.client.read(&mut buffer)).await {
                Err(_) if is_end_held => {
                    is_end_held = false;
                    self.end_input().await;
                    continue;
                }
                Ok(Ok(count)) if count > 0 => buffer.get(..count).unwrap_or_default(),
                _ => return,
            };
            let bytes = first.strip(read);
            self.moved.send_replace(());
            if bytes.last() == Some(&END) {
                self.ended.send_replace(true);
            }
            is_end_held = self.hand_on(bytes, is_end_held).await;
        }
    }

    /// Hands bytes on; without a terminal a last 04 is held, and true is returned.
    async fn hand_on(&mut self, mut bytes: Vec<u8>, is_end_held: bool) -> bool {
        if is_end_held {
            bytes.insert(0, END);
        }
        let is_end = !self.has_terminal && bytes.last() == Some(&END);
        if is_end {
            bytes.pop();
        }
        if let Some(dyno) = &mut self.dyno
            && dyno.write_all(&bytes).await.is_err()
        {
            // The process does not read any more; its last output still counts.
            self.dyno = None;
        }
        is_end
    }

    async fn end_input(&mut self) {
        if let Some(mut dyno) = self.dyno.take()
            && dyno.shutdown().await.is_err()
        {
            tracing::debug!("a one-off's stream closed before its input ended");
        }
    }
}

/// How much of the line end behind the secret has come. heroku3 sends none.
#[derive(Clone, Copy, Debug)]
enum First {
    Nothing,
    CarriageReturn,
    Done,
}

impl First {
    fn strip(&mut self, read: &[u8]) -> Vec<u8> {
        let (rest, next) = match (*self, read) {
            (Self::Nothing, [b'\r']) => (Vec::new(), Self::CarriageReturn),
            (Self::Nothing, [b'\r', b'\n', rest @ ..])
            | (Self::CarriageReturn, [b'\n', rest @ ..]) => (rest.to_vec(), Self::Done),
            (Self::CarriageReturn, rest) => ([b"\r", rest].concat(), Self::Done),
            (_, rest) => (rest.to_vec(), Self::Done),
        };
        *self = next;
        rest
    }
}

/// Waits until nothing has moved for too long.
async fn silence(moved: &watch::Sender<()>) {
    let mut news = moved.subscribe();
    while let Ok(Ok(())) = timeout(SILENCE, news.changed()).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client and a dyno with the splice between them.
    fn pair(has_terminal: bool) -> (tokio::io::DuplexStream, UnixStream) {
        let (client, near) = tokio::io::duplex(1 << 20);
        let (dyno, far) = UnixStream::pair().unwrap();
        tokio::spawn(run(near, far, has_terminal));
        (client, dyno)
    }

    #[test]
    fn the_line_end_of_the_secret_is_no_input() {
        let cases: [(&[&[u8]], &[u8]); 5] = [
            (&[b"\r\nls"], b"ls"),
            (&[b"\r", b"\nls"], b"ls"),
            (&[b"ls\r\n"], b"ls\r\n"),
            (&[b"\r", b"ls"], b"\rls"),
            (&[b"a", b"\r\n"], b"a\r\n"),
        ];
        for (parts, expected) in cases {
            let mut first = First::Nothing;
            let all: Vec<u8> = parts.iter().flat_map(|part| first.strip(part)).collect();
            assert_eq!(all, expected, "{parts:?}");
        }
    }

    #[tokio::test]
    async fn output_is_complete_and_closing_waits_for_the_end_of_input() {
        let (mut client, mut dyno) = pair(true);
        let lines: String = (0..30_000).map(|n| n.to_string() + "\n").collect();
        let expected = lines.clone();
        let writer = tokio::spawn(async move {
            dyno.write_all(lines.as_bytes()).await.unwrap();
        });
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected.as_bytes());
        writer.await.unwrap();
        client.write_all(&[END]).await.unwrap();
        assert_eq!(client.read(&mut got).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_client_that_goes_first_closes_the_stream() {
        let (client, mut dyno) = pair(true);
        drop(client);
        assert_eq!(dyno.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn without_a_terminal_04_ends_the_input() {
        let (mut client, mut dyno) = pair(false);
        client.write_all(b"ab\x04").await.unwrap();
        let mut got = Vec::new();
        dyno.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"ab");
        dyno.write_all(b"2\n").await.unwrap();
        drop(dyno);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"2\n");
    }

    #[tokio::test]
    async fn with_a_terminal_04_is_a_byte_like_others() {
        let (mut client, mut dyno) = pair(true);
        client.write_all(b"a\x04").await.unwrap();
        let mut got = [0; 2];
        dyno.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"a\x04");
    }
}
