//! The report for a program that hangs.
//!
//! Everybody meets this: every task waits, and nothing is left that could wake one. The loop can
//! know it. No task is ready, no deadline is set, nobody waits for a socket, no job owes a result:
//! then only a waker in somebody else's hands, or a [`Handle`](crate::Handle), could change
//! anything. If there is none, nothing will ever happen, and the loop says so at once and ends. If
//! there is one, another thread may use it; when that takes longer than a second, the same report
//! is printed once, and the loop goes on hoping. In a simulation there are no other threads, and
//! so no hope: it is always certain.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Place, Warning, Why, warn};
use crate::event_loop::EventLoop;
use crate::locks;
use crate::task::Id;
use crate::task::waker::Record;
use crate::world::Until;

/// How long the loop hopes for another thread before it says that it does.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the loop remembers of its hopes.
#[derive(Default)]
pub(crate) struct Hope {
    /// Another thread has sent something since the last check.
    heard: Cell<bool>,
    /// When to check next. Set once for many sleeps, so that hoping costs no system calls.
    check_at: Cell<Option<Instant>>,
    /// The report has been printed. It is not printed twice: if another thread woke somebody after
    /// the first, the program is one that waits for other threads.
    told: Cell<bool>,
    /// Who waited for what when it was certain that nothing could happen.
    found: RefCell<Option<Deadlock>>,
}

impl Hope {
    pub(crate) fn heard_from_outside(&self) {
        self.heard.set(true);
    }

    /// What was found when the loop gave up.
    pub(crate) fn take_found(&self) -> Option<Deadlock> {
        self.found.take()
    }
}

/// Nothing is known that could happen. How long to wait for the unknown; `None` if there is no
/// hope.
pub(crate) fn how_long_to_hope(event_loop: &EventLoop) -> Option<Until> {
    let hope = &event_loop.hope;
    if hope.told.get() {
        return Some(Until::Forever);
    }
    // The first time there is no need to wait before one looks for wakers. After that it is done
    // once a second at most: it looks at every task.
    let check_at = hope.check_at.get();
    if let Some(check_at) = check_at
        && event_loop.looked_at() < check_at
    {
        return Some(Until::Deadline(check_at));
    }
    if !somebody_could_wake_a_task(event_loop) {
        print_report(event_loop, Verdict::Certain);
        return None;
    }
    if check_at.is_some() && !hope.heard.get() {
        print_report(event_loop, Verdict::Likely);
        hope.told.set(true);
        return Some(Until::Forever);
    }
    hope.heard.set(false);
    let next = event_loop.now() + PATIENCE;
    hope.check_at.set(Some(next));
    Some(Until::Deadline(next))
}

fn somebody_could_wake_a_task(event_loop: &EventLoop) -> bool {
    event_loop.ready.world().has_other_threads()
        && (Arc::strong_count(&event_loop.handles) > 1 || event_loop.tasks.wakers_are_elsewhere())
}

enum Verdict {
    /// Nothing can ever happen.
    Certain,
    /// Somebody holds a waker and has not used it for a while.
    Likely,
}

fn print_report(event_loop: &EventLoop, verdict: Verdict) {
    let deadlock = Deadlock::of(event_loop);
    warn(Warning::Stall(report(&deadlock, &verdict)));
    if let Verdict::Certain = verdict {
        event_loop.hope.found.replace(Some(deadlock));
    }
}

fn report(deadlock: &Deadlock, verdict: &Verdict) -> String {
    let first = match deadlock.tasks.len() {
        1 => "the only task is parked",
        _ => "every task is parked",
    };
    let then = match verdict {
        Verdict::Certain => ", and nothing is left that could wake one:\n",
        Verdict::Likely => {
            ", and for a second no other thread has woken one \
             (one could: somebody holds a waker or a handle):\n"
        }
    };
    format!("popleft: {first}{then}{deadlock}")
}

// ===== who waits for what =======================================================================

/// Who waits for what when nothing can happen any more.
///
/// It prints as a list of the tasks, and the circle below if there is one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Deadlock {
    /// All tasks that have not ended, in the order in which they were spawned.
    pub tasks: Vec<Waiting>,
    /// Tasks of which each waits for the next one, and the last one for the first: for its end, or
    /// for a lock that it holds. Empty when there is no such circle.
    pub circle: Vec<Id>,
}

/// One task of a [`Deadlock`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Waiting {
    /// The task.
    pub task: Id,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The line that spawned it.
    pub spawned_at: Place,
    /// What it waits for.
    pub why: Why,
    /// The line of the `await`, where it is known; that of a join handle is not.
    pub at: Place,
    /// The task that has to do something first: the one that is joined, or that holds the lock.
    pub awaits: Option<Id>,
    /// For how long it has waited.
    pub since: Duration,
}

impl Deadlock {
    fn of(event_loop: &EventLoop) -> Deadlock {
        let records = event_loop.tasks.records();
        let now = event_loop.looked_at_ms();
        let tasks = records.iter().map(|record| Waiting::of(record, &records, now)).collect();
        let mut deadlock = Deadlock { tasks, circle: Vec::new() };
        deadlock.circle = deadlock.find_circle();
        deadlock
    }

    fn find(&self, task: Id) -> Option<&Waiting> {
        self.tasks.iter().find(|waiting| waiting.task == task)
    }

    /// Follows those who wait for each other from every task: whoever meets itself is in a circle.
    fn find_circle(&self) -> Vec<Id> {
        for first in &self.tasks {
            let mut circle = vec![first.task];
            let mut next = first.awaits;
            while let Some(task) = next
                && task != first.task
                && circle.len() < self.tasks.len()
            {
                circle.push(task);
                next = self.find(task).and_then(|waiting| waiting.awaits);
            }
            if next == Some(first.task) {
                return circle;
            }
        }
        Vec::new()
    }

    /// What everyone waits for, without the numbers that differ from one run to the next.
    pub(crate) fn kind(&self) -> Vec<(Place, Why, Place)> {
        let mut kind: Vec<_> =
            self.tasks.iter().map(|task| (task.spawned_at, task.why, task.at)).collect();
        kind.sort_by_key(|(spawned_at, why, at)| (spawned_at.number(), *why as u8, at.number()));
        kind
    }
}

impl Waiting {
    fn of(record: &Record, all: &[Arc<Record>], now: u32) -> Waiting {
        let (why, place, since) = record.parked();
        let (awaits, at) = match why {
            Why::Join => {
                let awaited = all.iter().find(|other| other.id().number() == place.number());
                (awaited.map(|awaited| awaited.id()), Place::UNKNOWN)
            }
            // The lock may have been handed on since the task parked.
            Why::Lock => locks::awaited_by(record.id()).unwrap_or((None, Place::UNKNOWN)),
            _ => (None, place),
        };
        Waiting {
            task: record.id(),
            name: record.name().map(str::to_string),
            spawned_at: record.spawned_at(),
            why,
            at,
            awaits,
            since: Duration::from_millis(now.saturating_sub(since).into()),
        }
    }

    fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("task {} ({name:?})", self.task),
            None => format!("task {}", self.task),
        }
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for waiting in &self.tasks {
            let awaited = waiting.awaits.and_then(|task| self.find(task)).map(Waiting::title);
            let awaited = awaited.unwrap_or("another task".into());
            write!(f, "  {}, spawned at {}", waiting.title(), waiting.spawned_at)?;
            match (waiting.why, waiting.at) {
                (Why::Join, _) => write!(f, ", waits for the end of {awaited}")?,
                (Why::Lock, at) => write!(f, ", waits for a lock held by {awaited} at {at}")?,
                (why, at) => write!(f, ", waits for {why} at {at}")?,
            }
            writeln!(f, ", for {:.1} s", waiting.since.as_secs_f64())?;
        }
        if let Some(first) = self.circle.first() {
            write!(f, "  in a circle: task {first}")?;
            let and_again = self.circle.iter().skip(1).chain([first]);
            for (waiter, awaited) in self.circle.iter().zip(and_again) {
                let what = match self.find(*waiter).map(|waiting| waiting.why) {
                    Some(Why::Lock) => "a lock held by",
                    _ => "the end of",
                };
                let and = if waiter == first { "" } else { ", which" };
                write!(f, "{and} waits for {what} task {awaited}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
