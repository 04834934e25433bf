//! A task's public record, which is also its waker.
//!
//! `std::task::Wake` turns an `Arc` of anything into a `Waker`, so the record and the waker are one
//! allocation. Waking on the loop's own thread is a push to the deque. Waking from any other place
//! (another thread, or this one while the loop is not running) goes through the inbox.
//!
//! The states of a task, and what changes them:
//!
//! ```text
//!                 woken                     its turn ends with Ready(..)
//!     Waiting <-----------> Ready             Waiting -----> Ended
//!             its turn begins
//! ```
//!
//! During its turn a task counts as waiting: if it is woken meanwhile, it is ready again and gets
//! another turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::*, fence};
use std::task::Waker;

use super::inbox::{Inbox, Message, WakeInFlight};
use crate::base::id::Id;
use crate::base::place::{Place, Why};

/// What is known about a task without its future: its id, its name, where and why it waits.
///
/// Wakers share it between threads, so its fields are atomics; they change when the record of an
/// ended task is reused for a new one. Only the loop's thread writes them, so they need no ordering,
/// except for `in_inbox`: other threads set it, after they have written the data that the task is
/// woken for.
pub(crate) struct Record {
    /// The two halves of the task's id.
    index: AtomicU32,
    number: AtomicU32,
    name: Option<Box<Name>>,
    spawned_at: AtomicU32,
    /// The inbox of the task's loop, for wakes from elsewhere. Its address identifies the loop.
    inbox: Arc<Inbox>,
    /// Set by the waker that sends the wake message, cleared by the loop when it takes the message.
    in_inbox: WakeInFlight,
    why: AtomicU8,
    /// The place of the `await`; for [`Why::Join`] the number of the awaited task.
    place: AtomicU32,
    /// When it parked: milliseconds since the loop started, as of the loop's last look outside. The
    /// upper part counts periods of 49.7 days, for which sixteen bits are enough.
    since_ms: AtomicU32,
    since_ms_upper: AtomicU16,
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
            in_inbox: WakeInFlight::new(),
            why: AtomicU8::new(Why::Unknown as u8),
            place: AtomicU32::new(0),
            since_ms: AtomicU32::new(0),
            since_ms_upper: AtomicU16::new(0),
        }
    }

    /// Whether the record and `waker`, both of a task that has ended, can be reused for a new one:
    /// there is no other reference to the record, and it has no name.
    pub(crate) fn is_free(self: &Arc<Self>, waker: &Waker) -> bool {
        let is_its_own = waker.data().addr() == Arc::as_ptr(self).addr();
        let is_free = is_its_own && self.name.is_none() && Arc::strong_count(self) == 2;
        // Pairs with the release of the last other reference, which came after its last wake.
        fence(Acquire);
        is_free
    }

    /// Reuses the record of an ended task, to which there is no other reference, for a new one.
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

    /// What the task waits for, where, and since when, in milliseconds since the loop started.
    pub(crate) fn parked(&self) -> (Why, Place, u64) {
        let why = Why::from_code(self.why.load(Relaxed));
        let place = Place::from_number(self.place.load(Relaxed));
        let since_ms_upper = u64::from(self.since_ms_upper.load(Relaxed));
        (why, place, since_ms_upper << 32 | u64::from(self.since_ms.load(Relaxed)))
    }

    /// The turn ended with `Pending`.
    #[inline]
    pub(crate) fn set_parked(&self, why: Why, place: Place, since_ms: u64) {
        self.why.store(why as u8, Relaxed);
        self.place.store(place.number(), Relaxed);
        self.since_ms.store(since_ms as u32, Relaxed);
        self.since_ms_upper.store((since_ms >> 32) as u16, Relaxed);
    }

    /// The loop has taken the task's wake message out of the inbox.
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
