//! A task's public record, which is also what wakes it.
//!
//! `std::task::Wake` turns an `Arc` of anything into a `Waker`, so the record and the waker are one
//! allocation. Waking on the loop's own thread is a push to the deque. Waking from any other place
//! (another thread, or this one while the loop is not running) goes through the inbox.
//!
//! The state of a task, and who moves it on:
//!
//! ```text
//!                 woken                     its turn ends with Ready(..)
//!     Waiting <-----------> Ready             Waiting -----> Ended
//!             its turn begins
//! ```
//!
//! A task that has its turn counts as waiting: if it is woken meanwhile it is ready again, and has
//! another turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::*, fence};
use std::task::Waker;

use super::inbox::{Inbox, Message, OnItsWay};
use crate::base::id::Id;
use crate::base::place::{Place, Why};

/// All that others may know of a task: other threads too, and while the loop is stuck.
///
/// The atomics are written by the loop's thread alone, so they need no ordering; they are atomic so
/// that another thread may read them, and so that the record of an ended task can be used for a
/// new one. Only `in_inbox` is written by others too, and carries what they wrote before.
pub(crate) struct Record {
    /// The two halves of the task's id.
    index: AtomicU32,
    number: AtomicU32,
    name: Option<Box<Name>>,
    spawned_at: AtomicU32,
    /// The way to the task's loop from elsewhere. Its address also tells loops apart.
    inbox: Arc<Inbox>,
    in_inbox: OnItsWay,
    why: AtomicU8,
    /// The place of the `await`; for [`Why::Join`] the number of the task it waits for.
    place: AtomicU32,
    /// When it parked: milliseconds since the loop began, as of the loop's last look outside. The
    /// upper half counts spans of 49.7 days, of which sixteen bits hold enough.
    since: AtomicU32,
    since_upper: AtomicU16,
}

/// The name of a task. Most have none, so a record holds it behind a thin pointer.
pub(crate) struct Name(pub(crate) Box<str>);

impl Record {
    pub(crate) fn new(
        id: Id,
        name: Option<Box<Name>>,
        spawned_at: Place,
        inbox: Arc<Inbox>,
    ) -> Self {
        Record {
            index: AtomicU32::new(id.index),
            number: AtomicU32::new(id.number),
            name,
            spawned_at: AtomicU32::new(spawned_at.number()),
            inbox,
            in_inbox: OnItsWay::new(),
            why: AtomicU8::new(Why::Unknown as u8),
            place: AtomicU32::new(0),
            since: AtomicU32::new(0),
            since_upper: AtomicU16::new(0),
        }
    }

    /// Whether the record and `waker`, both of a task that has ended, can be those of a new one:
    /// nobody else holds the record, and it has no name.
    pub(crate) fn is_free(self: &Arc<Self>, waker: &Waker) -> bool {
        let is_its_own = waker.data().addr() == Arc::as_ptr(self).addr();
        let is_free = is_its_own && self.name.is_none() && Arc::strong_count(self) == 2;
        // Whoever let go of it last did so after its last wake.
        fence(Acquire);
        is_free
    }

    /// Makes the record of an ended task, which nobody else holds, that of a new one.
    pub(crate) fn reuse(&self, id: Id, spawned_at: Place) {
        self.index.store(id.index, Relaxed);
        self.number.store(id.number, Relaxed);
        self.spawned_at.store(spawned_at.number(), Relaxed);
        self.in_inbox.reset();
    }

    #[inline]
    pub(crate) fn id(&self) -> Id {
        Id { index: self.index.load(Relaxed), number: self.number.load(Relaxed) }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &*name.0)
    }

    pub(crate) fn spawned_at(&self) -> Place {
        Place::from_number(self.spawned_at.load(Relaxed))
    }

    /// What the task waits for, where, and since when (milliseconds of the loop's life).
    pub(crate) fn parked(&self) -> (Why, Place, u64) {
        let why = Why::from_code(self.why.load(Relaxed));
        let place = Place::from_number(self.place.load(Relaxed));
        let since_upper = u64::from(self.since_upper.load(Relaxed));
        (why, place, since_upper << 32 | u64::from(self.since.load(Relaxed)))
    }

    /// The turn ended with `Pending`.
    #[inline]
    pub(crate) fn set_parked(&self, why: Why, place: Place, since: u64) {
        self.why.store(why as u8, Relaxed);
        self.place.store(place.number(), Relaxed);
        self.since.store(since as u32, Relaxed);
        self.since_upper.store((since >> 32) as u16, Relaxed);
    }

    /// The loop has taken the wake message out of the inbox.
    pub(crate) fn leave_inbox(&self) {
        self.in_inbox.end();
    }

    #[inline]
    pub(super) fn lives_on_the_running_loop(&self) -> bool {
        self.inbox.is_of_the_running_loop()
    }

    #[cold]
    pub(super) fn wake_from_elsewhere(&self) {
        if self.in_inbox.begin() {
            self.inbox.send(Message::Wake(self.id()));
        }
    }
}
