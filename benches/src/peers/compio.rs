//! compio, with io_uring.

use std::future::Future;
use std::time::Duration;

use super::Peer;

/// `compio::runtime::Runtime`.
pub struct Compio;

impl Peer for Compio {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        compio::runtime::Runtime::new().unwrap().block_on(future)
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        compio::runtime::spawn(future)
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        compio::runtime::spawn(future).detach();
    }

    // It has none of its own.
    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        futures_lite::future::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        compio::time::sleep(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        compio::runtime::spawn_blocking(job)
    }
}
