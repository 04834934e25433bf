//! Every other system, through `polling`.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode};

use super::{Interest, REPORTS, Report, Until, after_a_failed_wait, saying};

/// `polling`'s poller, which has a timer and a notifier of its own.
pub(crate) struct Poller {
    poller: Arc<polling::Poller>,
    events: RefCell<Events>,
}

/// What another thread rings to end the loop's sleep.
#[derive(Clone)]
pub(crate) struct Notifier {
    poller: Arc<polling::Poller>,
}

impl Notifier {
    /// Ends the loop's present sleep, or the next one.
    pub(crate) fn notify(&self) {
        // It fails only when the poller is broken, and then so does the next wait, loudly.
        let _ = self.poller.notify();
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let room = NonZeroUsize::new(REPORTS);
        let events = room.map_or_else(Events::new, Events::with_capacity);
        let poller =
            polling::Poller::new().map_err(saying("cannot make the poller of the loop"))?;
        Ok(Poller { poller: Arc::new(poller), events: RefCell::new(events) })
    }

    pub(crate) fn notifier(&self) -> Notifier {
        Notifier { poller: self.poller.clone() }
    }

    #[allow(unsafe_code)]
    pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: the descriptor has to be deleted from the poller before it is closed.
        // `Reactor::deregister` does that, and an `Async` calls it before it lets go of what
        // it owns. It can do so only if what it owns is an ordinary owner: one that closes its
        // descriptor while it lives, or whose `as_fd` comes to name another one, breaks the
        // rule. The poller then keeps a number that is closed or somebody else's. No memory
        // depends on that: it is a number in the kernel's list, the kernel takes it out when
        // the file is closed, and until then its reports carry a key that no source has.
        unsafe { self.poller.add_with_mode(fd, event(key, interest), PollMode::Edge) }
            .map_err(saying("cannot watch the descriptor"))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        self.poller
            .modify_with_mode(fd, event(key, interest), PollMode::Edge)
            .map_err(saying("cannot watch the descriptor for room to write"))
    }

    pub(crate) fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        self.poller.delete(fd)
    }

    /// Sleeps as long as it may, and adds what is ready to `reports`.
    pub(crate) fn wait(
        &self,
        until: Until,
        now: impl Fn() -> Instant,
        reports: &mut Vec<Report>,
    ) -> io::Result<()> {
        let timeout = match until {
            Until::Now => Some(Duration::ZERO),
            Until::Forever => None,
            Until::Deadline(deadline) => Some(deadline.saturating_duration_since(now())),
        };
        let mut events = self.events.borrow_mut();
        events.clear();
        if let Err(error) = self.poller.wait(&mut events, timeout) {
            after_a_failed_wait(error)?;
        }
        reports.extend(events.iter().map(|event| Report {
            key: event.key,
            readable: event.readable || event.is_interrupt(),
            writable: event.writable || event.is_interrupt(),
            // It does not tell whether the end has come with the bytes.
            drain: true,
        }));
        Ok(())
    }
}

fn event(key: usize, interest: Interest) -> Event {
    Event::new(key, true, interest == Interest::ReadWrite)
}
