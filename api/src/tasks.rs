//! Work that goes on in the background: every task is waited for when the platform stops.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// The tasks that run.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Starts one. One that panics is logged, and the others go on.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        while let Some(ended) = tasks.try_join_next() {
            look(ended);
        }
        tasks.spawn(task);
    }

    /// Waits for all of them, at most so long; what is left is cut. Returns how many were.
    pub(crate) async fn finish(&self, wait: Duration) -> usize {
        let mut tasks = std::mem::take(&mut *self.lock());
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                look(ended);
            }
        };
        if tokio::time::timeout(wait, all).await.is_err() {
            let cut = tasks.len();
            tasks.shutdown().await;
            return cut;
        }
        0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        crate::say::failed("finish a task", &error);
    }
}
