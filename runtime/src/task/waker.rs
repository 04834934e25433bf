//! A task's public record, which is also what wakes it.
//!
//! `std::task::Wake` turns an `Arc` of anything into a `Waker`, so the record and the waker are one
//! allocation. Waking on the loop's own thread is a push to the deque. Waking from any other place
//! (another thread, or this one while the loop is not running) goes through the inbox.
//!
//! The state of a task, and who moves it on:
//!
//! ```text
//!            wake                its turn               wake (by itself, say)
//!   Parked --------> Ready -------------------> Running -------> RunningWoken
//!     ^                ^                         |    |              |
//!     |                |   +---------------------+    | Ready(..)    |
//!     +----------------|---+  Pending                 v              |
//!                      |                            Ended            |
//!                      +---------------------------------------------+
//!                                         Pending
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::*};
use std::task::Wake;

use super::Id;
use super::deque::{Inbox, Message};
use crate::event::{Place, Why};
use crate::event_loop;
use crate::turn;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// It waits to be woken.
    Parked,
    /// It stands in the deque.
    Ready,
    /// It has its turn.
    Running,
    /// It has its turn and stands in the deque for the next one already.
    RunningWoken,
    /// It has ended; waking it does nothing.
    Ended,
}

impl State {
    fn from_code(code: u8) -> State {
        match code {
            0 => State::Parked,
            1 => State::Ready,
            2 => State::Running,
            3 => State::RunningWoken,
            _ => State::Ended,
        }
    }
}

/// All that others may know of a task: other threads too, and while the loop is stuck.
///
/// The atomics are written by the loop's thread alone (but for `in_inbox`), so they need no
/// ordering; they are atomic so that another thread may read them.
pub(crate) struct Record {
    id: Id,
    name: Option<Box<Name>>,
    spawned_at: Place,
    /// The way to the task's loop from elsewhere. Its address also tells loops apart.
    inbox: Arc<Inbox>,
    state: AtomicU8,
    /// A wake message lies in the inbox; a second one would say nothing new.
    in_inbox: AtomicBool,
    why: AtomicU8,
    /// The place of the `await`; for [`Why::Join`] the number of the task it waits for.
    place: AtomicU32,
    /// When it parked: milliseconds since the loop began, as of the loop's last look outside.
    since: AtomicU32,
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
            id,
            name,
            spawned_at,
            inbox,
            state: AtomicU8::new(State::Ready as u8),
            in_inbox: AtomicBool::new(false),
            why: AtomicU8::new(Why::Unknown as u8),
            place: AtomicU32::new(0),
            since: AtomicU32::new(0),
        }
    }

    /// Makes the record of an ended task that of a new one. Only the last owner can.
    pub(crate) fn reuse(&mut self, id: Id, name: Option<Box<Name>>, spawned_at: Place) {
        self.id = id;
        self.name = name;
        self.spawned_at = spawned_at;
        *self.state.get_mut() = State::Ready as u8;
        *self.in_inbox.get_mut() = false;
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &*name.0)
    }

    pub(crate) fn spawned_at(&self) -> Place {
        self.spawned_at
    }

    pub(crate) fn state(&self) -> State {
        State::from_code(self.state.load(Relaxed))
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// What the task waits for, where, and since when (milliseconds of the loop's life).
    pub(crate) fn parked(&self) -> (Why, Place, u32) {
        let why = Why::from_code(self.why.load(Relaxed));
        let place = Place::from_number(self.place.load(Relaxed));
        (why, place, self.since.load(Relaxed))
    }

    /// The turn ended with `Pending`.
    pub(crate) fn set_parked(&self, why: Why, place: Place, since: u32) {
        self.why.store(why as u8, Relaxed);
        self.place.store(place.number(), Relaxed);
        self.since.store(since, Relaxed);
        let next = match self.state() {
            State::RunningWoken => State::Ready,
            _ => State::Parked,
        };
        self.set_state(next);
    }

    /// Moves the state on as a wake does. True when the task has to be put into the deque: it was
    /// not there, and has not ended.
    #[inline]
    pub(crate) fn mark_woken(&self) -> bool {
        let next = match self.state() {
            State::Parked => State::Ready,
            State::Running => State::RunningWoken,
            State::Ready | State::RunningWoken | State::Ended => return false,
        };
        self.set_state(next);
        true
    }

    /// The loop has taken the wake message out of the inbox.
    ///
    /// A swap, not a store: a thread that found the flag set and left it at that wrote its data
    /// before, and the task that is woken now must see them.
    pub(crate) fn leave_inbox(&self) {
        self.in_inbox.swap(false, AcqRel);
    }

    #[inline]
    fn lives_on_the_running_loop(&self) -> bool {
        turn::running_loop() == Arc::as_ptr(&self.inbox).addr()
    }

    #[cold]
    fn wake_from_elsewhere(&self) {
        if !self.in_inbox.swap(true, AcqRel) {
            self.inbox.send(Message::Wake(self.id));
        }
    }
}

impl Wake for Record {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.lives_on_the_running_loop() {
            return self.wake_from_elsewhere();
        }
        if self.mark_woken() {
            event_loop::push_back(self.id);
        }
    }
}
