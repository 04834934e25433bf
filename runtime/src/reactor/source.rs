//! One registered source: who waits for it, and what is known of it.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::wait::Interest;
use crate::network::{Watchable, Watched};
use crate::task::waker::LocalWaker;

/// What is watched, with what the reactor knows of it. The reactor holds it without its type.
pub(crate) struct Source<T: ?Sized> {
    pub(crate) key: usize,
    /// What the system is asked to watch at present.
    pub(super) armed: Cell<Interest>,
    pub(super) reading: Direction,
    pub(super) writing: Direction,
    io: T,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// One way of a source.
pub(super) struct Direction {
    /// It is worth trying. False after a try found nothing, or a stream less than it could take.
    pub(super) may_be_ready: Cell<bool>,
    /// Somebody was woken and has not tried since. Until then a report says nothing new.
    pub(super) woken: Cell<bool>,
    waiters: RefCell<Waiters>,
}

/// Those who wait for one way of a source: nearly always one, so the first needs no allocation and
/// the others little room.
struct Waiters {
    first: Option<Waiter>,
    #[expect(clippy::box_collection, reason = "one word in each source, not three")]
    others: Option<Box<Vec<Waiter>>>,
    next_ticket: u32,
}

struct Waiter {
    ticket: Ticket,
    waker: LocalWaker,
}

/// Names one waiter of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

impl<T> Source<T> {
    pub(super) fn new(key: usize, io: T, armed: Interest) -> Self {
        Source {
            key,
            armed: Cell::new(armed),
            reading: Direction::new(),
            writing: Direction::new(),
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

impl<T: ?Sized> Source<T> {
    pub(super) fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::Read => &self.reading,
            Way::Write => &self.writing,
        }
    }

    /// Whether it is worth trying.
    #[inline]
    pub(crate) fn may_be_ready(&self, way: Way) -> bool {
        let direction = self.direction(way);
        direction.woken.set(false);
        direction.may_be_ready.get()
    }

    /// A try found nothing: the next one waits for a report.
    #[inline]
    pub(crate) fn set_not_ready(&self, way: Way) {
        self.direction(way).may_be_ready.set(false);
    }
}

impl Direction {
    fn new() -> Self {
        Direction {
            may_be_ready: Cell::new(true),
            woken: Cell::new(false),
            waiters: RefCell::new(Waiters { first: None, others: None, next_ticket: 0 }),
        }
    }

    /// Whether the holder of `ticket` still waits, and is woken by `waker`.
    pub(super) fn waits(&self, ticket: Ticket, waker: &Waker) -> bool {
        let waiters = self.waiters.borrow();
        waiters.iter().any(|waiter| waiter.ticket == ticket && waiter.waker.will_wake(waker))
    }

    pub(super) fn add(&self, waker: LocalWaker) -> Ticket {
        let mut waiters = self.waiters.borrow_mut();
        let ticket = Ticket(waiters.next_ticket);
        waiters.next_ticket = waiters.next_ticket.wrapping_add(1);
        let waiter = Waiter { ticket, waker };
        match waiters.first {
            None => waiters.first = Some(waiter),
            Some(_) => waiters.others.get_or_insert_default().push(waiter),
        }
        ticket
    }

    /// The holder of `ticket` waits no longer. Returns its waker, to be dropped, if it did.
    pub(super) fn remove(&self, ticket: Ticket) -> Option<LocalWaker> {
        let mut waiters = self.waiters.borrow_mut();
        if let Some(first) = waiters.first.take_if(|first| first.ticket == ticket) {
            return Some(first.waker);
        }
        let others = waiters.others.as_mut()?;
        let at = others.iter().position(|waiter| waiter.ticket == ticket)?;
        Some(others.remove(at).waker)
    }

    /// All who wait, to be woken; they wait no longer. How many they were is returned.
    pub(super) fn take_all(&self, into: &mut Vec<(usize, LocalWaker)>, key: usize) -> usize {
        let mut waiters = self.waiters.borrow_mut();
        let before = into.len();
        into.extend(waiters.first.take().map(|waiter| (key, waiter.waker)));
        if let Some(others) = waiters.others.take() {
            into.extend(others.into_iter().map(|waiter| (key, waiter.waker)));
        }
        into.len() - before
    }
}

impl Waiters {
    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.first.iter().chain(self.others.iter().flat_map(|others| others.iter()))
    }
}
