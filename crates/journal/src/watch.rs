//! Hears of changes in folders, also of folders that are not there yet (inotify(7)).

use crate::disk::{DiskError, failed};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writing to a file of the folder, new files and folders, and a file's mode: the end of a build's
/// output. One mask for all: a second one for the same folder would replace the first.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Waits for changes in some folders. One inotify instance each, of which a user has 128 by
/// default (`fs.inotify.max_user_instances`).
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    folders: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    watched: Watched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    No,
    /// Its nearest folder that exists.
    Around(WatchDescriptor),
    Itself(WatchDescriptor),
}

impl Watched {
    fn is(self, wd: WatchDescriptor) -> bool {
        matches!(self, Self::Around(own) | Self::Itself(own) if own == wd)
    }
}

impl Watch {
    pub(crate) fn open(dirs: &[PathBuf]) -> Result<Self, DiskError> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(|errno| {
            let doing = "watch (more than fs.inotify.max_user_instances?)";
            let path = dirs.first().map_or(Path::new(""), PathBuf::as_path);
            failed(doing, path)(errno.into())
        })?;
        let mut watch = Self {
            inotify,
            folders: dirs
                .iter()
                .map(|path| Folder {
                    path: path.clone(),
                    watched: Watched::No,
                })
                .collect(),
        };
        watch.arm()?;
        Ok(watch)
    }

    /// Takes all events off the descriptor and looks again for folders that were missing. To be
    /// called *before* looking at the folders: what changes after this makes the descriptor ready.
    pub(crate) fn drain(&mut self) -> Result<(), DiskError> {
        // Watching other folders than before is an event of its own: the second round takes it.
        for _ in 0..2 {
            if !self.take_events()? {
                break;
            }
            self.arm()?;
        }
        Ok(())
    }

    /// False if there was no event.
    fn take_events(&mut self) -> Result<bool, DiskError> {
        let mut has_changed = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    has_changed = true;
                    let ended = |mask: AddWatchFlags| mask.contains(AddWatchFlags::IN_IGNORED);
                    for event in events.iter().filter(|event| ended(event.mask)) {
                        self.forget(event.wd);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(has_changed),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("watch", Path::new("inotify"))(errno.into())),
            }
        }
    }

    /// Waits until something changed or the time is over; true if something changed.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<bool, DiskError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent in a busy loop.
            let left_ms = left.as_micros().div_ceil(1000);
            let left = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, left) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("watch", Path::new("inotify"))(errno.into())),
            }
        }
    }

    fn forget(&mut self, wd: WatchDescriptor) {
        for folder in &mut self.folders {
            if folder.watched.is(wd) {
                folder.watched = Watched::No;
            }
        }
    }

    fn arm(&mut self) -> Result<(), DiskError> {
        let mut unneeded = Vec::new();
        for folder in &mut self.folders {
            if matches!(folder.watched, Watched::Itself(_)) {
                continue;
            }
            let watched = watch_nearest(&self.inotify, &folder.path)?;
            if let Watched::Around(before) = folder.watched {
                unneeded.push(before);
            }
            folder.watched = watched;
        }
        for wd in unneeded {
            if self.folders.iter().any(|folder| folder.watched.is(wd)) {
                continue;
            }
            match self.inotify.rm_watch(wd) {
                // EINVAL: the kernel removed it with its folder.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(failed("watch", Path::new("inotify"))(errno.into())),
            }
        }
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Watches a folder, or else the nearest one around it that exists.
///
/// Goes through them until two rounds end at the same one: in the second round the watch was in
/// place when the next folder was still missing, so its making will be heard.
fn watch_nearest(inotify: &Inotify, dir: &Path) -> Result<Watched, DiskError> {
    let mut before = Watched::No;
    loop {
        let watched = watch_first(inotify, dir)?;
        if watched == before || matches!(watched, Watched::Itself(_)) {
            return Ok(watched);
        }
        before = watched;
    }
}

fn watch_first(inotify: &Inotify, dir: &Path) -> Result<Watched, DiskError> {
    for path in dir.ancestors() {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match inotify.add_watch(path, CHANGES) {
            Ok(wd) if path == dir => return Ok(Watched::Itself(wd)),
            Ok(wd) => return Ok(Watched::Around(wd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(failed("watch", path)(errno.into())),
        }
    }
    Ok(Watched::No)
}
