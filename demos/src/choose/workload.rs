//! What is to be done, and how long that takes at the very least.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::item::{Item, Record};
use super::styles::{self, Done};

/// More threads than this are not started for one run: each has a stack and a place in the
/// kernel's tables. More items than this wait until a thread is free.
pub const THREADS_AT_MOST: usize = 1000;

/// Some items, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// How long each waits.
    pub io: Duration,
    /// How much processor time each uses.
    pub cpu: Duration,
    /// How many bytes each computes on.
    pub bytes: usize,
    /// How many there are.
    pub items: usize,
    /// How many worker processes there may be, and threads to compute for tasks.
    pub workers: usize,
    /// How many threads of this machine can run at once.
    pub processors: usize,
}

impl Workload {
    /// The items, none of them begun. They share their bytes, as what has arrived in the memory of
    /// a process is shared by its threads.
    pub fn items(&self) -> impl Iterator<Item = Item> + Send + use<> {
        let (io, cpu) = (self.io, self.cpu);
        let bytes: Arc<[u8]> = (0..self.bytes).map(|at| at as u8).collect();
        (0..self.items).map(move |_| {
            let bytes = bytes.clone();
            Item { io, cpu, bytes, record: Record::default() }
        })
    }

    /// How many threads there are where each item has one.
    pub fn threads(&self) -> usize {
        self.items.min(THREADS_AT_MOST)
    }

    /// One that is done at once, to be changed.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Workload {
        let (io, cpu) = (Duration::ZERO, Duration::ZERO);
        Workload { io, cpu, bytes: 0, items: 0, workers: 2, processors: 2 }
    }
}

/// A way to do all items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// A loop over the items
    Sequential,
    /// A thread for each item
    Threads,
    /// The same threads under a toy global interpreter lock
    Gil,
    /// A task for each item, all on one thread
    Tasks,
    /// The same tasks, which compute in a pool of threads
    Offload,
    /// Worker processes
    Processes,
}

impl Style {
    /// All of them, in the order of the book.
    pub const ALL: [Style; 6] = [
        Style::Sequential,
        Style::Threads,
        Style::Gil,
        Style::Processes,
        Style::Tasks,
        Style::Offload,
    ];

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Style::Sequential => "one after another",
            Style::Threads => "threads",
            Style::Gil => "threads under a GIL",
            Style::Processes => "processes",
            Style::Tasks => "tasks",
            Style::Offload => "tasks with offload",
        }
    }

    /// Does the items in this style, to the last one.
    pub fn run(self, work: &Workload) -> Done {
        match self {
            Style::Sequential => styles::one_after_another(work),
            Style::Threads => styles::threads(work),
            Style::Gil => styles::threads_under_a_gil(work),
            Style::Processes => styles::processes(work),
            Style::Tasks => styles::tasks(work),
            Style::Offload => styles::tasks_with_offload(work),
        }
    }

    /// How many seconds `work` takes if nothing costs anything but waiting and computing.
    pub fn at_least(self, work: &Workload) -> f64 {
        let (io, cpu) = (work.io.as_secs_f64(), work.cpu.as_secs_f64());
        // What one of so many hands has to do, when the items are dealt out.
        let rounds = |hands: usize| work.items.div_ceil(hands.max(1)) as f64;
        let computing = |hands: usize| rounds(hands.min(work.processors)) * cpu;
        match self {
            Style::Sequential => rounds(1) * (io + cpu),
            Style::Threads => {
                let threads = work.threads();
                (rounds(threads) * (io + cpu)).max(io + computing(threads))
            }
            Style::Gil => (rounds(work.threads()) * (io + cpu)).max(io + computing(1)),
            Style::Processes => {
                (rounds(work.workers) * (io + cpu)).max(io + computing(work.workers))
            }
            Style::Tasks => io + computing(1),
            Style::Offload => io + computing(work.workers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::item::AWAY;

    const MS: Duration = Duration::from_millis(1);

    fn ms(style: Style, work: Workload) -> f64 {
        (style.at_least(&work) * 1e6).round() / 1e3
    }

    #[test]
    fn waits_overlap_wherever_somebody_else_may_go_on() {
        let work = Workload { io: MS * 50, items: 40, ..Workload::of_nothing() };
        let took = Style::ALL.map(|style| ms(style, work));
        assert_eq!(took, [2000.0, 50.0, 50.0, 1000.0, 50.0, 50.0]);
    }

    #[test]
    fn computing_is_shared_by_as_many_as_may_run() {
        let work = Workload { cpu: MS * 5, items: 41, ..Workload::of_nothing() };
        let took = Style::ALL.map(|style| ms(style, work));
        assert_eq!(took, [205.0, 105.0, 205.0, 105.0, 205.0, 105.0]);
        let one_worker = Workload { workers: 1, ..work };
        assert_eq!(ms(Style::Processes, one_worker), 205.0);
        assert_eq!(ms(Style::Offload, one_worker), 205.0);
        let many_workers = Workload { workers: 41, ..work };
        assert_eq!(ms(Style::Processes, many_workers), 105.0);
    }

    #[test]
    fn more_items_than_threads_wait_for_their_turn() {
        let work = Workload { io: MS * 50, items: 100_000, ..Workload::of_nothing() };
        assert_eq!(work.threads(), THREADS_AT_MOST);
        assert_eq!(ms(Style::Threads, work), 5000.0);
        assert_eq!(ms(Style::Tasks, work), 50.0);
    }

    #[test]
    fn under_the_lock_no_two_compute_at_the_same_time() {
        let work = Workload { io: MS, cpu: MS * 12, items: 4, ..Workload::of_nothing() };
        let done = Style::Gil.run(&work).unwrap();
        // A hand-over shorter than what counts as away from the processor is not seen.
        let computed = done.iter().map(|item| {
            let spans = item.record.computed.iter().copied();
            spans.map(|span| (span.from + AWAY, span.to - AWAY.min(span.to))).collect::<Vec<_>>()
        });
        let computed: Vec<_> = computed.collect();
        for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            for a in &computed[one] {
                let together = |b: &&(Duration, Duration)| a.0.max(b.0) < a.1.min(b.1);
                assert_eq!(computed[other].iter().find(together), None, "{a:?}");
            }
        }
    }

    #[test]
    fn each_style_but_processes_does_every_item_with_its_bytes() {
        let work = Workload { io: MS, cpu: MS, bytes: 10, items: 5, ..Workload::of_nothing() };
        for style in Style::ALL.into_iter().filter(|style| *style != Style::Processes) {
            let done = style.run(&work).unwrap();
            assert_eq!(done.len(), 5, "{style:?}");
            for item in done {
                assert!(item.record.waited.is_some() && item.record.used >= MS, "{style:?}");
                assert_eq!(item.bytes[..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
            }
        }
    }
}
