//! The state of the current turn on this thread: which loop, which task, and how the turn ends.
//!
//! Leaf futures need a little of this at every `await`: does the task have budget left? If it parks,
//! why and where? They should not depend on the loop for that, so it is kept here, in plain
//! thread-local cells without destructors: reading one is a load.

use std::cell::Cell;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use super::access::{self, Object};
use super::event::Cause;
use super::id::Id;
use super::place::{Place, Why};

/// How many operations that are ready at once a task may do in one turn. After that the next one
/// yields, so that a connection that always has data cannot starve the other tasks.
pub(crate) const BUDGET: u32 = 128;

/// The state of the current turn.
struct Turn {
    /// The address of the running loop's inbox; 0 when no loop runs here. One comparison with it
    /// decides whether a waker's task belongs to the loop that runs on this thread.
    running_loop: Cell<usize>,
    /// What runs now: the cause of the wakes that happen now.
    cause: Cell<Cause>,
    /// The waker that the running task is polled with, by its [`identity`].
    own_waker: Cell<(usize, usize)>,
    /// The task has yielded: it wants another turn without being woken.
    yielded: Cell<bool>,
    /// What is left of [`BUDGET`].
    operations_left: Cell<u32>,
    /// Why and where the last leaf future returned `Pending`.
    why: Cell<Why>,
    at: Cell<At>,
    /// How many leaf futures have returned `Pending`.
    parks: Cell<u32>,
}

/// Where a turn ended. Most locations are never looked at, so the number of a line is computed late.
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

/// In place of a loop's address: a simulated job. No loop is current, and blocking is forbidden.
pub(crate) const NO_LOOP_HERE: usize = 1;

thread_local! {
    static TURN: Turn = const {
        Turn {
            running_loop: Cell::new(0),
            cause: Cell::new(Cause::Outside),
            own_waker: Cell::new((0, 0)),
            yielded: Cell::new(false),
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

/// Sets the loop that runs on this thread; returns the one before.
pub(crate) fn set_running_loop(address: usize) -> usize {
    TURN.with(|turn| turn.running_loop.replace(address))
}

/// A turn begins: a full budget, and no reason to park yet.
#[inline]
pub(crate) fn begin(task: Id) {
    TURN.with(|turn| {
        turn.cause.set(Cause::Task(task));
        turn.yielded.set(false);
        turn.operations_left.set(BUDGET);
        turn.why.set(Why::Unknown);
        turn.at.set(At::Place(Place::UNKNOWN));
        turn.parks.set(0);
    });
}

/// Sets what causes the wakes from now on, outside of turns.
#[inline]
pub(crate) fn set_cause(cause: Cause) {
    TURN.with(|turn| turn.cause.set(cause));
}

/// What causes the wakes that happen now.
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

/// The task whose turn it is; `None` outside of any.
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

/// The running task is being cancelled, not polled. No waker is its own, not even the one with which
/// the task before it was polled.
#[inline]
pub(crate) fn forget_own_waker() {
    TURN.with(|turn| turn.own_waker.set((0, 0)));
}

/// The running task, if `waker` is its own and not one that a combinator has wrapped around it.
#[inline]
pub(crate) fn task_of(waker: &Waker) -> Option<Id> {
    TURN.with(|turn| match turn.cause.get() {
        Cause::Task(task) if turn.own_waker.get() == identity(waker) => Some(task),
        _ => None,
    })
}

/// The addresses of a waker's data and vtable.
#[inline]
fn identity(waker: &Waker) -> (usize, usize) {
    let table = std::ptr::from_ref(waker.vtable());
    (waker.data().addr(), table.addr())
}

/// For a leaf future that only wants to be polled again, after all tasks that are ready now.
#[inline]
pub(crate) fn yield_turn(waker: &Waker) {
    match task_of(waker) {
        Some(_) => TURN.with(|turn| turn.yielded.set(true)),
        None => waker.wake_by_ref(),
    }
}

/// Whether the task yielded in the turn that just ended.
#[inline]
pub(crate) fn has_yielded() -> bool {
    TURN.with(|turn| turn.yielded.get())
}

/// For a leaf future that is about to return `Pending`: what it waits for, and where.
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

/// [`park`] for a leaf future that knows the line of its `await`.
#[inline]
pub(crate) fn park_at(why: Why, location: &'static Location<'static>) {
    park(why, At::Line(location));
}

/// Why and where the turn that just ended parked.
#[inline]
pub(crate) fn parked() -> (Why, At) {
    TURN.with(|turn| (turn.why.get(), turn.at.get()))
}

/// Whether exactly one leaf future of the runtime returned `Pending` in the turn that just ended.
#[inline]
pub(crate) fn parked_once() -> bool {
    TURN.with(|turn| turn.parks.get() == 1)
}

/// Takes one operation from the task's budget. `Pending` when the budget is used up: the task
/// continues in its next turn.
///
/// Every operation of `net` and `time` that may be ready at once calls this first.
#[inline]
pub(crate) fn consume_budget(cx: &Context<'_>) -> Poll<()> {
    access::record_write(Object::Anything);
    consume_budget_untracked(cx)
}

/// [`consume_budget`] for an operation that records by itself what it accesses.
#[inline]
pub(crate) fn consume_budget_untracked(cx: &Context<'_>) -> Poll<()> {
    let left = TURN.with(|turn| {
        let left = turn.operations_left.get();
        turn.operations_left.set(left.saturating_sub(1));
        left
    });
    // Under another executor there are no turns, and no budget.
    if left > 0 || task() == Id::NOBODY {
        return Poll::Ready(());
    }
    yield_turn(cx.waker());
    park(Why::Yield, At::Place(Place::UNKNOWN));
    Poll::Pending
}
