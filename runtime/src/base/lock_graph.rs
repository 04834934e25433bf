//! TaskRef waits for which lock, and who holds it.
//!
//! This is kept only while somebody waits: a lock that nobody wants costs nothing here. It answers
//! what a report of a program that hangs has to say, and it sees a circle of locks at the moment
//! when it closes: a task ends its turn waiting for a lock whose holder waits, directly or through
//! others, for a lock that this task holds. None of them can go on then, however busy the rest of
//! the program is.
//!
//! That holds for a task that waits for the lock and for nothing else. One with several branches
//! (a `zip`, a `select`) may hold a lock in one and wait for it in another, and go on.

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

/// A task of a certain loop: an id alone says nothing about whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskRef {
    loop_address: usize,
    /// [`Id::NOBODY`] when it is no task.
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

/// The number of a lock for which somebody waits.
pub(crate) type Number = u64;

struct Wait {
    lock: Number,
    at: &'static Location<'static>,
    /// What the lock holds is the task's own waker, not one that somebody wrapped around it.
    by_its_own_waker: bool,
    /// The task's turn ended with nothing else to wait for.
    only: bool,
    /// A circle with this wait in it has been reported.
    reported: bool,
}

#[derive(Default)]
struct Locks {
    next: Number,
    holders: HashMap<Number, TaskRef>,
    /// When a task waits for several locks at once, the last one counts.
    waits: HashMap<TaskRef, Wait>,
}

thread_local! {
    static LOCKS: RefCell<Locks> = RefCell::default();
}

/// Looks at what is known, or changes it. While a thread ends nothing is known any more.
fn with_locks<R: Default>(visit: impl FnOnce(&mut Locks) -> R) -> R {
    LOCKS.try_with(|locks| visit(&mut locks.borrow_mut())).unwrap_or_default()
}

/// A lock for which somebody begins to wait, while nobody did before, gets a number.
pub(crate) fn add_lock(holder: TaskRef) -> Number {
    with_locks(|locks| {
        let number = locks.next;
        locks.next += 1;
        locks.holders.insert(number, holder);
        number
    })
}

/// Nobody waits for the lock any more.
pub(crate) fn remove_lock(lock: Number) {
    with_locks(|locks| locks.holders.remove(&lock));
}

/// Another task holds the lock from now on.
pub(crate) fn hand_over(lock: Number, holder: TaskRef) {
    with_locks(|locks| locks.holders.insert(lock, holder));
}

/// The running task waits for `lock` from now on.
pub(crate) fn add_wait(lock: Number, waker: &Waker, at: &'static Location<'static>) {
    let by_its_own_waker = turn::task_of(waker).is_some();
    let who = TaskRef::current();
    if !who.is_known() {
        return;
    }
    with_locks(|locks| {
        let before = locks.waits.remove(&who).filter(|before| before.lock == lock);
        let reported = before.is_some_and(|before| before.reported);
        locks.waits.insert(who, Wait { lock, at, by_its_own_waker, only: false, reported });
    });
}

/// The turn of `task` has ended because of a lock. If that closes a circle, a person is told.
#[cold]
pub(crate) fn turn_ended(task: Id) {
    let who = TaskRef::of(task);
    let circle = with_locks(|locks| {
        locks.waits.get_mut(&who)?.only = turn::parked_once();
        locks.new_circle(who)
    });
    if let Some(circle) = circle {
        warn(Warning::Locks(circle));
    }
}

/// Says that the turn ends because of the lock.
pub(crate) fn park(holder: TaskRef) {
    turn::park(Why::Lock, At::Place(Place::from_number(holder.task.number)));
}

/// `who` waits for the lock no more: it has it, or has given up.
pub(crate) fn remove_wait(who: TaskRef, lock: Number) {
    with_locks(|locks| {
        if locks.waits.get(&who).is_some_and(|wait| wait.lock == lock) {
            locks.waits.remove(&who);
        }
    });
}

/// The task of the running loop that holds the lock for which `task` waits, if that is known, and
/// the line that waits.
pub(crate) fn awaited_by(task: Id) -> Option<(Option<Id>, Place)> {
    with_locks(|locks| {
        let wait = locks.waits.get(&TaskRef::of(task))?;
        let holder = locks.holders.get(&wait.lock).copied();
        let known =
            holder.filter(|holder| *holder == TaskRef::of(holder.task) && holder.is_known());
        Some((known.map(|holder| holder.task), Place::of(wait.at)))
    })
}

/// A task that waits for another's end, or for its lock, is recorded with that one's number for a
/// place.
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
    with_locks(|locks| {
        locks.waits.get(&TaskRef::of(task)).is_some_and(|wait| wait.by_its_own_waker)
    })
}

impl Locks {
    /// What to say when `first` waits in a circle of which nothing has been said.
    fn new_circle(&mut self, first: TaskRef) -> Option<String> {
        let circle = self.circle(first)?;
        let mut is_new = false;
        for who in &circle {
            let reported = &mut self.waits.get_mut(who)?.reported;
            is_new |= !std::mem::replace(reported, true);
        }
        is_new.then(|| self.tell_of(&circle))
    }

    /// The tasks of which each waits for a lock that the next one holds, from `first` to `first`.
    fn circle(&self, first: TaskRef) -> Option<Vec<TaskRef>> {
        let mut circle = vec![first];
        // No circle is longer than there are tasks that wait.
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

    fn tell_of(&self, circle: &[TaskRef]) -> String {
        if let [alone] = circle {
            let (task, at) = (alone.task, self.place_of(alone));
            return format!(
                "popleft: task {task} waits at {at} for a lock that it holds itself; unless it \
                 gives up, it cannot go on\n"
            );
        }
        let mut text = format!("popleft: a circle of locks: task {}", circle[0].task);
        for (step, who) in circle.iter().enumerate() {
            let holder = circle[(step + 1) % circle.len()].task;
            let (and, at) = (if step == 0 { "" } else { ", which" }, self.place_of(who));
            let _ = write!(text, "{and} waits at {at} for a lock held by task {holder}");
        }
        text + "; unless one of them gives up, none of them can go on\n"
    }

    fn place_of(&self, who: &TaskRef) -> Place {
        self.waits.get(who).map_or(Place::UNKNOWN, |wait| Place::of(wait.at))
    }
}
