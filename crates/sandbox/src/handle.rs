//! A handle on a process that may be anybody's child: it stays right when the pid is given out
//! again. For `paas up`, which adopts the roles of the `paas up` before it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::sys;

/// One process, living or just dead. Readable as a descriptor (poll) once the process has ended.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// Opens a handle on the process that has this pid now.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        sys::process::pidfd(pid).map(Self)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        sys::process::send_signal(self.0.as_fd(), signal, None)
    }

    /// Duplicates the file that the process has open under this number.
    ///
    /// # Errors
    /// `EBADF` when the number is not open there, `ESRCH` when the process has ended, `EPERM`.
    pub fn descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        sys::pidfd_getfd::pidfd_getfd(self.0.as_fd(), number)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For tokio's `AsyncFd`.
impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_listener_of_another_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut other = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(other.id()).unwrap();
        let handle = Handle::open(pid).unwrap();
        let taken = handle.descriptor(0).unwrap();
        let taken = std::net::TcpListener::from(taken);
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(handle.as_raw_fd() > 2);
        other.kill().ok();
        other.wait().unwrap();
        assert!(handle.signal(0).is_err());
        assert!(handle.descriptor(99).is_err());
    }
}
