//! How a server ends: at Ctrl-C or SIGTERM, in order, within a second.
//!
//! In order means: no new clients; what clients have sent is answered; then every client reads the
//! end of the file. One call does most of this. `shutdown(Read)` on a client's socket makes reads
//! return what has arrived and then the end of file, as if the client had said goodbye. So each
//! handler ends as it always does, and the server has ended when the last handler has.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::process;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use slab::Slab;

/// How long the requests in flight have. Ending the process takes a moment too, and both together
/// are to be less than a second.
pub const GRACE: Duration = Duration::from_millis(900);

/// How long to wait before the system is asked again for what it refused.
pub const PAUSE: Duration = Duration::from_millis(50);

/// How many times a server reads from a client that goes on sending after the goodbye, and how long
/// each of these reads may take.
pub const READS_AFTER_GOODBYE: usize = 256;
pub const PATIENCE: Duration = Duration::from_millis(200);

// ===== the signal ===============================================================================

/// A socket that becomes readable, and stays so, at Ctrl-C or SIGTERM.
///
/// There may be several at once. From the first call on neither signal ends the process by itself.
pub fn signals() -> io::Result<UnixStream> {
    let (asked, asking) = UnixStream::pair()?;
    pipe::register(SIGINT, asking.try_clone()?)?;
    pipe::register(SIGTERM, asking)?;
    Ok(asked)
}

/// Starts a thread that calls `begin_to_stop` at a signal, and ends the process after [`GRACE`]
/// if it still runs then: a computation cannot be interrupted, and a client may never read.
pub fn at_signal(begin_to_stop: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let asked = signals().context(CANNOT_CATCH)?;
    let wait_for_it = move || {
        wait_for_a_byte(&asked);
        begin_to_stop();
        thread::sleep(GRACE);
        process::exit(0);
    };
    let thread = thread::Builder::new().name("stop".into()).spawn(wait_for_it);
    thread.context("cannot start the thread that waits for Ctrl-C")?;
    Ok(())
}

/// The error of a server that could not be asked to stop.
pub const CANNOT_CATCH: &str = "cannot catch Ctrl-C and SIGTERM";

/// A server must be able to stop whatever else fails, so this tries again until a byte has come.
fn wait_for_a_byte(mut asked: &UnixStream) {
    while asked.read_exact(&mut [0]).is_err() {
        thread::sleep(PAUSE);
    }
}

// ===== the clients that are left ================================================================

/// The connections of a server that is one thread, so that stopping can reach them. The servers
/// with a thread for each client have their own, in [`blocking`](crate::blocking).
pub struct Connections<Socket> {
    shared: Rc<Shared<Socket>>,
}

/// A socket that is among the [`Connections`] until this is dropped.
pub struct Connection<Socket> {
    socket: Rc<Socket>,
    key: usize,
    shared: Rc<Shared<Socket>>,
}

struct Shared<Socket> {
    open: RefCell<Slab<Rc<Socket>>>,
    /// The task that waits until none is left.
    waiting: Cell<Option<Waker>>,
}

impl<Socket> Connections<Socket> {
    pub fn add(&self, socket: Rc<Socket>) -> Connection<Socket> {
        let key = self.shared.open.borrow_mut().insert(socket.clone());
        Connection { socket, key, shared: self.shared.clone() }
    }

    /// Those that are open at this moment.
    pub fn all(&self) -> Vec<Rc<Socket>> {
        self.shared.open.borrow().iter().map(|(_, socket)| socket.clone()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.shared.open.borrow().is_empty()
    }

    /// Waits until none is left.
    pub async fn all_closed(&self) {
        poll_fn(|cx| {
            if self.is_empty() {
                return Poll::Ready(());
            }
            self.shared.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl<Socket> Default for Connections<Socket> {
    fn default() -> Self {
        let shared = Shared { open: RefCell::default(), waiting: Cell::default() };
        Connections { shared: Rc::new(shared) }
    }
}

impl<Socket> Deref for Connection<Socket> {
    type Target = Rc<Socket>;

    fn deref(&self) -> &Rc<Socket> {
        &self.socket
    }
}

impl<Socket> Drop for Connection<Socket> {
    fn drop(&mut self) {
        let mut open = self.shared.open.borrow_mut();
        open.remove(self.key);
        let is_last = open.is_empty();
        if is_last {
            // After many connections, give back the memory that they took.
            *open = Slab::new();
        }
        drop(open);
        if is_last && let Some(waker) = self.shared.waiting.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_connection_is_known_until_it_is_dropped_and_the_last_one_is_waited_for() {
        let connections = Connections::default();
        let [first, second] = ["first", "second"].map(|name| connections.add(Rc::new(name)));
        assert_eq!(connections.all(), [Rc::new("first"), Rc::new("second")]);
        let socket = Rc::downgrade(&first);
        drop(first);
        assert!(socket.upgrade().is_none(), "it is closed");
        block_on(async {
            let mut all_closed = std::pin::pin!(connections.all_closed());
            assert!(poll_once(&mut all_closed).await.is_none());
            drop(second);
            all_closed.await;
        });
        assert!(connections.is_empty());
    }

    #[test]
    fn after_a_crowd_its_memory_is_given_back() {
        let connections = Connections::default();
        let crowd: Vec<_> = (0..5000).map(|number| connections.add(Rc::new(number))).collect();
        assert_eq!(connections.all().len(), 5000);
        drop(crowd);
        assert_eq!(connections.shared.open.borrow().capacity(), 0);
    }

    #[test]
    fn the_byte_of_a_signal_is_waited_for_whatever_the_system_says() {
        let (asked, asking) = UnixStream::pair().unwrap();
        // A read that would block stands for one that fails for a while.
        asked.set_nonblocking(true).unwrap();
        let waiting = thread::spawn(move || wait_for_a_byte(&asked));
        (&asking).write_all(b"x").unwrap();
        waiting.join().unwrap();
    }
}
