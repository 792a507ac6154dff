//! A dyno's FIFO: what its processes write waits there for dynod.
//!
//! Full, it holds the writers back, which is right as long as somebody reads. When dynod stays
//! away, the keeper drains it instead and counts the lost lines, so that the app goes on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::inotify::{AddWatchFlags, Inotify};

use crate::sys::{device::waiting_bytes, inotify};

/// How long a FIFO that is nearly full may stay without a reader.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at while it is nearly full and nobody reads, and while it is written to;
/// never without a write.
const HURRY: Duration = Duration::from_millis(10);
const REST: Duration = Duration::from_secs(1);

/// The FIFO, as its keeper holds it.
#[derive(Debug)]
pub(crate) struct Output {
    fifo: File,
    capacity: usize,
    /// Has events of reads and writes: those of a FIFO are accesses and changes of its inode.
    changes: Inotify,
    /// Since when it is nearly full without a read.
    full_since: Option<Instant>,
    lost_lines: u64,
}

impl Output {
    /// Takes the FIFO, which must be open for reading and writing without blocking, and an inotify
    /// instance that does not block either. What it still tells of a former FIFO does no harm.
    pub(crate) fn new(fifo: OwnedFd, changes: OwnedFd) -> io::Result<Self> {
        let capacity = fcntl(&fifo, FcntlArg::F_GETPIPE_SZ)?;
        let changes = inotify(changes);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fifo));
        let both = AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_MODIFY;
        changes.add_watch(path.as_str(), both)?;
        Ok(Self {
            fifo: fifo.into(),
            capacity: usize::try_from(capacity).map_err(|_| io::ErrorKind::InvalidData)?,
            changes,
            full_since: None,
            lost_lines: 0,
        })
    }

    /// Ready for reading when somebody has read from the FIFO or written to it; [`Self::relieve`]
    /// and [`Self::is_empty`] reset it.
    pub(crate) fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Whether everything has been read.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        self.happened()?;
        Ok(waiting_bytes(self.fifo.as_fd())? == 0)
    }

    /// Makes room if nobody reads; tells when to look again: `None`, after the next write.
    pub(crate) fn relieve(&mut self) -> io::Result<Option<Duration>> {
        let happened = self.happened()?;
        if waiting_bytes(self.fifo.as_fd())? < self.capacity / 4 * 3 {
            self.full_since = None;
            return Ok((!happened.is_empty()).then_some(REST));
        }
        let now = Instant::now();
        if happened.contains(AddWatchFlags::IN_ACCESS) {
            self.full_since = Some(now);
        }
        if now - *self.full_since.get_or_insert(now) < PATIENCE {
            return Ok(Some(HURRY * 10));
        }
        self.drain()?;
        // Its own reads are not somebody's.
        self.happened()?;
        Ok(Some(HURRY))
    }

    /// Lines lost since the last call; only once somebody reads again, or at the end.
    pub(crate) fn take_lost_lines(&mut self) -> u64 {
        std::mem::take(&mut self.lost_lines)
    }

    /// What has been done since the last call.
    fn happened(&self) -> io::Result<AddWatchFlags> {
        let mut all = AddWatchFlags::empty();
        loop {
            match self.changes.read_events() {
                Ok(events) => all.extend(events.iter().map(|event| event.mask)),
                Err(nix::errno::Errno::EAGAIN) => return Ok(all),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a quarter of the capacity out, then up to the end of a line, unless a reader who is
    /// back has taken it.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut left = self.capacity / 4;
        while left > 0 {
            let part = buffer.len().min(left);
            let read = self.take(buffer.get_mut(..part).unwrap_or_default())?;
            self.lost_lines += read.split(|b| *b == b'\n').skip(1).count() as u64;
            left = left.saturating_sub(read.len());
            if read.is_empty() || (left == 0 && read.last() == Some(&b'\n')) {
                return Ok(());
            }
        }
        let mut byte = [0];
        for _ in 0..model::limits::LOG_LINE_MAX_BYTES {
            if matches!(self.take(&mut byte)?, [] | b"\n") {
                break;
            }
        }
        self.lost_lines += 1;
        Ok(())
    }

    /// What can be read now; nothing if somebody was faster.
    fn take<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        match self.fifo.read(buffer) {
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open};
    use nix::sys::inotify::InitFlags;
    use nix::sys::stat::Mode;
    use std::io::Write;

    #[test]
    fn drains_whole_lines_when_nobody_reads() {
        let path = std::env::temp_dir().join(format!("fifo-{}", std::process::id()));
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let fifo = open(&path, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut writer = File::from(fifo.try_clone().unwrap());
        let changes = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        let mut output = Output::new(fifo, changes.into()).unwrap();
        assert!(output.is_empty().unwrap());
        assert_eq!(output.relieve().unwrap(), None, "nobody has written");
        let line = [b'x'; 100].map(|b| b);
        let mut written = 0;
        while writer.write(&[&line[..], b"\n"].concat()).is_ok() {
            written += 1;
        }
        assert!(written > 100, "{written}");
        let patient = Some(HURRY * 10);
        assert_eq!(output.relieve().unwrap(), patient, "at first");
        output.full_since = Instant::now().checked_sub(PATIENCE);
        assert_eq!(output.relieve().unwrap(), Some(HURRY));
        let lost = output.take_lost_lines();
        assert!(lost * 101 >= output.capacity as u64 / 4, "{lost}");
        let mut rest = [0; 101];
        output.fifo.read_exact(&mut rest).unwrap();
        assert_eq!(rest[100], b'\n', "the next line is whole");
        io::copy(&mut output.fifo, &mut io::sink()).unwrap_err();
        output.drain().expect("a reader may come back meanwhile");
    }
}
