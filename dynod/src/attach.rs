//! An attached one-off: bytes between its terminal (or pipes) and the api's rendezvous connection.

use std::os::fd::{AsFd as _, OwnedFd};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes taken at once: what fits one TLS record further on.
const CHUNK_BYTES: usize = 16 * 1024;

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process is gone and everything it wrote was handed on.
    Output,
    /// The other side went away: the process gets SIGHUP.
    Client,
}

/// Carries bytes both ways between a terminal and the connection.
pub(crate) async fn terminal(terminal: OwnedFd, stream: UnixStream) -> std::io::Result<End> {
    let flags = nix::fcntl::OFlag::from_bits_retain(nix::fcntl::fcntl(
        &terminal,
        nix::fcntl::FcntlArg::F_GETFL,
    )?);
    nix::fcntl::fcntl(
        &terminal,
        nix::fcntl::FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    #[expect(
        deprecated,
        reason = "an OwnedFd keeps its descriptor open; the safe successor is not there yet"
    )]
    let terminal = AsyncFd::new(terminal)?;
    let (reader, writer) = stream.into_split();
    tokio::select! {
        result = terminal_to_stream(&terminal, writer) => result.map(|()| End::Output),
        result = stream_to_terminal(reader, &terminal) => result.map(|()| End::Client),
    }
}

/// Carries bytes both ways between pipes and the connection. The client's end of input closes the
/// process's standard input; only the end of its output ends the attachment.
pub(crate) async fn pipes(
    input: pipe::Sender,
    output: pipe::Receiver,
    stream: UnixStream,
) -> std::io::Result<End> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut input, mut output) = (input, output);
    let feed = async move {
        let result = tokio::io::copy(&mut reader, &mut input).await;
        drop(input);
        match result {
            // The process does not read its input any more; its output still counts.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::io::copy(&mut output, &mut writer) => match result {
            Ok(_) => Ok(End::Output),
            Err(_) => Ok(End::Client),
        },
        result = feed => result,
    }
}

async fn terminal_to_stream(
    terminal: &AsyncFd<OwnedFd>,
    mut stream: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let mut ready = terminal.readable().await?;
        let count = match ready
            .try_io(|fd| nix::unistd::read(fd.as_fd(), &mut buffer).map_err(Into::into))
        {
            Ok(Ok(count)) => count,
            // The kernel's word for "nobody has the other side open any more".
            Ok(Err(error)) if error.raw_os_error() == Some(nix::Error::EIO as i32) => 0,
            Ok(Err(error)) => return Err(error),
            Err(_) => continue,
        };
        if count == 0 {
            return Ok(());
        }
        stream
            .write_all(buffer.get(..count).unwrap_or_default())
            .await?;
    }
}

async fn stream_to_terminal(
    mut stream: OwnedReadHalf,
    terminal: &AsyncFd<OwnedFd>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let mut ready = terminal.writable().await?;
            match ready.try_io(|fd| nix::unistd::write(fd.as_fd(), rest).map_err(Into::into)) {
                Ok(Ok(written)) => rest = rest.get(written..).unwrap_or_default(),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }
}
