//! The wait-for graph of locks: which task waits for which lock, and which task holds it.
//!
//! A lock is in the graph only while a task waits for it: a lock without contention costs nothing
//! here. The graph serves the report for a program that hangs, and it finds a circle at the moment
//! it closes: a task ends its turn waiting for a lock whose holder waits, directly or through
//! others, for a lock that this task holds. Then none of them can go on, however busy the rest of
//! the program is.
//!
//! This is only true of a task that waits for the lock and for nothing else. One with several
//! branches (a `zip`, a `select`) may hold a lock in one and wait for it in another, and go on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::task::Waker;

use super::event::Event;
use super::id::Id;
use super::place::{Place, Why};
use super::turn::{self, At};
use super::warning::{Warning, warn};

/// A task together with its loop, since ids are unique only within one loop.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskRef {
    loop_address: usize,
    /// [`Id::NOBODY`] outside of any task.
    pub(crate) task: Id,
}

impl TaskRef {
    /// The task whose turn it is.
    pub(crate) fn current() -> TaskRef {
        TaskRef { loop_address: turn::running_loop(), task: turn::task() }
    }

    fn of(task: Id) -> TaskRef {
        TaskRef { loop_address: turn::running_loop(), task }
    }

    fn is_known(self) -> bool {
        self.task != Id::NOBODY
    }
}

/// The number of a lock while it is in the graph.
pub(crate) type Number = u64;

struct Wait {
    lock: Number,
    at: &'static Location<'static>,
    /// The lock holds the task's own waker, not one that a combinator has wrapped around it.
    by_its_own_waker: bool,
    /// The task's turn ended waiting for nothing else.
    only: bool,
    /// A circle that contains this wait has been reported.
    reported: bool,
}

#[derive(Default)]
struct WaitForGraph {
    next: Number,
    holders: HashMap<Number, TaskRef>,
    /// When a task waits for several locks at once, the last one counts.
    waits: HashMap<TaskRef, Wait>,
}

thread_local! {
    static GRAPH: RefCell<WaitForGraph> = RefCell::default();
}

/// Reads or changes this thread's graph. While the thread ends there is none any more.
fn with_graph<R: Default>(visit: impl FnOnce(&mut WaitForGraph) -> R) -> R {
    GRAPH.try_with(|graph| visit(&mut graph.borrow_mut())).unwrap_or_default()
}

/// Adds a lock that has got its first waiter.
pub(crate) fn add_lock(holder: TaskRef) -> Number {
    with_graph(|graph| {
        let number = graph.next;
        graph.next += 1;
        graph.holders.insert(number, holder);
        number
    })
}

/// Removes a lock that has no waiters any more.
pub(crate) fn remove_lock(lock: Number) {
    with_graph(|graph| graph.holders.remove(&lock));
}

/// The lock has a new holder.
pub(crate) fn hand_over(lock: Number, holder: TaskRef) {
    with_graph(|graph| graph.holders.insert(lock, holder));
}

/// The running task starts to wait for `lock`.
pub(crate) fn add_wait(lock: Number, waker: &Waker, at: &'static Location<'static>) {
    let by_its_own_waker = turn::task_of(waker).is_some();
    let waiter = TaskRef::current();
    if !waiter.is_known() {
        return;
    }
    with_graph(|graph| {
        let before = graph.waits.remove(&waiter).filter(|before| before.lock == lock);
        let reported = before.is_some_and(|before| before.reported);
        graph.waits.insert(waiter, Wait { lock, at, by_its_own_waker, only: false, reported });
    });
}

/// The turn of `task` has ended waiting for a lock. If that closes a circle, prints a warning.
#[cold]
pub(crate) fn turn_ended(task: Id) {
    let waiter = TaskRef::of(task);
    let circle = with_graph(|graph| {
        graph.waits.get_mut(&waiter)?.only = turn::parked_once();
        graph.new_circle(waiter)
    });
    if let Some(circle) = circle {
        warn(Warning::Locks(circle));
    }
}

/// Notes that the turn ends because of the lock.
pub(crate) fn park(holder: TaskRef) {
    turn::park(Why::Lock, At::Place(Place::from_number(holder.task.number)));
}

/// `waiter` has got the lock, or has given up.
pub(crate) fn remove_wait(waiter: TaskRef, lock: Number) {
    with_graph(|graph| {
        if graph.waits.get(&waiter).is_some_and(|wait| wait.lock == lock) {
            graph.waits.remove(&waiter);
        }
    });
}

/// The task of the running loop that holds the lock for which `task` waits, if known, and the line
/// of the `await`.
pub(crate) fn awaited_by(task: Id) -> Option<(Option<Id>, Place)> {
    with_graph(|graph| {
        let wait = graph.waits.get(&TaskRef::of(task))?;
        let holder = graph.holders.get(&wait.lock).copied();
        let known =
            holder.filter(|holder| *holder == TaskRef::of(holder.task) && holder.is_known());
        Some((known.map(|holder| holder.task), Place::of(wait.at)))
    })
}

/// The event for a task that has parked. For a join or a lock, `at` holds the number of the awaited
/// task instead of a place.
pub(crate) fn pending(task: Id, why: Why, at: Place) -> Event {
    let (on, at) = match why {
        Why::Join => (Some(at.number()), Place::UNKNOWN),
        Why::Lock => match awaited_by(task) {
            Some((holder, at)) => (holder.map(Id::number), at),
            None => (None, Place::UNKNOWN),
        },
        _ => (None, at),
    };
    Event::Pending { task, why, on, at }
}

/// Whether a lock holds the waker of `task`, a task of the running loop.
pub(crate) fn has_waker_of(task: Id) -> bool {
    with_graph(|graph| {
        graph.waits.get(&TaskRef::of(task)).is_some_and(|wait| wait.by_its_own_waker)
    })
}

impl WaitForGraph {
    /// A description of the circle in which `first` waits, unless it has been reported.
    fn new_circle(&mut self, first: TaskRef) -> Option<String> {
        let circle = self.circle(first)?;
        let mut is_new = false;
        for waiter in &circle {
            let reported = &mut self.waits.get_mut(waiter)?.reported;
            is_new |= !std::mem::replace(reported, true);
        }
        is_new.then(|| self.describe(&circle))
    }

    /// The tasks of which each waits for a lock that the next one holds, from `first` to `first`.
    fn circle(&self, first: TaskRef) -> Option<Vec<TaskRef>> {
        let mut circle = vec![first];
        // No circle is longer than the number of waiting tasks.
        while circle.len() <= self.waits.len() {
            let wait = self.waits.get(circle.last()?)?;
            if !(wait.only && wait.by_its_own_waker) {
                return None;
            }
            let holder = *self.holders.get(&wait.lock)?;
            if holder == first {
                return Some(circle);
            }
            circle.push(holder);
        }
        None
    }

    fn describe(&self, circle: &[TaskRef]) -> String {
        if let [alone] = circle {
            let (task, at) = (alone.task, self.place_of(alone));
            return format!(
                "popleft: task {task} waits at {at} for a lock that it holds itself; unless it \
                 gives up, it cannot go on\n"
            );
        }
        let mut text = format!("popleft: a circle of locks: task {}", circle[0].task);
        for (step, waiter) in circle.iter().enumerate() {
            let holder = circle[(step + 1) % circle.len()].task;
            let (and, at) = (if step == 0 { "" } else { ", which" }, self.place_of(waiter));
            let _ = write!(text, "{and} waits at {at} for a lock held by task {holder}");
        }
        text + "; unless one of them gives up, none of them can go on\n"
    }

    fn place_of(&self, waiter: &TaskRef) -> Place {
        self.waits.get(waiter).map_or(Place::UNKNOWN, |wait| Place::of(wait.at))
    }
}
