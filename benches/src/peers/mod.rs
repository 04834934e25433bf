//! The words of each runtime: the same few, as its own documentation spells them.

use std::future::Future;
use std::time::Duration;

#[cfg(all(feature = "peers", target_os = "linux"))]
pub mod compio;
#[cfg(all(feature = "peers", target_os = "linux"))]
pub mod glommio;
#[cfg(all(feature = "peers", target_os = "linux"))]
pub mod monoio;
pub mod popleft;
#[cfg(feature = "peers")]
pub mod smol;
#[cfg(feature = "peers")]
pub mod tokio;

/// What a runtime must be able to do for the small rows.
pub trait Peer: 'static {
    /// Runs a future to its end on this thread, on a runtime made for it.
    fn run<F: Future<Output: 'static> + 'static>(future: F) -> F::Output;

    /// Starts a task; the future that is returned ends when it has ended.
    fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> impl Future + 'static;

    /// Starts a task that is not joined.
    fn spawn_detached(future: impl Future<Output = ()> + 'static);

    /// Lets the other tasks go first.
    fn yield_now() -> impl Future<Output = ()>;

    /// Waits.
    fn sleep(duration: Duration) -> impl Future + 'static;

    /// Runs a job on another thread.
    fn offload(job: impl FnOnce() -> u64 + Send + 'static) -> impl Future + 'static;
}

/// All runtimes that are measured, in the order of the table: the name on the command line, and the
/// heading in the table.
pub const ALL: &[(&str, &str)] = &[
    ("popleft", "popleft"),
    ("limit", "limit"),
    ("tokio", "tokio LocalSet"),
    ("tokio-local", "tokio LocalRuntime"),
    ("smol", "smol"),
    ("monoio", "monoio epoll"),
    ("monoio-uring", "monoio uring"),
    ("compio", "compio"),
    ("glommio", "glommio"),
];

/// Whether a peer waits with epoll; the others use io_uring where the system has it.
pub fn is_on_epoll(peer: &str) -> bool {
    !matches!(peer, "monoio-uring" | "compio" | "glommio")
}

/// Why a peer cannot take part in this build, on this system.
pub fn why_not(peer: &str) -> Option<&'static str> {
    match peer {
        "popleft" | "limit" => None,
        _ if !cfg!(feature = "peers") => Some("built without `--features peers`"),
        "monoio" | "monoio-uring" | "compio" | "glommio" if !cfg!(target_os = "linux") => {
            Some("measured on Linux alone")
        }
        _ => None,
    }
}

/// Calls a generic function with the peer of this name: `with_peer!(name, yields(1, operations))`
/// calls `yields::<P>(1, operations)`. `None` when this build has no such peer.
#[macro_export]
macro_rules! with_peer {
    ($name:expr, $function:path, ($($argument:expr),*)) => {{
        use $function as function;
        match $name {
            "popleft" => Some(function::<$crate::peers::popleft::Popleft>($($argument),*)),
            #[cfg(feature = "peers")]
            "tokio" => Some(function::<$crate::peers::tokio::LocalSet>($($argument),*)),
            #[cfg(feature = "peers")]
            "tokio-local" => Some(function::<$crate::peers::tokio::LocalRuntime>($($argument),*)),
            #[cfg(feature = "peers")]
            "smol" => Some(function::<$crate::peers::smol::Smol>($($argument),*)),
            #[cfg(all(feature = "peers", target_os = "linux"))]
            "monoio" => Some(function::<$crate::peers::monoio::Epoll>($($argument),*)),
            #[cfg(all(feature = "peers", target_os = "linux"))]
            "monoio-uring" => Some(function::<$crate::peers::monoio::Uring>($($argument),*)),
            #[cfg(all(feature = "peers", target_os = "linux"))]
            "compio" => Some(function::<$crate::peers::compio::Compio>($($argument),*)),
            #[cfg(all(feature = "peers", target_os = "linux"))]
            "glommio" => Some(function::<$crate::peers::glommio::Glommio>($($argument),*)),
            _ => None,
        }
    }};
}
