//! The request to stop, as every task of a role sees it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Says whether the process was asked to stop; clones see the same request.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Asks for the stop; dropping it asks, too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Stop {
    /// Listens to SIGTERM and SIGINT for the rest of the process. Inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, trigger) = Self::by_hand();
        // It ends with the runtime, and there is nothing to wait for.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            trigger.stop();
        });
        Ok(stop)
    }

    /// A stop that somebody else triggers: parts of a role, and tests.
    pub fn by_hand() -> (Self, Trigger) {
        let (sender, receiver) = watch::channel(false);
        (Self(receiver), Trigger(sender))
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is asked for. Cancel-safe; may be called any number of times.
    pub async fn requested(&self) {
        // An error means that the trigger was dropped, which is a request.
        drop(self.0.clone().wait_for(|asked| *asked).await);
    }
}

impl Trigger {
    /// Asks for the stop.
    pub fn stop(self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_it() {
        let (stop, trigger) = Stop::by_hand();
        let other = stop.clone();
        assert!(!stop.is_requested());
        trigger.stop();
        other.requested().await;
        stop.requested().await;
        assert!(stop.is_requested() && other.is_requested());
    }
}
