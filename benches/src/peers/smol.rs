//! smol's parts: `async-executor`'s local executor, `async-io`'s reactor, `blocking`'s threads.

use std::future::Future;
use std::time::Duration;

use async_executor::LocalExecutor;

use super::Peer;

/// A local executor, driven by `async_io::block_on`.
pub struct Smol;

thread_local! {
    static EXECUTOR: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
}

impl Peer for Smol {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        async_io::block_on(EXECUTOR.with(|executor| executor.run(future)))
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        EXECUTOR.with(|executor| executor.spawn(future))
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        EXECUTOR.with(|executor| executor.spawn(future).detach());
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> {
        futures_lite::future::yield_now()
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        async_io::Timer::after(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        blocking::unblock(job)
    }
}
