//! A future with a deadline.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::sleep::Sleep;
use crate::base::place::Why;
use crate::base::turn;

/// Awaits `future` for at most `duration` from this call: asyncio's `wait_for`.
///
/// If both are ready, the future's output is returned. Dropping the timeout drops the future with
/// it, also after [`Elapsed`].
///
/// # Errors
///
/// [`Elapsed`] when the time has passed and the future is not ready.
///
/// # Panics
///
/// Polling it panics when no runtime is running on this thread, unless the future is ready.
///
/// ```
/// use std::time::Duration;
/// use popleft::time::{sleep, timeout};
///
/// popleft::run(async {
///     let slow = timeout(Duration::from_millis(1), sleep(Duration::from_secs(60)));
///     assert!(slow.await.is_err());
///     assert_eq!(timeout(Duration::from_secs(60), async { 42 }).await, Ok(42));
/// });
/// ```
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), sleep: Sleep::lasting(duration, Location::caller()) }
}

/// Awaits `future` until `deadline` at most; see [`timeout`].
///
/// Dropping the timeout drops the future with it, also after [`Elapsed`].
///
/// # Errors
///
/// [`Elapsed`] when the deadline has passed and the future is not ready.
///
/// # Panics
///
/// Polling it panics when no runtime is running on this thread, unless the future is ready.
#[track_caller]
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), sleep: Sleep::until(deadline, Location::caller()) }
}

pin_project! {
    /// The future of [`timeout`] and [`timeout_at`].
    ///
    /// Dropping it drops the future inside and cancels the timer.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // This consumes no budget: a future that has used it all up must still time out.
        if this.sleep.poll_elapsed(cx.waker()).is_ready() {
            return Poll::Ready(Err(Elapsed(())));
        }
        // The report shows what the future waits for; the deadline is shown only if that is unknown.
        if let (Why::Unknown, _) = turn::parked() {
            turn::park_at(Why::Timer, this.sleep.at());
        }
        Poll::Pending
    }
}

/// The error of a [`timeout`]: the deadline has passed and the future is not ready.
///
/// It converts to an [`io::Error`] of the kind [`TimedOut`](io::ErrorKind::TimedOut).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
