//! The listening sockets that `paas up` opened and handed to this process.
//!
//! They arrive as `LISTEN_FDS` descriptors from 3 on, their names in `LISTEN_FDNAMES`
//! (`sd_listen_fds(3)`): `http`, `loopback`, `rendezvous`, `api`, `git`, `control`, `nursery`.
//! One name may stand for several (IPv4 and IPv6). Each can be taken once.

use listenfd::ListenFd;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenersError {
    /// `paas up` did not hand it over, or it was taken before.
    #[error("find the listener {name}: the role has to be started by `paas up`")]
    Missing {
        /// Which.
        name: String,
    },
    /// What was handed over is no such socket.
    #[error("take the listener {name}")]
    Unusable {
        /// Which.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

struct Handed {
    descriptors: ListenFd,
    names: Vec<String>,
}

/// Takes the TCP listeners of a name, at least one, non-blocking.
///
/// # Errors
/// When there is none, or what is there is no TCP listener.
pub fn tcp(name: &str) -> Result<Vec<TcpListener>, ListenersError> {
    take(name, |descriptors, index| {
        let listener = descriptors.take_tcp_listener(index)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    })
}

/// Takes the Unix stream listeners of a name, at least one, non-blocking.
///
/// # Errors
/// When there is none, or what is there is no Unix stream listener.
pub fn unix(name: &str) -> Result<Vec<UnixListener>, ListenersError> {
    take(name, |descriptors, index| {
        let listener = descriptors.take_unix_listener(index)?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        Ok(listener)
    })
}

fn take<T>(
    name: &str,
    open: impl Fn(&mut ListenFd, usize) -> std::io::Result<Option<T>>,
) -> Result<Vec<T>, ListenersError> {
    let mut handed = handed().lock().unwrap_or_else(PoisonError::into_inner);
    let places: Vec<usize> = handed
        .names
        .iter()
        .enumerate()
        .filter(|(_, known)| *known == name)
        .map(|(index, _)| index)
        .collect();
    let mut listeners = Vec::new();
    for index in places {
        let listener =
            open(&mut handed.descriptors, index).map_err(|source| ListenersError::Unusable {
                name: name.to_owned(),
                source,
            })?;
        listeners.extend(listener);
    }
    if listeners.is_empty() {
        let name = name.to_owned();
        return Err(ListenersError::Missing { name });
    }
    Ok(listeners)
}

fn handed() -> &'static Mutex<Handed> {
    static HANDED: OnceLock<Mutex<Handed>> = OnceLock::new();
    HANDED.get_or_init(|| {
        let names = std::env::var_os("LISTEN_FDNAMES").unwrap_or_default();
        Mutex::new(Handed {
            // The names first: the descriptors' reader may clear the environment.
            names: names
                .to_string_lossy()
                .split(':')
                .map(str::to_owned)
                .collect(),
            descriptors: ListenFd::from_env(),
        })
    })
}
