//! Who waits for which lock, and who holds it.
//!
//! This is kept only while somebody waits: a lock that nobody wants costs nothing here. It answers
//! what a report of a program that hangs has to say, and it sees a circle of locks at the moment
//! when it closes: a task begins to wait for a lock whose holder waits, directly or through
//! others, for a lock that this task holds. None of them can go on then, however busy the rest of
//! the program is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::Location;
use std::task::Waker;

use crate::event::{Place, Warning, Why, warn};
use crate::task::Id;
use crate::turn::{self, At};

/// A task of a certain loop: an id alone says nothing about whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Who {
    loop_address: usize,
    /// [`Id::NOBODY`] when it is no task.
    pub(crate) task: Id,
}

impl Who {
    /// The task whose turn it is.
    pub(crate) fn is_running() -> Who {
        Who { loop_address: turn::running_loop(), task: turn::task() }
    }

    fn of(task: Id) -> Who {
        Who { loop_address: turn::running_loop(), task }
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
}

#[derive(Default)]
struct Locks {
    next: Number,
    holders: HashMap<Number, Who>,
    /// When a task waits for several locks at once, the last one counts.
    waits: HashMap<Who, Wait>,
}

thread_local! {
    static LOCKS: RefCell<Locks> = RefCell::default();
}

/// A lock for which somebody begins to wait, while nobody did before, gets a number.
pub(crate) fn begin(holder: Who) -> Number {
    LOCKS.with(|locks| {
        let mut locks = locks.borrow_mut();
        let number = locks.next;
        locks.next += 1;
        locks.holders.insert(number, holder);
        number
    })
}

/// Nobody waits for the lock any more.
pub(crate) fn end(lock: Number) {
    let _ = LOCKS.try_with(|locks| locks.borrow_mut().holders.remove(&lock));
}

/// Another task holds the lock from now on.
pub(crate) fn hand_over(lock: Number, holder: Who) {
    let _ = LOCKS.try_with(|locks| locks.borrow_mut().holders.insert(lock, holder));
}

/// The running task waits for `lock` from now on. If that closes a circle, a person is told.
pub(crate) fn wait(lock: Number, waker: &Waker, at: &'static Location<'static>) {
    let by_its_own_waker = turn::task_of(waker).is_some();
    let who = Who::is_running();
    if !who.is_known() {
        return;
    }
    let circle = LOCKS.with(|locks| {
        let mut locks = locks.borrow_mut();
        let before = locks.waits.insert(who, Wait { lock, at, by_its_own_waker });
        let is_new = before.is_none_or(|before| before.lock != lock);
        is_new.then(|| locks.circle(who)).flatten()
    });
    if let Some(circle) = circle {
        warn(Warning::Locks(circle));
    }
}

/// Says that the turn ends because of the lock.
pub(crate) fn park(holder: Who) {
    turn::park(Why::Lock, At::Place(Place::from_number(holder.task.number)));
}

/// `who` waits for the lock no more: it has it, or has given up.
pub(crate) fn stop_waiting(who: Who, lock: Number) {
    let _ = LOCKS.try_with(|locks| {
        let mut locks = locks.borrow_mut();
        if locks.waits.get(&who).is_some_and(|wait| wait.lock == lock) {
            locks.waits.remove(&who);
        }
    });
}

/// The task of the running loop that holds the lock for which `task` waits, if that is known, and
/// the line that waits.
pub(crate) fn awaited_by(task: Id) -> Option<(Option<Id>, Place)> {
    LOCKS.with(|locks| {
        let locks = locks.borrow();
        let wait = locks.waits.get(&Who::of(task))?;
        let holder = locks.holders.get(&wait.lock).copied();
        let known = holder.filter(|holder| *holder == Who::of(holder.task) && holder.is_known());
        Some((known.map(|holder| holder.task), Place::of(wait.at)))
    })
}

/// Whether a lock holds the waker of `task`, a task of the running loop.
pub(crate) fn has_waker_of(task: Id) -> bool {
    LOCKS.with(|locks| {
        locks.borrow().waits.get(&Who::of(task)).is_some_and(|wait| wait.by_its_own_waker)
    })
}

impl Locks {
    /// What to say when `first` waits in a circle.
    fn circle(&self, first: Who) -> Option<String> {
        let mut text = format!("popleft: a circle of locks: task {}", first.task);
        let mut who = first;
        // No circle is longer than there are tasks that wait.
        for step in 0..self.waits.len() {
            let wait = self.waits.get(&who)?;
            let holder = *self.holders.get(&wait.lock)?;
            let (and, at) = (if step == 0 { "" } else { ", which" }, Place::of(wait.at));
            let _ = write!(text, "{and} waits at {at} for a lock held by task {}", holder.task);
            if holder == first {
                text += "; unless one of them gives up, none of them can go on\n";
                return Some(text);
            }
            who = holder;
        }
        None
    }
}
