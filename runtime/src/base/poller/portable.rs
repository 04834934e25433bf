//! All other systems, through `polling`.

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use polling::{Event, Events, PollMode};

use super::{Interest, REPORTS, Report, Until, after_a_failed_wait, with_context};

/// `polling`'s poller, which has a timer and a notifier of its own.
pub(crate) struct Poller {
    poller: Arc<polling::Poller>,
    events: RefCell<Events>,
}

/// Ends the loop's sleep from another thread.
#[derive(Clone)]
pub(crate) struct Notifier {
    poller: Arc<polling::Poller>,
}

impl Notifier {
    /// Ends the loop's current sleep, or the next one.
    pub(crate) fn notify(&self) {
        // It fails only if the poller is broken, and then the next wait reports that.
        let _ = self.poller.notify();
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let room = NonZeroUsize::new(REPORTS);
        let events = room.map_or_else(Events::new, Events::with_capacity);
        let poller =
            polling::Poller::new().map_err(with_context("cannot make the poller of the loop"))?;
        Ok(Poller { poller: Arc::new(poller), events: RefCell::new(events) })
    }

    pub(crate) fn notifier(&self) -> Notifier {
        Notifier { poller: self.poller.clone() }
    }

    #[allow(unsafe_code)]
    pub(crate) fn add(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: the descriptor has to be deleted from the poller before it is closed.
        // `Reactor::deregister` does that, and an `Async` calls it before it releases what it
        // owns. That fails for an owner that closes its descriptor early, or whose `as_fd` later
        // returns another one. The poller then keeps a number that is closed, or that belongs to
        // another file. No memory depends on it: it is a number in the kernel's list, the kernel
        // removes it when the file is closed, and until then its reports carry a key that no
        // source has.
        unsafe { self.poller.add_with_mode(fd, event(key, interest), PollMode::Edge) }
            .map_err(with_context("cannot watch the descriptor"))
    }

    pub(crate) fn modify(&self, fd: impl AsFd, key: usize, interest: Interest) -> io::Result<()> {
        self.poller
            .modify_with_mode(fd, event(key, interest), PollMode::Edge)
            .map_err(with_context("cannot watch the descriptor for writing"))
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
            // It does not report whether the end has arrived with the bytes.
            drain: true,
        }));
        Ok(())
    }
}

fn event(key: usize, interest: Interest) -> Event {
    Event::new(key, true, interest == Interest::ReadWrite)
}
