//! popleft, with its usual settings.

use std::future::Future;
use std::time::Duration;

use super::Peer;

/// `popleft::run`.
pub struct Popleft;

impl Peer for Popleft {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        popleft::run(future)
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        popleft::spawn(future)
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        drop(popleft::spawn(future));
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        popleft::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        popleft::time::sleep(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        popleft::spawn_blocking(job)
    }
}
