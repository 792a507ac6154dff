//! Who waits for a status file to grow: one inotify for the whole node, since the kernel gives a
//! user only 128 of them.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Files and who waits for them.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    inotify: Arc<Inotify>,
    /// A second descriptor of the same inotify, for tokio, which wants raw ones.
    ready: Arc<AsyncFd<OwnedFd>>,
    waiting: Arc<Mutex<HashMap<WatchDescriptor, Arc<Notify>>>>,
}

/// A file that is watched for as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched {
    watcher: Watcher,
    descriptor: WatchDescriptor,
    notify: Arc<Notify>,
}

impl Watcher {
    /// Makes the inotify.
    pub(crate) fn new() -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor open; the safe successor is not there yet"
        )]
        let ready = AsyncFd::new(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self {
            inotify: Arc::new(inotify),
            ready: Arc::new(ready),
            waiting: Arc::default(),
        })
    }

    /// Hands events to those who wait, until the task is dropped.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        loop {
            let mut ready = self.ready.readable().await?;
            match self.inotify.read_events() {
                Ok(events) => self.tell(&events),
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, events: &[InotifyEvent]) {
        let waiting = self.waiting.lock().expect("nobody panics while holding it");
        for notify in events.iter().filter_map(|event| waiting.get(&event.wd)) {
            notify.notify_one();
        }
    }

    /// Watches a file that exists.
    pub(crate) fn watch(&self, path: &Path) -> std::io::Result<Watched> {
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        let descriptor = self.inotify.add_watch(
            path,
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE,
        )?;
        let notify = Arc::new(Notify::new());
        waiting.insert(descriptor, Arc::clone(&notify));
        Ok(Watched {
            watcher: self.clone(),
            descriptor,
            notify,
        })
    }
}

impl Watched {
    /// Returns when the file has grown since the last call returned, or may have.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut waiting = self
            .watcher
            .waiting
            .lock()
            .expect("nobody panics while holding it");
        waiting.remove(&self.descriptor);
        // EINVAL: the file was removed, and the watch with it.
        if let Err(error) = self.watcher.inotify.rm_watch(self.descriptor)
            && error != nix::Error::EINVAL
        {
            tracing::warn!(%error, "failed to end the watch of a status file");
        }
    }
}
