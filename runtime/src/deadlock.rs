//! What each task waits for when nothing can happen any more.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::lock_graph;
use crate::base::place::{Place, Why};
use crate::task::Id;
use crate::task::record::Record;
use crate::task::tasks::Tasks;

/// What each task waits for when nothing can happen any more.
///
/// It prints as a list of the tasks, with the circle below it if there is one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Deadlock {
    /// All tasks that have not ended, in the order in which they were spawned.
    pub tasks: Vec<Waiting>,
    /// Tasks of which each waits for the next one, and the last for the first: for its completion,
    /// or for a lock that it holds. Empty when there is no such circle.
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
    /// The line of the `await`, if it is known; for a join handle it is not.
    pub at: Place,
    /// The task that it waits for: the one it joins, or the one that holds the lock.
    pub awaits: Option<Id>,
    /// For how long it has waited.
    pub since: Duration,
}

impl Deadlock {
    pub(crate) fn of(tasks: &Tasks, clock: &Clock) -> Deadlock {
        let records = tasks.table.records();
        let now_ms = clock.looked_at_ms();
        let by_number = records.iter().map(|record| (record.id().number, record.id())).collect();
        let tasks = records.iter().map(|record| Waiting::of(record, &by_number, now_ms)).collect();
        let mut deadlock = Deadlock { tasks, circle: Vec::new() };
        deadlock.circle = deadlock.find_circle();
        deadlock
    }

    /// The tasks by their ids.
    fn by_id(&self) -> HashMap<Id, &Waiting> {
        self.tasks.iter().map(|waiting| (waiting.task, waiting)).collect()
    }

    /// Follows each task to the one that it waits for, visiting each task once. A path that returns
    /// to a task on itself is a circle; one that reaches a task of an earlier path leads to none.
    fn find_circle(&self) -> Vec<Id> {
        let by_id = self.by_id();
        let mut visited = HashSet::new();
        for first in &self.tasks {
            let mut next = Some(first.task);
            let mut path = Vec::new();
            while let Some(task) = next
                && visited.insert(task)
            {
                path.push(task);
                next = by_id.get(&task).and_then(|waiting| waiting.awaits);
            }
            if let Some(at) = path.iter().position(|&task| Some(task) == next) {
                // It starts with the task that was spawned first.
                let mut circle = path.split_off(at);
                let eldest = (0..circle.len()).min_by_key(|&at| circle[at].number);
                circle.rotate_left(eldest.unwrap_or(0));
                return circle;
            }
        }
        Vec::new()
    }

    /// What the tasks wait for, without the numbers that differ from run to run.
    pub(crate) fn kind(&self) -> Vec<(Place, Why, Place)> {
        let mut kind: Vec<_> =
            self.tasks.iter().map(|task| (task.spawned_at, task.why, task.at)).collect();
        kind.sort_by_key(|(spawned_at, why, at)| (spawned_at.number(), *why as u8, at.number()));
        kind
    }
}

impl Waiting {
    fn of(record: &Record, by_number: &HashMap<u32, Id>, now_ms: u64) -> Waiting {
        let (why, place, since_ms) = record.parked();
        let (awaits, at) = match why {
            Why::Join => (by_number.get(&place.number()).copied(), Place::UNKNOWN),
            // The lock may have got another holder since the task parked.
            Why::Lock => lock_graph::awaited_by(record.id()).unwrap_or((None, Place::UNKNOWN)),
            _ => (None, place),
        };
        Waiting {
            task: record.id(),
            name: record.name().map(str::to_string),
            spawned_at: record.spawned_at(),
            why,
            at,
            awaits,
            since: Duration::from_millis(now_ms.saturating_sub(since_ms)),
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
        let by_id = self.by_id();
        for waiting in &self.tasks {
            let awaited = waiting.awaits.and_then(|task| by_id.get(&task));
            let awaited = awaited.map(|waiting| waiting.title());
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
                let what = match by_id.get(waiter).map(|waiting| waiting.why) {
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
