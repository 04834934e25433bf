//! Who waits for what when nothing can happen any more, for those who have to find out why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Place, Why};
use crate::event_loop::EventLoop;
use crate::locks;
use crate::task::Id;
use crate::task::waker::Record;

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
    pub(crate) fn of(event_loop: &EventLoop) -> Deadlock {
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
