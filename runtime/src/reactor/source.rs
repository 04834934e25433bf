//! One registered source: who waits for it, and what is known of it.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::task::Waker;

use crate::base::network::{Report, Watchable, Watched};
use crate::task::local_waker::LocalWaker;

/// What is watched, with what the reactor knows of it. The reactor holds it without its type.
pub(crate) struct Source<T: ?Sized> {
    /// Under which the system reports it: row and generation, so that a report for a source that is
    /// gone is never taken for one of the source that came after it.
    pub(crate) key: usize,
    /// It is worth trying: true from a report until a try found nothing.
    may_be_readable: Cell<bool>,
    may_be_writable: Cell<bool>,
    readers: Waiters,
    writers: Waiters,
    next_ticket: Cell<NonZeroU32>,
    /// The system is asked to report room for bytes as well.
    pub(super) watches_writable: Cell<bool>,
    /// Only a try that finds nothing tells that nothing is left; see [`Report::drain`].
    drain: Cell<bool>,
    /// How many reads got less than they had room for, since a try found nothing.
    short_reads: Cell<u8>,
    /// The number of the descriptor that was registered; of a simulated socket [`NO_DESCRIPTOR`].
    descriptor: RawFd,
    io: T,
}

/// Which direction the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Those who wait for one direction of a source: nearly always one, so the first needs no allocation and
/// the others little room.
#[derive(Default)]
pub(super) struct Waiters {
    first: Cell<Option<Waiter>>,
    #[expect(clippy::box_collection, reason = "one word in each source, not three")]
    others: Cell<Option<Box<Vec<Waiter>>>>,
}

pub(super) struct Waiter {
    pub(super) claim: Claim,
    pub(super) waker: LocalWaker,
}

/// TaskRef says how long a waiter waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A future holds the ticket, and gives it back when it is dropped.
    Held(Ticket),
    /// Nobody: a poll through `AsyncRead` or `AsyncWrite` leaves nothing behind that could be
    /// dropped. Its task is known by its waker, and may have given up the wait since.
    Unheld,
    /// The same, but the task was asked and still waited.
    Confirmed,
}

/// Names one waiter of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

/// In place of a descriptor's number.
pub(super) const NO_DESCRIPTOR: RawFd = -1;

/// After so many short reads in a row the next one is tried at once.
const SHORT_READS: u8 = 16;

impl<T> Source<T> {
    pub(super) fn new(key: usize, descriptor: RawFd, io: T) -> Self {
        Source {
            key,
            may_be_readable: Cell::new(true),
            may_be_writable: Cell::new(true),
            readers: Waiters::default(),
            writers: Waiters::default(),
            next_ticket: Cell::new(NonZeroU32::MIN),
            watches_writable: Cell::new(false),
            drain: Cell::new(false),
            short_reads: Cell::new(0),
            descriptor,
            io,
        }
    }

    pub(crate) fn io(&self) -> &T {
        &self.io
    }

    pub(crate) fn into_io(self) -> T {
        self.io
    }
}

impl<T: Watched + ?Sized> Source<T> {
    /// By what it is watched. `None` when it now names another descriptor than the one that was
    /// registered: that one is no longer ours to change.
    ///
    /// This runs the code of whoever wrote the type's `as_fd`.
    pub(super) fn watchable(&self) -> Option<Watchable<'_>> {
        let watchable = self.io.watchable();
        (watchable.number() == self.descriptor).then_some(watchable)
    }
}

impl Watchable<'_> {
    /// The descriptor's number.
    pub(super) fn number(&self) -> RawFd {
        match self {
            Watchable::Descriptor(fd) => fd.as_raw_fd(),
            Watchable::Simulated(_) => NO_DESCRIPTOR,
        }
    }
}

// ===== what is known of it ======================================================================

impl<T: ?Sized> Source<T> {
    /// Whether it is worth trying.
    #[inline]
    pub(crate) fn may_be_ready(&self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.may_be_readable.get(),
            Direction::Write => self.may_be_writable.get(),
        }
    }

    /// The system has reported it.
    #[inline]
    pub(super) fn set_ready(&self, report: Report) {
        self.may_be_readable.set(self.may_be_readable.get() | report.readable);
        self.may_be_writable.set(self.may_be_writable.get() | report.writable);
        self.drain.set(self.drain.get() | report.drain);
    }

    /// A try found nothing: the next one waits for a report.
    #[inline]
    pub(crate) fn clear_ready(&self, direction: Direction) {
        match direction {
            Direction::Read => {
                self.may_be_readable.set(false);
                self.short_reads.set(0);
            }
            Direction::Write => self.may_be_writable.set(false),
        }
    }

    /// A read got less than it had room for, so nothing is left, and the next one waits for a
    /// report: a try would only cost a call to hear that.
    ///
    /// Unless the peer is so quick that it has sent again by then. That is found out by trying now
    /// and then, and going on with it for as long as the tries find something.
    #[inline]
    pub(crate) fn note_short_read(&self) {
        if self.drain.get() || self.short_reads.get() == SHORT_READS {
            return;
        }
        self.short_reads.set(self.short_reads.get() + 1);
        self.may_be_readable.set(false);
    }
}

// ===== who waits for it =========================================================================

impl<T: ?Sized> Source<T> {
    pub(super) fn waiters(&self, direction: Direction) -> &Waiters {
        match direction {
            Direction::Read => &self.readers,
            Direction::Write => &self.writers,
        }
    }

    /// Whether the holder of `ticket` still waits, and is woken by `waker`.
    pub(super) fn waits(&self, ticket: Ticket, direction: Direction, waker: &Waker) -> bool {
        let claim = Claim::Held(ticket);
        let mut is_known = false;
        self.waiters(direction).visit(|waiter| {
            is_known |= waiter.claim == claim && waiter.waker.will_wake(waker);
        });
        is_known
    }

    pub(super) fn add_waiter(&self, direction: Direction, waker: LocalWaker) -> Ticket {
        let ticket = Ticket(self.next_ticket.get());
        self.next_ticket.set(ticket.0.checked_add(1).unwrap_or(NonZeroU32::MIN));
        self.waiters(direction).add(Waiter { claim: Claim::Held(ticket), waker });
        ticket
    }

    /// The holder of `ticket` waits no longer. Returns its waker, to be dropped, if it did.
    pub(super) fn remove_waiter(&self, ticket: Ticket, direction: Direction) -> Option<LocalWaker> {
        self.waiters(direction).remove(Claim::Held(ticket)).map(|waiter| waiter.waker)
    }

    /// All who wait, to be woken; they wait no longer. Returns how many of them were unheld.
    pub(super) fn take_waiters(
        &self,
        direction: Direction,
        into: &mut Vec<(usize, LocalWaker)>,
    ) -> usize {
        let mut unheld = 0;
        let mut take = |waiter: Waiter| {
            unheld += usize::from(waiter.claim == Claim::Unheld);
            into.push((self.key, waiter.waker));
        };
        let waiters = self.waiters(direction);
        if let Some(first) = waiters.first.take() {
            take(first);
        }
        if let Some(others) = waiters.others.take() {
            others.into_iter().for_each(take);
        }
        unheld
    }
}

impl Waiters {
    pub(super) fn visit(&self, mut see: impl FnMut(&mut Waiter)) {
        let (mut first, mut others) = (self.first.take(), self.others.take());
        first.iter_mut().for_each(&mut see);
        others.iter_mut().flat_map(|others| others.iter_mut()).for_each(see);
        self.first.set(first);
        self.others.set(others);
    }

    pub(super) fn add(&self, waiter: Waiter) {
        match self.first.take() {
            None => self.first.set(Some(waiter)),
            first => {
                self.first.set(first);
                let mut others = self.others.take().unwrap_or_default();
                others.push(waiter);
                self.others.set(Some(others));
            }
        }
    }

    /// Takes the first that has this claim.
    pub(super) fn remove(&self, claim: Claim) -> Option<Waiter> {
        let first = self.first.take();
        if first.as_ref().is_some_and(|first| first.claim == claim) {
            return first;
        }
        self.first.set(first);
        let mut others = self.others.take()?;
        let at = others.iter().position(|waiter| waiter.claim == claim);
        let removed = at.map(|at| others.remove(at));
        self.others.set(Some(others));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    fn foreign(waker: &Waker) -> LocalWaker {
        LocalWaker::Foreign(waker.clone())
    }

    #[test]
    fn a_ticket_is_that_of_one_wait_also_when_another_has_the_same_waker() {
        let source = Source::new(0, NO_DESCRIPTOR, ());
        let waker = &Waker::from(Arc::new(Nobody));
        let first = source.add_waiter(Direction::Read, foreign(waker));
        let second = source.add_waiter(Direction::Read, foreign(waker));
        assert!(source.waits(first, Direction::Read, waker));
        assert!(source.remove_waiter(first, Direction::Read).is_some());
        assert!(!source.waits(first, Direction::Read, waker));
        assert!(source.waits(second, Direction::Read, waker));
        assert!(!source.waits(second, Direction::Write, waker));
    }

    #[test]
    fn a_source_is_not_larger_for_what_is_known_of_it() {
        // A server has one for each idle connection.
        assert!(size_of::<Source<RawFd>>() <= 15 * size_of::<usize>());
    }
}
