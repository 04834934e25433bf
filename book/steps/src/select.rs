//! `select`, as Python has it in its library: say which sockets you wait for, then wait for any of them.
//!
//! A [`Sockets<T>`] is a set of sockets, each with the `T` that waits for it: a task, or its waker. `watch` puts one in,
//! `wait` gives back those that have become ready: each `watch` is answered once. [`notify`] ends a `wait` from afar.

use polling::{Event, Events, Poller};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

/// What a socket should become ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
}

/// One for the whole program, so that any thread can notify it.
static POLLER: LazyLock<Poller> =
    LazyLock::new(|| Poller::new().expect("the system lends a poller"));

/// The sockets that somebody waits for, and who that is. A program has one.
pub struct Sockets<T> {
    waiting: RefCell<HashMap<usize, (Watched, T)>>,
}

/// A socket that the poller knows. While this lives the socket stays open, and the poller forgets it first.
struct Watched {
    socket: Rc<dyn AsFd>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        POLLER.delete(&self.socket).expect("the poller knows a watched socket");
    }
}

impl<T> Default for Sockets<T> {
    fn default() -> Sockets<T> {
        Sockets { waiting: RefCell::default() }
    }
}

impl<T> Sockets<T> {
    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Watches the socket until it is ready once. A second `watch` of it takes the place of the first.
    ///
    /// # Panics
    ///
    /// When the kernel cannot watch this kind of descriptor, such as a plain file.
    pub fn watch(&self, socket: Rc<dyn AsFd>, interest: Interest, who: T) {
        let key = socket.as_fd().as_raw_fd() as usize;
        let event = match interest {
            Interest::Read => Event::readable(key),
            Interest::Write => Event::writable(key),
        };
        let earlier = self.waiting.borrow_mut().remove(&key);
        drop(earlier);
        let entry = (add(socket, event), who);
        self.waiting.borrow_mut().insert(key, entry);
    }

    /// Waits until a socket is ready, the time is over (`None`: for ever) or [`notify`] is called. Returns who waited
    /// for the sockets that are ready; these are watched no longer.
    pub fn wait(&self, timeout: Option<Duration>) -> Vec<T> {
        let mut events = Events::new();
        POLLER.wait(&mut events, timeout).expect("the poller waits");
        let mut waiting = self.waiting.borrow_mut();
        let ready = events.iter().filter_map(|event| waiting.remove(&event.key));
        ready.map(|(_, who)| who).collect()
    }
}

#[allow(unsafe_code)]
fn add(socket: Rc<dyn AsFd>, event: Event) -> Watched {
    // SAFETY: a socket must be deleted from the poller before it is closed. `Watched` keeps it open, and deletes it first.
    unsafe { POLLER.add(socket.as_fd().as_raw_fd(), event) }.expect("the kernel watches sockets");
    Watched { socket }
}

/// Ends the `wait` that is under way, or else the next one. Any thread may call it.
pub fn notify() {
    POLLER.notify().expect("the poller can be notified");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread;

    /// One test, because the poller is the whole program's.
    #[test]
    fn a_watch_is_answered_once_and_a_notify_is_never_lost() {
        let sockets = Sockets::default();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Rc::new(near);

        sockets.watch(near.clone(), Interest::Read, "reader");
        assert_eq!(sockets.wait(Some(Duration::ZERO)), Vec::<&str>::new());
        far.write_all(b"x").unwrap();
        assert_eq!(sockets.wait(None), ["reader"]);
        assert!(sockets.is_empty());
        assert_eq!(sockets.wait(Some(Duration::ZERO)), Vec::<&str>::new());

        sockets.watch(near.clone(), Interest::Read, "first");
        sockets.watch(near.clone(), Interest::Write, "second");
        assert_eq!(sockets.wait(None), ["second"]);

        notify();
        assert_eq!(sockets.wait(None), Vec::<&str>::new());
        let other = thread::spawn(notify);
        assert_eq!(sockets.wait(None), Vec::<&str>::new());
        other.join().unwrap();

        sockets.watch(near.clone(), Interest::Read, "dropped");
        drop(sockets);
        assert_eq!(Rc::strong_count(&near), 1);
    }
}
