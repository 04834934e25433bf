//! How the loops start together, and what happens when one of them cannot.

use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Counts the loops that have all they need. None serves before the last one has: its clients would
/// use up what the others still have to get.
#[derive(Default)]
pub(super) struct Starting {
    state: Mutex<StartingState>,
}

#[derive(Default)]
struct StartingState {
    complete: usize,
    has_begun: bool,
    waiting: Vec<Waker>,
}

impl Starting {
    /// Whether the calling loop is the last of `count`.
    pub(super) fn is_complete_with_this_one(&self, count: usize) -> bool {
        let mut state = self.state();
        state.complete += 1;
        state.complete == count
    }

    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.has_begun = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until [`begin`](Starting::begin) was called.
    pub(super) async fn begun(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.has_begun {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    // Nothing that panics runs while it is locked.
    fn state(&self) -> MutexGuard<'_, StartingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a loop ended before it was asked to.
pub(super) struct Failed(pub(super) anyhow::Error);

/// What the runtime itself could not get; everything else comes with a context of its own.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed(anyhow::Error::from(error).context("cannot start a loop"))
    }
}
