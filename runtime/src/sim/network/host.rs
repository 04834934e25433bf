//! Which host a task is on.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::base::turn;
use crate::task::Id;

thread_local! {
    /// The host of the [`OnHost`] that is being polled.
    static HOME: Cell<Option<IpAddr>> = const { Cell::new(None) };
}

pin_project! {
    /// The future of [`on_host`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct OnHost<F> {
        host: IpAddr,
        #[pin]
        future: F,
    }
}

/// Runs `future` on the host with this address: connections that it makes begin there, and what it
/// listens on at `0.0.0.0` or `::` is there. Tasks that it spawns are on the same host, and so are
/// those that they spawn, unless they say `on_host` of another.
///
/// ```
/// use popleft::net::{TcpListener, TcpStream};
/// use popleft::sim::{Sim, on_host};
///
/// Sim::new().run(async {
///     let listener = TcpListener::bind("10.0.0.2:80").await.unwrap();
///     popleft::spawn(on_host([10, 0, 0, 1], async {
///         let client = popleft::spawn(TcpStream::connect("10.0.0.2:80"));
///         client.await.unwrap().unwrap()
///     }));
///     let (_, peer) = listener.accept().await.unwrap();
///     assert_eq!(peer.ip().to_string(), "10.0.0.1");
/// });
/// ```
pub fn on_host<F: Future>(host: impl Into<IpAddr>, future: F) -> OnHost<F> {
    OnHost { host: host.into(), future }
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _restore = RestoreHost { previous: HOME.replace(Some(*this.host)) };
        this.future.poll(cx)
    }
}

/// The hosts of tasks that were spawned on one, by the task's row in the table of tasks.
#[derive(Default)]
pub(super) struct TaskHosts(RefCell<Vec<Option<(Id, IpAddr)>>>);

impl TaskHosts {
    fn of(&self, task: Id) -> Option<IpAddr> {
        let task_hosts = self.0.borrow();
        let home = task_hosts.get(task.index as usize).copied().flatten();
        home.and_then(|(whose, host)| (whose == task).then_some(host))
    }

    /// The host of what is being polled: that of the innermost [`on_host`], or else of the task.
    pub(super) fn here(&self) -> Option<IpAddr> {
        HOME.get().or_else(|| self.of(turn::task()))
    }

    /// A task is on the host on which it was spawned.
    pub(super) fn spawned(&self, task: Id) {
        if let Some(host) = self.here() {
            self.set(task, host);
        }
    }

    /// A row is used again when its task has ended: then this takes its place.
    fn set(&self, task: Id, host: IpAddr) {
        let mut task_hosts = self.0.borrow_mut();
        let row = task.index as usize;
        if task_hosts.len() <= row {
            task_hosts.resize(row + 1, None);
        }
        task_hosts[row] = Some((task, host));
    }
}

/// Restores the host from before the poll, also when the future panics.
struct RestoreHost {
    previous: Option<IpAddr>,
}

impl Drop for RestoreHost {
    fn drop(&mut self) {
        HOME.set(self.previous);
    }
}
