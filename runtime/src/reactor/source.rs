//! One registered source: who waits for it, and what is known of it.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::task::Waker;

use super::wait::Report;
use crate::network::{Watchable, Watched};
use crate::task::waker::LocalWaker;

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
    pub(super) asks_for_room: Cell<bool>,
    /// Only a try that finds nothing tells that nothing is left; see [`Report::drain`].
    drain: Cell<bool>,
    /// How many reads got less than they had room for, since a try found nothing.
    short_reads: Cell<u8>,
    io: T,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// Those who wait for one way of a source: nearly always one, so the first needs no allocation and
/// the others little room.
#[derive(Default)]
struct Waiters {
    first: Cell<Option<Waiter>>,
    #[expect(clippy::box_collection, reason = "one word in each source, not three")]
    others: Cell<Option<Box<Vec<Waiter>>>>,
}

struct Waiter {
    ticket: Ticket,
    waker: LocalWaker,
}

/// Names one waiter of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

/// After so many short reads in a row the next one is tried at once.
const SHORT_READS: u8 = 16;

impl<T> Source<T> {
    pub(super) fn new(key: usize, io: T) -> Self {
        Source {
            key,
            may_be_readable: Cell::new(true),
            may_be_writable: Cell::new(true),
            readers: Waiters::default(),
            writers: Waiters::default(),
            next_ticket: Cell::new(NonZeroU32::MIN),
            asks_for_room: Cell::new(false),
            drain: Cell::new(false),
            short_reads: Cell::new(0),
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
    pub(super) fn watchable(&self) -> Watchable<'_> {
        self.io.watchable()
    }
}

// ===== what is known of it ======================================================================

impl<T: ?Sized> Source<T> {
    /// Whether it is worth trying.
    #[inline]
    pub(crate) fn may_be_ready(&self, way: Way) -> bool {
        match way {
            Way::Read => self.may_be_readable.get(),
            Way::Write => self.may_be_writable.get(),
        }
    }

    /// The system has reported it.
    #[inline]
    pub(super) fn note(&self, report: Report) {
        self.may_be_readable.set(self.may_be_readable.get() | report.readable);
        self.may_be_writable.set(self.may_be_writable.get() | report.writable);
        self.drain.set(self.drain.get() | report.drain);
    }

    /// A try found nothing: the next one waits for a report.
    #[inline]
    pub(crate) fn note_nothing(&self, way: Way) {
        match way {
            Way::Read => {
                self.may_be_readable.set(false);
                self.short_reads.set(0);
            }
            Way::Write => self.may_be_writable.set(false),
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
    fn waiters(&self, way: Way) -> &Waiters {
        match way {
            Way::Read => &self.readers,
            Way::Write => &self.writers,
        }
    }

    /// Whether the holder of `ticket` still waits, and is woken by `waker`.
    pub(super) fn waits(&self, ticket: Ticket, way: Way, waker: &Waker) -> bool {
        let mut is_known = false;
        self.waiters(way).visit(|waiter| {
            is_known |= waiter.ticket == ticket && waiter.waker.will_wake(waker);
        });
        is_known
    }

    pub(super) fn add_waiter(&self, way: Way, waker: LocalWaker) -> Ticket {
        let ticket = Ticket(self.next_ticket.get());
        self.next_ticket.set(ticket.0.checked_add(1).unwrap_or(NonZeroU32::MIN));
        self.waiters(way).add(Waiter { ticket, waker });
        ticket
    }

    /// The holder of `ticket` waits no longer. Returns its waker, to be dropped, if it did.
    pub(super) fn remove_waiter(&self, ticket: Ticket, way: Way) -> Option<LocalWaker> {
        self.waiters(way).remove(ticket).map(|waiter| waiter.waker)
    }

    /// All who wait, to be woken; they wait no longer.
    pub(super) fn take_waiters(&self, way: Way, into: &mut Vec<(usize, LocalWaker)>) {
        let waiters = self.waiters(way);
        let to_wake = |waiter: Waiter| (self.key, waiter.waker);
        into.extend(waiters.first.take().map(to_wake));
        if let Some(others) = waiters.others.take() {
            into.extend(others.into_iter().map(to_wake));
        }
    }
}

impl Waiters {
    fn visit(&self, mut see: impl FnMut(&Waiter)) {
        let (first, others) = (self.first.take(), self.others.take());
        first.iter().for_each(&mut see);
        others.iter().flat_map(|others| others.iter()).for_each(see);
        self.first.set(first);
        self.others.set(others);
    }

    fn add(&self, waiter: Waiter) {
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

    fn remove(&self, ticket: Ticket) -> Option<Waiter> {
        let first = self.first.take();
        if first.as_ref().is_some_and(|first| first.ticket == ticket) {
            return first;
        }
        self.first.set(first);
        let mut others = self.others.take()?;
        let at = others.iter().position(|waiter| waiter.ticket == ticket);
        let removed = at.map(|at| others.remove(at));
        self.others.set(Some(others));
        removed
    }
}
