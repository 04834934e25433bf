//! One registered source: its readiness and its waiters.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::task::Waker;

use crate::base::network::{Report, Watchable, Watched};
use crate::task::local_waker::LocalWaker;

/// A socket or another descriptor, with its readiness and its waiters.
pub(crate) struct Source<T: ?Sized> {
    /// The key under which it is reported: row and generation, so that a report for a source that is
    /// gone is never mistaken for one of its successor in the same row.
    pub(crate) key: usize,
    /// Readiness: true from a report until an operation would have blocked, and at first.
    may_be_readable: Cell<bool>,
    may_be_writable: Cell<bool>,
    readers: Waiters,
    writers: Waiters,
    next_ticket: Cell<NonZeroU32>,
    /// The system reports writability, too.
    pub(super) watches_writable: Cell<bool>,
    /// Read until `WouldBlock`: a short read proves nothing. See [`Report::drain`].
    drain: Cell<bool>,
    /// How many short reads there were since a read would have blocked.
    short_reads: Cell<u8>,
    /// The number of the descriptor that was registered; [`NO_DESCRIPTOR`] for a simulated socket.
    descriptor: RawFd,
    io: T,
}

/// The direction of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The waiters for one direction of a source. There is nearly always one, so the first needs no
/// allocation and the others little space.
#[derive(Default)]
pub(super) struct Waiters {
    first: Cell<Option<Waiter>>,
    #[expect(clippy::box_collection, reason = "one word in each source, not three")]
    others: Cell<Option<Box<Vec<Waiter>>>>,
}

/// One waiting future or poll.
pub(super) struct Waiter {
    pub(super) claim: Claim,
    pub(super) waker: LocalWaker,
}

/// How the end of a wait is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A future holds the ticket, and returns it when it is dropped.
    Held(Ticket),
    /// Not at all: a poll through `AsyncRead` or `AsyncWrite` leaves nothing behind that could be
    /// dropped. Only its waker is known, and its task may have given up since.
    Unheld,
    /// Unheld, but the task was woken to find out, and polled again.
    Confirmed,
}

/// Identifies one waiter of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

/// In place of a descriptor's number, for simulated sockets.
pub(super) const NO_DESCRIPTOR: RawFd = -1;

/// After this many short reads in a row, the next read is tried without waiting for a report.
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
    /// How it is watched. `None` when `as_fd` now returns another descriptor than the one that was
    /// registered, which is no longer ours to change.
    ///
    /// This runs user code: the type's `as_fd`.
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

// ===== readiness ================================================================================

impl<T: ?Sized> Source<T> {
    /// Whether an operation may succeed.
    #[inline]
    pub(crate) fn may_be_ready(&self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.may_be_readable.get(),
            Direction::Write => self.may_be_writable.get(),
        }
    }

    /// The source was reported.
    #[inline]
    pub(super) fn set_ready(&self, report: Report) {
        self.may_be_readable.set(self.may_be_readable.get() | report.readable);
        self.may_be_writable.set(self.may_be_writable.get() | report.writable);
        self.drain.set(self.drain.get() | report.drain);
    }

    /// An operation would have blocked: the next one waits for a report.
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

    /// A read returned fewer bytes than it asked for, so nothing is left, and the next one waits for a
    /// report: an attempt would cost a system call and return `WouldBlock`.
    ///
    /// Unless the peer is so quick that it has sent more by then. To find out, a read is attempted
    /// now and then, and reads go on without reports for as long as they succeed.
    #[inline]
    pub(crate) fn note_short_read(&self) {
        if self.drain.get() || self.short_reads.get() == SHORT_READS {
            return;
        }
        self.short_reads.set(self.short_reads.get() + 1);
        self.may_be_readable.set(false);
    }
}

// ===== waiters ==================================================================================

impl<T: ?Sized> Source<T> {
    pub(super) fn waiters(&self, direction: Direction) -> &Waiters {
        match direction {
            Direction::Read => &self.readers,
            Direction::Write => &self.writers,
        }
    }

    /// Whether the holder of `ticket` still waits, with an equivalent of `waker`.
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

    /// Removes the waiter with this ticket. Returns its waker, which has to be dropped, if there was
    /// one.
    pub(super) fn remove_waiter(&self, ticket: Ticket, direction: Direction) -> Option<LocalWaker> {
        self.waiters(direction).remove(Claim::Held(ticket)).map(|waiter| waiter.waker)
    }

    /// Removes all waiters, which have to be woken. Returns how many of them were unheld.
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

    /// Removes the first waiter with this claim.
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
    fn a_ticket_identifies_one_wait_even_if_another_has_the_same_waker() {
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
    fn a_source_is_small() {
        // A server has one for each idle connection.
        assert!(size_of::<Source<RawFd>>() <= 15 * size_of::<usize>());
    }
}
