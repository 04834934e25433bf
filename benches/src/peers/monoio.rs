//! monoio, with epoll (its `LegacyDriver`) and with io_uring. Its feature `sync` is on, without
//! which no other thread could wake a task.

use std::future::Future;
use std::time::Duration;

use monoio::blocking::DefaultThreadPool;

use super::Peer;

/// The driver that uses epoll.
pub struct Epoll;

/// The driver that uses io_uring.
pub struct Uring;

macro_rules! peer {
    ($peer:ident, $driver:ty) => {
        impl Peer for $peer {
            fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output {
                monoio::RuntimeBuilder::<$driver>::new()
                    .attach_thread_pool(Box::new(DefaultThreadPool::new(4)))
                    .enable_timer()
                    .build()
                    .unwrap()
                    .block_on(future)
            }

            #[inline]
            fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static {
                monoio::spawn(future)
            }

            #[inline]
            fn spawn_detached(future: impl Future<Output = ()> + 'static) {
                drop(monoio::spawn(future));
            }

            // It has none of its own.
            #[inline]
            fn yield_now() -> impl Future<Output = ()> {
                futures_lite::future::yield_now()
            }

            #[inline]
            fn sleep(duration: Duration) -> impl Future + 'static {
                monoio::time::sleep(duration)
            }

            #[inline]
            fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static {
                monoio::spawn_blocking(job)
            }
        }
    };
}

peer!(Epoll, monoio::LegacyDriver);
peer!(Uring, monoio::IoUringDriver);
