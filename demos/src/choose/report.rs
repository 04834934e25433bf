//! All that came out: the runs, and what follows from them.

use serde::Serialize;

use super::item::{Item, Record};
use super::timeline::Timeline;
use super::verdict::{self, Measured, Verdict};
use super::workload::{Style, Workload};

/// The result of all runs, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) optimised: bool,
    /// How to repeat it.
    pub(super) command: String,
    #[serde(flatten)]
    pub(super) work: Amounts,
    #[serde(rename = "styles")]
    pub(super) runs: Vec<Run>,
    pub(super) verdict: Verdict,
    /// The verdict for languages whose threads share a lock, if the runs allow one.
    pub(super) under_a_lock: Option<Verdict>,
    /// Why the numbers cannot be trusted, if so.
    pub(super) busy: Option<String>,
}

/// The workload in plain numbers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Amounts {
    pub(super) items: usize,
    pub(super) io_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) bytes: usize,
    pub(super) workers: usize,
    pub(super) processors: usize,
    /// Each style's run is the shortest of so many.
    pub(super) rounds: usize,
}

/// One style's run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) style: Style,
    pub(super) title: &'static str,
    /// How many items were done.
    pub(super) items_done: usize,
    pub(super) seconds: f64,
    /// The time until the first item began.
    pub(super) until_begun_seconds: f64,
    /// How many times as long as the shortest.
    pub(super) ratio: f64,
    pub(super) most_waiting: usize,
    pub(super) computing_at_once: f64,
    /// The processor time that all items used together.
    pub(super) cpu_seconds: f64,
    /// How many items wait, and how many compute, in each column of the time axis.
    pub(super) waiting: Vec<f64>,
    pub(super) computing: Vec<f64>,
}

/// A run as it was measured.
pub(super) struct Raw {
    pub(super) style: Style,
    pub(super) seconds: f64,
    pub(super) start: std::time::Duration,
    pub(super) done: Vec<Item>,
}

impl Report {
    /// Draws the runs with so many columns, and judges them.
    pub(super) fn new(
        work: &Workload,
        rounds: usize,
        raw: &[Raw],
        command: String,
        columns: usize,
    ) -> Report {
        let longest = raw.iter().map(|raw| raw.seconds).fold(f64::MIN_POSITIVE, f64::max);
        let shortest = raw.iter().map(|raw| raw.seconds).fold(f64::INFINITY, f64::min);
        let runs: Vec<Run> =
            raw.iter().map(|raw| Run::new(raw, longest, shortest, columns)).collect();
        let measured: Vec<Measured> = runs.iter().map(Run::measured).collect();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            command,
            work: Amounts {
                items: work.items,
                io_seconds: work.io.as_secs_f64(),
                cpu_seconds: work.cpu.as_secs_f64(),
                bytes: work.bytes,
                workers: work.workers,
                processors: work.processors,
                rounds,
            },
            verdict: verdict::verdict(work, &measured),
            under_a_lock: verdict::verdict_under_a_lock(work, &measured),
            busy: verdict::busy(work, &measured),
            runs,
        }
    }

    /// How long the time axis is, in seconds.
    pub(super) fn longest(&self) -> f64 {
        self.runs.iter().map(|run| run.seconds).fold(0.0, f64::max)
    }

    /// The most items that waited at once in any run.
    pub(super) fn most_waiting(&self) -> usize {
        self.runs.iter().map(|run| run.most_waiting).max().unwrap_or(0)
    }

    /// The verdict in words, the one for languages whose threads share a lock, and a warning.
    pub(super) fn sentences(&self) -> Vec<&str> {
        let verdicts = [Some(&self.verdict), self.under_a_lock.as_ref()];
        let sentences = verdicts.into_iter().flatten().map(|verdict| verdict.sentence.as_str());
        sentences.chain(self.busy.as_deref()).collect()
    }
}

impl Run {
    fn new(raw: &Raw, longest: f64, shortest: f64, columns: usize) -> Run {
        let records: Vec<&Record> = raw.done.iter().map(|item| &item.record).collect();
        let timeline = Timeline::new(raw.start, &records);
        Run {
            style: raw.style,
            title: raw.style.title(),
            items_done: raw.done.len(),
            seconds: raw.seconds,
            until_begun_seconds: timeline.until_begun(),
            ratio: raw.seconds / shortest,
            most_waiting: timeline.most_waiting(),
            computing_at_once: timeline.computing_at_once(),
            cpu_seconds: records.iter().map(|record| record.used.as_secs_f64()).sum(),
            waiting: timeline.waiting(longest, columns),
            computing: timeline.computing(longest, columns),
        }
    }

    fn measured(&self) -> Measured {
        Measured {
            style: self.style,
            seconds: self.seconds,
            until_begun: self.until_begun_seconds,
            most_waiting: self.most_waiting,
            computing_at_once: self.computing_at_once,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::choose::terminal::COLUMNS;
    use crate::choose::timeline::tests::span;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// Two items, each of which waits 10 ms and computes 5 ms: after each other, and as tasks.
    pub(crate) fn report() -> Report {
        let work =
            Workload { io: MS * 10, cpu: MS * 5, bytes: 3, items: 2, ..Workload::of_nothing() };
        let run = |style, seconds, spans: [(u32, u32, u32); 2]| {
            let mut done: Vec<Item> = work.items().collect();
            for (item, (from, waited, computed)) in done.iter_mut().zip(spans) {
                item.record.waited = Some(span(from, waited));
                item.record.computed = vec![span(computed - 5, computed)];
                item.record.used = MS * 5;
            }
            Raw { style, seconds, start: Duration::ZERO, done }
        };
        let raw = [
            run(Style::Sequential, 0.04, [(0, 10, 15), (15, 25, 30)]),
            run(Style::Tasks, 0.02, [(0, 10, 15), (0, 10, 20)]),
        ];
        Report::new(&work, 1, &raw, "choose <now> & \"here\"".into(), COLUMNS)
    }

    #[test]
    fn a_report_counts_what_was_done_and_compares() {
        let report = report();
        let [sequential, tasks] = &report.runs[..] else { panic!("{report:?}") };
        assert_eq!((sequential.items_done, tasks.items_done), (2, 2));
        assert_eq!((sequential.ratio, tasks.ratio), (2.0, 1.0));
        assert_eq!((sequential.most_waiting, tasks.most_waiting), (1, 2));
        assert_eq!(tasks.cpu_seconds, 0.01);
        assert_eq!(report.verdict.winner, Style::Tasks);
        assert_eq!((report.longest(), report.most_waiting()), (0.04, 2));
    }

    #[test]
    fn the_json_has_everything_by_its_name() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["items"], 2);
        assert_eq!(json["io_seconds"], 0.01);
        assert_eq!(json["styles"][1]["style"], "tasks");
        assert_eq!(json["verdict"]["winner"], "tasks");
        assert_eq!(json["styles"][0]["waiting"].as_array().unwrap().len(), COLUMNS);
        assert!(json["under_a_lock"].is_null());
    }
}
