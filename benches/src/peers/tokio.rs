//! tokio on one thread, in both of its ways: a `LocalSet` on the current-thread runtime, and the
//! newer `LocalRuntime`.

use std::future::Future;
use std::time::Duration;

use super::Peer;

/// A `LocalSet` on a current-thread runtime.
pub struct LocalSet;

/// A `LocalRuntime`.
pub struct LocalRuntime;

fn builder() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all();
    builder
}

impl Peer for LocalSet {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        let runtime = builder().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        tokio::task::spawn_local(future)
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        drop(tokio::task::spawn_local(future));
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        tokio::time::sleep(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        tokio::task::spawn_blocking(job)
    }
}

impl Peer for LocalRuntime {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        builder().build_local(Default::default()).unwrap().block_on(future)
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        LocalSet::spawn(future)
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        LocalSet::spawn_detached(future)
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        LocalSet::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        LocalSet::sleep(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        LocalSet::offload(job)
    }
}
