//! How the items' waiting and computing lay in time.

use std::time::Duration;

use super::item::{Record, Span};

/// What one style did, and when.
#[derive(Debug)]
pub(super) struct Timeline {
    start: Duration,
    waits: Vec<Span>,
    computations: Vec<Span>,
}

impl Timeline {
    pub(super) fn new(start: Duration, records: &[&Record]) -> Timeline {
        let waits = records.iter().filter_map(|record| record.waited).collect();
        let computations = records.iter().flat_map(|record| record.computed.clone()).collect();
        Timeline { start, waits, computations }
    }

    /// How many items wait at the same moment, at the most.
    pub(super) fn most_waiting(&self) -> usize {
        let steps = levels(&self.waits);
        steps.iter().map(|step| step.level).max().unwrap_or(0)
    }

    /// How many items compute at the same moment, on average over the time in which any does.
    pub(super) fn computing_at_once(&self) -> f64 {
        let (mut some, mut all) = (0.0, 0.0);
        for two in levels(&self.computations).windows(2) {
            let time = (two[1].at - two[0].at).as_secs_f64();
            if two[0].level > 0 {
                some += time;
                all += time * two[0].level as f64;
            }
        }
        if some > 0.0 { all / some } else { 0.0 }
    }

    /// The time until the first item waits or computes, in seconds.
    pub(super) fn until_begun(&self) -> f64 {
        let begun = self.waits.iter().chain(&self.computations).map(|span| span.from).min();
        begun.map_or(0.0, |begun| begun.saturating_sub(self.start).as_secs_f64())
    }

    /// How many items wait, on average, in each of so many columns of a time axis.
    pub(super) fn waiting(&self, axis: f64, columns: usize) -> Vec<f64> {
        self.density(&self.waits, axis, columns)
    }

    /// How many items compute, on average, in each of so many columns of a time axis.
    pub(super) fn computing(&self, axis: f64, columns: usize) -> Vec<f64> {
        self.density(&self.computations, axis, columns)
    }

    fn density(&self, spans: &[Span], axis: f64, columns: usize) -> Vec<f64> {
        let mut density = vec![0.0; columns];
        let column_of = |at: Duration| {
            let column = at.saturating_sub(self.start).as_secs_f64() / axis * columns as f64;
            column.clamp(0.0, columns as f64)
        };
        for span in spans {
            let (from, to) = (column_of(span.from), column_of(span.to));
            let touched = from as usize..(to.ceil() as usize).min(columns);
            for (number, column) in density[touched.clone()].iter_mut().zip(touched) {
                *number += to.min(column as f64 + 1.0) - from.max(column as f64);
            }
        }
        density
    }
}

/// From a moment on, so many at once.
struct Step {
    at: Duration,
    level: usize,
}

fn levels(spans: &[Span]) -> Vec<Step> {
    // At the same moment ends come before beginnings.
    let ends = spans.iter().map(|span| (span.to, false));
    let mut changes: Vec<_> = spans.iter().map(|span| (span.from, true)).chain(ends).collect();
    changes.sort_unstable();
    let mut level = 0;
    let mut steps = Vec::with_capacity(changes.len());
    for (at, begins) in changes {
        level = if begins { level + 1 } else { level - 1 };
        steps.push(Step { at, level });
    }
    steps
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    pub(crate) fn span(from: u32, to: u32) -> Span {
        Span { from: MS * from, to: MS * to }
    }

    fn timeline(waits: &[Span], computations: &[Span]) -> Timeline {
        Timeline { start: MS * 100, waits: waits.into(), computations: computations.into() }
    }

    #[test]
    fn what_follows_does_not_overlap_and_what_lies_in_between_does() {
        let follows = [span(100, 110), span(110, 120), span(120, 130)];
        let overlaps = [span(100, 120), span(110, 120), span(115, 130)];
        let timeline = timeline(&overlaps, &follows);
        assert_eq!(timeline.most_waiting(), 3);
        assert_eq!(timeline.computing_at_once(), 1.0);
        assert_eq!(timeline.waiting(0.03, 3), [1.0, 2.5, 1.0].map(|n: f64| n));
        assert_eq!(timeline.until_begun(), 0.0);
    }

    #[test]
    fn nothing_has_no_overlap() {
        let timeline = timeline(&[], &[]);
        assert_eq!((timeline.most_waiting(), timeline.computing_at_once()), (0, 0.0));
        assert_eq!(timeline.until_begun(), 0.0);
        assert_eq!(timeline.computing(1.0, 2), [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn the_columns_together_hold_all_that_was_waited(
            spans in prop::collection::vec((0_u32..900, 0_u32..100), 0..20),
            columns in 1_usize..80,
        ) {
            let spans: Vec<_> =
                spans.into_iter().map(|(from, long)| span(100 + from, 100 + from + long)).collect();
            let waited: f64 = spans.iter().map(|span| (span.to - span.from).as_secs_f64()).sum();
            let drawn: f64 = timeline(&spans, &[]).waiting(1.0, columns).iter().sum();
            prop_assert!((drawn / columns as f64 - waited).abs() < 1e-6);
        }
    }
}
