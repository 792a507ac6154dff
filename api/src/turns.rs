//! Changes of one app take turns: a release on its way to serving, a scale, a restart, a destroy.

use model::app;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// How long a change waits for its turn before it is refused. Most releases of a small app are
/// through by then, so that two changes in a row just work.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(10);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<app::Id, Arc<Seat>>>);

#[derive(Debug, Default)]
struct Seat {
    lock: Arc<tokio::sync::Mutex<()>>,
    doing: Mutex<String>,
}

/// The right to change an app; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

/// Another change of the app is under way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}")]
pub(crate) struct BusyError {
    /// What is under way, as a clause: `v5 is being released`.
    pub(crate) doing: String,
}

impl Turns {
    /// Takes the app's turn, waiting for it at most so long. `doing` is what others are told.
    pub(crate) async fn take(
        &self,
        app: app::Id,
        doing: &str,
        wait: Duration,
    ) -> Result<Turn, BusyError> {
        let seat = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A seat that nobody holds or waits for is not needed any more.
            seats.retain(|id, seat| *id == app || Arc::strong_count(seat) > 1 || seat.is_held());
            Arc::clone(seats.entry(app).or_default())
        };
        let lock = Arc::clone(&seat.lock).lock_owned();
        match tokio::time::timeout(wait, lock).await {
            Ok(guard) => {
                doing.clone_into(&mut seat.doing.lock().unwrap_or_else(PoisonError::into_inner));
                Ok(Turn(guard))
            }
            Err(_) => Err(BusyError {
                doing: seat.doing(),
            }),
        }
    }
}

impl Seat {
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.lock) > 1
    }

    fn doing(&self) -> String {
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        doing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other() {
        let turns = Turns::default();
        let (one, two) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        let (one, two) = (app::Id::new(one), app::Id::new(two));
        let first = turns.take(one, "v5 is being released", TURN_WAIT).await;
        let other = turns.take(two, "x", TURN_WAIT).await;
        assert!(first.is_ok() && other.is_ok());
        let refused = turns
            .take(one, "y", Duration::from_millis(1))
            .await
            .unwrap_err();
        assert_eq!(refused.doing, "v5 is being released");
        drop(first);
        assert!(turns.take(one, "y", Duration::ZERO).await.is_ok());
    }
}
