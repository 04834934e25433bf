//! TaskRef waits for what when nothing can happen any more, for those who have to find out why.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::lock_graph;
use crate::base::place::{Place, Why};
use crate::task::Id;
use crate::task::record::Record;
use crate::task::tasks::Tasks;

/// TaskRef waits for what when nothing can happen any more.
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
    pub(crate) fn of(tasks: &Tasks, clock: &Clock) -> Deadlock {
        let records = tasks.table.records();
        let now = clock.looked_at_ms();
        let by_number = records.iter().map(|record| (record.id().number, record.id())).collect();
        let tasks = records.iter().map(|record| Waiting::of(record, &by_number, now)).collect();
        let mut deadlock = Deadlock { tasks, circle: Vec::new() };
        deadlock.circle = deadlock.find_circle();
        deadlock
    }

    /// The tasks by their ids.
    fn by_id(&self) -> HashMap<Id, &Waiting> {
        self.tasks.iter().map(|waiting| (waiting.task, waiting)).collect()
    }

    /// Follows those who wait for each other, each task once. A way that comes back to a task on
    /// itself is a circle; one that comes to a task that was followed before leads to none.
    fn find_circle(&self) -> Vec<Id> {
        let by_id = self.by_id();
        let mut followed = HashMap::new();
        for (start, first) in self.tasks.iter().enumerate() {
            let mut next = Some(first.task);
            let mut way = Vec::new();
            while let Some(task) = next
                && !followed.contains_key(&task)
            {
                followed.insert(task, start);
                way.push(task);
                next = by_id.get(&task).and_then(|waiting| waiting.awaits);
            }
            if let Some(at) = way.iter().position(|&task| Some(task) == next) {
                // It is told from the task on that was spawned first.
                let mut circle = way.split_off(at);
                let eldest = (0..circle.len()).min_by_key(|&at| circle[at].number);
                circle.rotate_left(eldest.unwrap_or(0));
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
    fn of(record: &Record, by_number: &HashMap<u32, Id>, now: u64) -> Waiting {
        let (why, place, since) = record.parked();
        let (awaits, at) = match why {
            Why::Join => (by_number.get(&place.number()).copied(), Place::UNKNOWN),
            // The lock may have been handed on since the task parked.
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
            since: Duration::from_millis(now.saturating_sub(since)),
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
