//! glommio, with io_uring.

use std::future::Future;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use super::Peer;

/// A local executor with its usual settings, and a pool for what blocks.
pub struct Glommio;

impl Peer for Glommio {
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
        LocalExecutorBuilder::new(Placement::Unbound)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make()
            .unwrap()
            .run(future)
    }

    #[inline]
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
        glommio::spawn_local(future)
    }

    #[inline]
    fn spawn_detached(future: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(future).detach();
    }

    #[inline]
    async fn yield_now() {
        glommio::executor().yield_now().await;
    }

    #[inline]
    fn sleep(duration: Duration) -> impl Future + 'static {
        glommio::timer::sleep(duration)
    }

    #[inline]
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
        glommio::spawn_local(async move { glommio::executor().spawn_blocking(job).await })
    }
}
