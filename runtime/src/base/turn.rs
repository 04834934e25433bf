//! What is going on on this thread right now: whose loop, whose turn, and how the turn ends.
//!
//! The rooms above the machine need a little of this at every `await`: may this task go on, or has
//! it had its share? If it parks, why and where? They must not know the loop for that, so it lies
//! here, in plain thread-local cells without destructors: reading one is a load.

use std::cell::Cell;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use super::access::{self, Object};
use super::event::Cause;
use super::id::Id;
use super::place::{Place, Why};

/// How many operations that were ready at once a task may do in one turn. After that the next one
/// yields, so that a connection that always has data cannot keep the loop for itself.
pub(crate) const BUDGET: u32 = 128;

/// The state of the turn that is being taken on this thread.
struct Turn {
    /// The address of the running loop's inbox; 0 when no loop runs here. It tells a waker in one
    /// comparison whether the task that it wakes lives on this thread's running loop.
    running_loop: Cell<usize>,
    /// What is going on, for whoever asks what woke a task.
    cause: Cell<Cause>,
    /// The waker that the running task is polled with, as the addresses of its two identity.
    own_waker: Cell<(usize, usize)>,
    /// The task has not finished its turn, and wants another one without being woken.
    again: Cell<bool>,
    operations_left: Cell<u32>,
    why: Cell<Why>,
    at: Cell<At>,
    /// How many leaf futures have returned `Pending`.
    parks: Cell<u32>,
}

/// Where a turn ended. Most turns that end at a line are over before anybody asks for its number.
#[derive(Clone, Copy)]
pub(crate) enum At {
    Line(&'static Location<'static>),
    Place(Place),
}

impl At {
    #[inline]
    pub(crate) fn place(self) -> Place {
        match self {
            At::Line(location) => Place::of(location),
            At::Place(place) => place,
        }
    }
}

/// In place of a loop's address: this thread runs a loop, but what is being done is none of it.
pub(crate) const NO_LOOP_HERE: usize = 1;

thread_local! {
    static TURN: Turn = const {
        Turn {
            running_loop: Cell::new(0),
            cause: Cell::new(Cause::Outside),
            own_waker: Cell::new((0, 0)),
            again: Cell::new(false),
            operations_left: Cell::new(BUDGET),
            why: Cell::new(Why::Unknown),
            at: Cell::new(At::Place(Place::UNKNOWN)),
            parks: Cell::new(0),
        }
    };
}

/// The address of the running loop's inbox, 0 when no loop runs on this thread.
#[inline]
pub(crate) fn running_loop() -> usize {
    TURN.with(|turn| turn.running_loop.get())
}

/// Says which loop runs on this thread from now on; returns which one ran before.
pub(crate) fn set_running_loop(address: usize) -> usize {
    TURN.with(|turn| turn.running_loop.replace(address))
}

/// A turn begins: a full share of operations, and no reason to park yet.
#[inline]
pub(crate) fn begin(task: Id) {
    TURN.with(|turn| {
        turn.cause.set(Cause::Task(task));
        turn.again.set(false);
        turn.operations_left.set(BUDGET);
        turn.why.set(Why::Unknown);
        turn.at.set(At::Place(Place::UNKNOWN));
        turn.parks.set(0);
    });
}

/// Says what is going on, outside a turn.
#[inline]
pub(crate) fn set_cause(cause: Cause) {
    TURN.with(|turn| turn.cause.set(cause));
}

/// What is going on.
#[inline]
pub(crate) fn cause() -> Cause {
    TURN.with(|turn| turn.cause.get())
}

/// The task whose turn it is; [`Id::NOBODY`] outside of any.
#[inline]
pub(crate) fn task() -> Id {
    match cause() {
        Cause::Task(task) => task,
        _ => Id::NOBODY,
    }
}

/// The task whose turn it is, if there is one.
pub(crate) fn task_if_any() -> Option<Id> {
    match cause() {
        Cause::Task(task) => Some(task),
        _ => None,
    }
}

/// The running task is about to be polled with `waker`.
#[inline]
pub(crate) fn set_own_waker(waker: &Waker) {
    TURN.with(|turn| turn.own_waker.set(identity(waker)));
}

/// The running task is not polled: it is cancelled. No waker is its own, also not the one that the
/// task before was polled with.
#[inline]
pub(crate) fn forget_own_waker() {
    TURN.with(|turn| turn.own_waker.set((0, 0)));
}

/// The running task, if `waker` is its own and not one that somebody between has wrapped around it.
#[inline]
pub(crate) fn task_of(waker: &Waker) -> Option<Id> {
    TURN.with(|turn| match turn.cause.get() {
        Cause::Task(task) if turn.own_waker.get() == identity(waker) => Some(task),
        _ => None,
    })
}

#[inline]
fn identity(waker: &Waker) -> (usize, usize) {
    let table = std::ptr::from_ref(waker.vtable());
    (waker.data().addr(), table.addr())
}

/// A leaf future only wants to be polled again, after all who are ready now.
#[inline]
pub(crate) fn yield_turn(waker: &Waker) {
    match task_of(waker) {
        Some(_) => TURN.with(|turn| turn.again.set(true)),
        None => waker.wake_by_ref(),
    }
}

/// Whether the turn that just ended wants another one.
#[inline]
pub(crate) fn has_yielded() -> bool {
    TURN.with(|turn| turn.again.get())
}

/// A leaf future is about to return `Pending`: this is what it waits for, and where.
///
/// When several of them wait in one turn (a timeout around a read), the last one counts.
#[inline]
pub(crate) fn park(why: Why, at: At) {
    TURN.with(|turn| {
        turn.why.set(why);
        turn.at.set(at);
        turn.parks.set(turn.parks.get() + 1);
    });
}

/// The same for a leaf future that knows the line of its `await`.
#[inline]
pub(crate) fn park_at(why: Why, location: &'static Location<'static>) {
    park(why, At::Line(location));
}

/// Why and where the turn that just ended parked.
#[inline]
pub(crate) fn parked() -> (Why, At) {
    TURN.with(|turn| (turn.why.get(), turn.at.get()))
}

/// Whether the turn that just ended waits for one thing only, as far as leaf futures say.
#[inline]
pub(crate) fn parked_once() -> bool {
    TURN.with(|turn| turn.parks.get() == 1)
}

/// Asks for one operation of the task's share. `Pending` when the share is used up: the task goes
/// on in its next turn.
///
/// Every operation of `net` and `time` that may be ready at once asks here first.
#[inline]
pub(crate) fn consume_budget(cx: &Context<'_>) -> Poll<()> {
    access::record_write(Object::Anything);
    consume_budget_untracked(cx)
}

/// The same for an operation that says by itself what it touches.
#[inline]
pub(crate) fn consume_budget_untracked(cx: &Context<'_>) -> Poll<()> {
    let left = TURN.with(|turn| {
        let left = turn.operations_left.get();
        turn.operations_left.set(left.saturating_sub(1));
        left
    });
    // Under somebody else's executor there are no turns, and no shares.
    if left > 0 || task() == Id::NOBODY {
        return Poll::Ready(());
    }
    yield_turn(cx.waker());
    park(Why::Yield, At::Place(Place::UNKNOWN));
    Poll::Pending
}
