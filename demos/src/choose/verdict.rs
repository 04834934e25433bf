//! Which style wins, why, and from where on another one would: all of it out of what was measured.
//!
//! From each run one cost is taken: what an item took beyond its waiting and computing. With it
//! the run is predicted for other workloads: more or fewer items, more or less to wait for, to
//! compute or to copy. Where the predicted winner changes, that is said.

use serde::Serialize;

use super::amount;
use super::share_out::STACK;
use super::workload::{Style, Workload};

/// Runs that differ by no more than this share of the shortest tie: measure twice, and the other
/// one may be ahead.
pub(super) const TIE: f64 = 0.1;

/// And so do runs that differ by no more than this, in seconds.
const TIE_SECONDS: f64 = 0.001;

/// A run that takes this many times as long as it must, and so many seconds an item more, did not
/// have the machine for itself.
const SLOW: f64 = 1.2;
const SLOW_ITEM: f64 = 0.000_2;

/// How many times more, or less, is looked at.
const FARTHEST: f64 = 1000.0;

/// Each step of the search is this much more, or less.
const STEP: f64 = 1.1;

/// The least that is looked at where the workload has nothing, in seconds.
const LITTLE: f64 = 10e-6;

/// From the simplest to read and to reason about to the least simple. The lock makes nothing
/// simpler, so threads without one come before.
const SIMPLEST_FIRST: [Style; 6] =
    [Style::Sequential, Style::Threads, Style::Gil, Style::Tasks, Style::Offload, Style::Processes];

/// One run, in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) style: Style,
    pub(super) seconds: f64,
    /// The time until the first item began.
    pub(super) until_begun: f64,
    pub(super) most_waiting: usize,
    pub(super) computing_at_once: f64,
}

/// What follows from the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) winner: Style,
    /// The styles that took as long as the winner, within the noise.
    pub(super) ties: Vec<Style>,
    /// From where on another one would win, and from where on a simpler one would do.
    pub(super) crossings: Vec<Crossing>,
    pub(super) sentence: String,
}

/// A workload that differs in one thing, and the style that would win there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Crossing {
    pub(super) of: Quantity,
    pub(super) more: bool,
    /// Seconds, bytes or items, as the quantity has it.
    pub(super) than: f64,
    pub(super) style: Style,
    /// Whether the winner loses there; otherwise it ties with a simpler one.
    pub(super) loses: bool,
}

/// What a workload can have more or less of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Quantity {
    Cpu,
    Items,
    Io,
    Bytes,
}

/// The verdict over all runs.
pub(super) fn verdict(work: &Workload, runs: &[Measured]) -> Verdict {
    judge(work, runs, |winner| {
        format!("{} here with", capitalised(&wins(winner.style)))
            + &took(winner)
            + &reason(work, winner, runs)
            + &faster(winner, runs)
    })
}

/// The verdict for languages whose threads share a lock, as Python's usually do: free threads and a
/// pool that computes beside the loop do not exist there.
pub(super) fn verdict_under_a_lock(work: &Workload, runs: &[Measured]) -> Option<Verdict> {
    let under_a_lock = |run: &&Measured| !matches!(run.style, Style::Threads | Style::Offload);
    let left: Vec<Measured> = runs.iter().filter(under_a_lock).copied().collect();
    let has_a_lock = left.iter().any(|run| run.style == Style::Gil);
    (has_a_lock && left.len() < runs.len() && left.len() > 1).then(|| {
        judge(work, &left, |winner| {
            let wins = wins(winner.style);
            format!("Where threads share a lock, as in most Pythons, {wins} with{}", took(winner))
        })
    })
}

fn judge(work: &Workload, runs: &[Measured], opening: impl FnOnce(&Measured) -> String) -> Verdict {
    let runs = &candidates(runs);
    let (winner, ties) = choose(runs.iter().map(|run| (run.style, run.seconds)));
    let crossings = crossings(work, runs, winner);
    let run = runs.iter().find(|run| run.style == winner).expect("it was measured");
    let sentence = opening(run)
        + &tied(&ties)
        + &stacks(work, winner, &ties)
        + &elsewhere(&crossings, runs.len() == 1)
        + ".";
    Verdict { winner, ties, crossings, sentence }
}

/// Nobody chooses a lock: where threads without one were run, those under it are there to be
/// compared.
fn candidates(runs: &[Measured]) -> Vec<Measured> {
    let free = runs.iter().any(|run| run.style == Style::Threads);
    runs.iter().filter(|run| !(free && run.style == Style::Gil)).copied().collect()
}

/// Whether other programs had the processors, and how that is known: a loop, threads and tasks cost
/// next to nothing of their own, so they take as long as the waiting and computing does.
pub(super) fn busy(work: &Workload, runs: &[Measured]) -> Option<String> {
    let took_too_long = |run: &&Measured| {
        let least = run.style.at_least(work);
        matches!(run.style, Style::Sequential | Style::Threads | Style::Tasks)
            && run.seconds > least * SLOW + work.items as f64 * SLOW_ITEM
    };
    let run = runs.iter().find(took_too_long)?;
    Some(format!(
        "Do not trust this: the machine was busy. {} took {}, and {} is enough when nobody else \
         wants the processors.",
        capitalised(run.style.title()),
        amount::time(run.seconds),
        amount::time(run.style.at_least(work)),
    ))
}

// ===== who wins =================================================================================

/// The simplest of those that took as long as the shortest, within the noise; and the others of
/// them.
fn choose(totals: impl Iterator<Item = (Style, f64)>) -> (Style, Vec<Style>) {
    let totals: Vec<_> = totals.collect();
    let best = totals.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
    let ties = |style: &Style| {
        totals.iter().any(|(other, seconds)| other == style && *seconds <= best + noise(best))
    };
    let mut first = SIMPLEST_FIRST.into_iter().filter(ties);
    let winner = first.next().expect("the shortest ties with itself");
    (winner, first.collect())
}

fn noise(seconds: f64) -> f64 {
    (seconds * TIE).max(TIE_SECONDS)
}

// ===== and elsewhere? ===========================================================================

/// What a run would take with another workload.
fn predict(run: &Measured, work: &Workload, other: &Workload) -> f64 {
    // Processes are started once, however many items there are. What else they cost is the way of
    // the bytes; all others start, park or queue something for each item.
    let once = if run.style == Style::Processes { run.until_begun } else { 0.0 };
    let beyond = run.seconds - run.style.at_least(work) - once;
    let mut of_an_item = beyond / work.items as f64;
    if run.style == Style::Processes && work.bytes > 0 {
        of_an_item *= other.bytes as f64 / work.bytes as f64;
    }
    (run.style.at_least(other) + once + of_an_item * other.items as f64).max(0.0)
}

/// The nearest workload where the winner loses, and the nearest where it ties with a simpler one.
fn crossings(work: &Workload, runs: &[Measured], winner: Style) -> Vec<Crossing> {
    let nearest = |loses| {
        let of = [Quantity::Cpu, Quantity::Items, Quantity::Io, Quantity::Bytes];
        of.into_iter()
            .flat_map(|of| [(of, true), (of, false)])
            .filter_map(|(of, more)| crossing(work, runs, winner, (of, more, loses)))
            .min_by_key(|(steps, _)| *steps)
    };
    let mut found: Vec<_> = [true, false].into_iter().filter_map(nearest).collect();
    // On the way to where it loses it ties: that need not be repeated.
    found.dedup_by_key(|(_, crossing)| (crossing.of, crossing.more, crossing.style));
    found.into_iter().map(|(_, crossing)| crossing).collect()
}

/// How many steps away it is in this direction, and what there is.
fn crossing(
    work: &Workload,
    runs: &[Measured],
    winner: Style,
    (of, more, loses): (Quantity, bool, bool),
) -> Option<(i32, Crossing)> {
    let has = of.in_workload(work);
    let nothing = has == 0.0;
    // When nothing was copied, the cost of copying is unknown.
    if nothing && (!more || of == Quantity::Bytes) {
        return None;
    }
    let begin = if nothing { LITTLE } else { has };
    let factors = (1..).map(|steps| (steps, STEP.powi(steps)));
    for (steps, factor) in factors.take_while(|(_, factor)| *factor <= FARTHEST) {
        let value = if more { begin * factor } else { begin / factor };
        let Some(other) = of.changed(work, value) else {
            continue;
        };
        let (style, ties) = choose(runs.iter().map(|run| (run.style, predict(run, work, &other))));
        if style != winner && loses != ties.contains(&winner) {
            let than = of.in_workload(&other);
            return Some((steps, Crossing { of, more, than, style, loses }));
        }
    }
    None
}

impl Quantity {
    fn in_workload(self, work: &Workload) -> f64 {
        match self {
            Quantity::Cpu => work.cpu.as_secs_f64(),
            Quantity::Items => work.items as f64,
            Quantity::Io => work.io.as_secs_f64(),
            Quantity::Bytes => work.bytes as f64,
        }
    }

    /// The workload with this much of it; `None` where there is no such workload.
    fn changed(self, work: &Workload, value: f64) -> Option<Workload> {
        let seconds = std::time::Duration::from_secs_f64;
        let whole = value.round() as usize;
        match self {
            Quantity::Cpu => Some(Workload { cpu: seconds(value), ..*work }),
            Quantity::Io => Some(Workload { io: seconds(value), ..*work }),
            Quantity::Bytes => Some(Workload { bytes: whole, ..*work }),
            Quantity::Items => {
                (whole >= 1 && whole != work.items).then_some(Workload { items: whole, ..*work })
            }
        }
    }

    fn said(self, more: bool, than: f64) -> String {
        let side = if more { "more than" } else { "less than" };
        let about = two_digits(than);
        match self {
            Quantity::Cpu => format!("{side} about {} of computing an item", amount::time(about)),
            Quantity::Io => format!("{side} about {} of waiting an item", amount::time(about)),
            Quantity::Bytes => format!("{side} about {} an item", amount::size(about as usize)),
            Quantity::Items if than == 1.0 => String::from("a single item"),
            Quantity::Items => {
                let side = if more { "more than" } else { "fewer than" };
                format!("{side} about {} items", amount::count(about as usize))
            }
        }
    }
}

/// Rounded so that it promises no more than is known.
fn two_digits(number: f64) -> f64 {
    let unit = 10_f64.powf(number.log10().floor() - 1.0);
    (number / unit).round() * unit
}

// ===== in words =================================================================================

fn wins(style: Style) -> String {
    match style {
        Style::Sequential => String::from("one after another wins"),
        several => format!("{} win", several.title()),
    }
}

fn took(run: &Measured) -> String {
    format!(" {}", amount::time(run.seconds))
}

/// What the winner did that others did not.
fn reason(work: &Workload, run: &Measured, runs: &[Measured]) -> String {
    let waits = (!work.io.is_zero() && run.most_waiting > 1)
        .then(|| format!("up to {} waited at once", amount::count(run.most_waiting)));
    let computes = (!work.cpu.is_zero() && run.computing_at_once >= 1.2)
        .then(|| format!("{:.1} computed at once", run.computing_at_once));
    match (waits, computes) {
        (Some(waits), Some(computes)) => format!(": {waits} and {computes}"),
        (Some(one), None) | (None, Some(one)) => format!(": {one}"),
        (None, None) if runs.len() > 1 => {
            String::from(": doing more than one thing at once gains nothing")
        }
        (None, None) => String::new(),
    }
}

fn faster(run: &Measured, runs: &[Measured]) -> String {
    match runs.iter().find(|run| run.style == Style::Sequential) {
        Some(sequential) if sequential.seconds > run.seconds + noise(run.seconds) => {
            let times = amount::times(sequential.seconds / run.seconds);
            format!(", {times} times as fast as one after another")
        }
        _ => String::new(),
    }
}

fn tied(ties: &[Style]) -> String {
    if ties.is_empty() {
        return String::new();
    }
    let titles: Vec<_> = ties.iter().map(|style| style.title()).collect();
    format!(
        "; {} took as long, within {:.0} %, and of those that tie the simplest wins",
        list(&titles),
        TIE * 100.0
    )
}

/// What the time does not show, when threads and tasks are equal in it.
fn stacks(work: &Workload, winner: Style, ties: &[Style]) -> String {
    let threads = matches!(winner, Style::Threads | Style::Gil);
    if threads && ties.contains(&Style::Tasks) {
        let reserved = amount::size(work.threads() * STACK);
        return format!("; the stacks of the threads reserve {reserved} of address space");
    }
    String::new()
}

fn elsewhere(crossings: &[Crossing], alone: bool) -> String {
    if alone {
        return String::from("; nothing else was measured");
    }
    if crossings.is_empty() {
        return format!("; nothing up to {FARTHEST:.0} times as much or as little changes that");
    }
    let there: Vec<_> = crossings
        .iter()
        .map(|there| {
            let would = if there.loses { "would win" } else { "would do" };
            let title = there.style.title();
            format!("with {}, {title} {would}", there.of.said(there.more, there.than))
        })
        .collect();
    format!("; {}", there.join(", and "))
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `a`, `a and b`, `a, b and c`.
fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// A machine that needs the least time possible, and a little for each item besides.
    fn ideal(work: &Workload) -> Vec<Measured> {
        let run = |style: Style| {
            let (of_an_item, once, computing_at_once) = match style {
                Style::Sequential => (1e-6, 0.0, 1.0),
                Style::Threads => (40e-6, 0.0, work.processors as f64),
                Style::Gil => (60e-6, 0.0, 1.0),
                Style::Processes => {
                    (50e-6 + work.bytes as f64 * 1e-9, 4e-3, work.processors as f64)
                }
                Style::Tasks => (2e-6, 0.0, 1.0),
                Style::Offload => (10e-6, 0.0, work.processors as f64),
            };
            let waits_at_once = match style {
                Style::Sequential => 1,
                Style::Processes => work.workers.min(work.items),
                Style::Threads | Style::Gil => work.threads(),
                Style::Tasks | Style::Offload => work.items,
            };
            Measured {
                style,
                seconds: style.at_least(work) + once + of_an_item * work.items as f64,
                until_begun: once,
                most_waiting: if work.io.is_zero() { 0 } else { waits_at_once },
                computing_at_once: if work.cpu.is_zero() { 0.0 } else { computing_at_once },
            }
        };
        Style::ALL.map(run).to_vec()
    }

    fn work(io: Duration, cpu: Duration, items: usize) -> Workload {
        Workload { io, cpu, items, ..Workload::of_nothing() }
    }

    fn judged(work: &Workload) -> Verdict {
        verdict(work, &ideal(work))
    }

    #[test]
    fn where_all_is_waiting_threads_win_a_tie_with_tasks() {
        let verdict = judged(&work(MS * 50, Duration::ZERO, 40));
        assert_eq!(verdict.winner, Style::Threads);
        assert_eq!(verdict.ties, [Style::Tasks, Style::Offload]);
        assert!(verdict.sentence.contains("up to 40 waited at once"), "{}", verdict.sentence);
        assert!(verdict.sentence.contains("took as long, within 10 %"), "{}", verdict.sentence);
        assert!(verdict.sentence.contains("39 times as fast"), "{}", verdict.sentence);
    }

    #[test]
    fn where_very_many_wait_tasks_win_and_with_fewer_items_threads_would() {
        let work = work(MS * 50, Duration::ZERO, 10_000);
        assert_eq!(judged(&work).winner, Style::Tasks);
        let runs = ideal(&work);
        let fewer = |loses| crossing(&work, &runs, Style::Tasks, (Quantity::Items, false, loses));
        let (_, would_do) = fewer(false).unwrap();
        assert_eq!(would_do.style, Style::Threads);
        assert!(would_do.than < 1000.0);
        assert!(fewer(true).is_none_or(|(_, loses)| loses.than < would_do.than));
    }

    #[test]
    fn where_all_is_computing_the_processors_win_and_the_lock_and_the_loop_do_not() {
        let verdict = judged(&work(Duration::ZERO, MS * 20, 40));
        assert_eq!(verdict.winner, Style::Threads);
        assert_eq!(verdict.ties, [Style::Offload, Style::Processes]);
        assert!(verdict.sentence.contains("2.0 computed at once"), "{}", verdict.sentence);
    }

    #[test]
    fn under_a_lock_computing_goes_to_processes_until_the_bytes_are_too_many() {
        let work = Workload { bytes: 1 << 20, ..work(Duration::ZERO, MS * 20, 40) };
        let verdict = verdict_under_a_lock(&work, &ideal(&work)).unwrap();
        assert_eq!(verdict.winner, Style::Processes);
        let left: Vec<_> = ideal(&work)
            .into_iter()
            .filter(|run| !matches!(run.style, Style::Threads | Style::Offload))
            .collect();
        let more = (Quantity::Bytes, true, true);
        let (_, more) = crossing(&work, &left, Style::Processes, more).unwrap();
        assert_eq!(more.style, Style::Sequential);
        // An item takes 10 ms there, and 20 ms, with the noise 22 ms, here: 12 ms for its copies.
        assert!((9e6..14e6).contains(&more.than), "{more:?}");
    }

    #[test]
    fn a_lock_never_wins_over_the_same_threads_without_it() {
        let work = work(MS * 50, MS * 5, 40);
        let mut runs = ideal(&work);
        // By chance it was much quicker.
        runs.iter_mut().find(|run| run.style == Style::Gil).unwrap().seconds = 0.01;
        let verdict = verdict(&work, &runs);
        assert!(verdict.winner != Style::Gil && !verdict.ties.contains(&Style::Gil));
        assert!(verdict.crossings.iter().all(|there| there.style != Style::Gil));
        assert_eq!(verdict_under_a_lock(&work, &runs).unwrap().winner, Style::Gil);
    }

    #[test]
    fn a_busy_machine_is_noticed_by_what_costs_nothing_of_its_own() {
        let work = work(MS * 50, MS * 5, 40);
        let mut runs = ideal(&work);
        assert_eq!(busy(&work, &runs), None);
        runs.iter_mut().find(|run| run.style == Style::Processes).unwrap().seconds *= 3.0;
        assert_eq!(busy(&work, &runs), None);
        runs.iter_mut().find(|run| run.style == Style::Threads).unwrap().seconds *= 1.5;
        let said = busy(&work, &runs).unwrap();
        assert!(said.contains("Threads took 227 ms, and 150 ms is enough"), "{said}");
    }

    #[test]
    fn one_item_is_best_done_by_itself_whatever_it_is() {
        for (io, cpu) in [(MS * 50, Duration::ZERO), (Duration::ZERO, MS * 50), (MS * 5, MS * 5)] {
            let verdict = judged(&work(io, cpu, 1));
            assert_eq!(verdict.winner, Style::Sequential, "{}", verdict.sentence);
        }
        let many = judged(&work(MS * 50, MS, 40));
        assert_ne!(many.winner, Style::Sequential);
    }

    #[test]
    fn with_one_processor_nothing_beats_a_loop_over_what_only_computes() {
        let work = Workload { processors: 1, ..work(Duration::ZERO, MS * 20, 40) };
        assert_eq!(judged(&work).winner, Style::Sequential);
    }

    #[test]
    fn a_little_computing_is_said_to_be_too_much_for_a_loop_alone() {
        let work = work(MS * 50, MS / 100, 1000);
        let runs: Vec<_> = ideal(&work)
            .into_iter()
            .filter(|run| matches!(run.style, Style::Tasks | Style::Offload))
            .collect();
        let verdict = verdict(&work, &runs);
        assert_eq!(verdict.winner, Style::Tasks);
        let crossing = verdict.crossings[0];
        assert_eq!((crossing.of, crossing.more), (Quantity::Cpu, true));
        assert_eq!(crossing.style, Style::Offload);
        let said = verdict.sentence;
        assert!(said.contains("of computing an item, tasks with offload would win"), "{said}");
    }

    #[test]
    fn one_style_alone_wins_and_says_that_it_was_alone() {
        let work = work(MS, MS, 4);
        let runs = &ideal(&work)[4..5];
        let verdict = verdict(&work, runs);
        assert_eq!((verdict.winner, verdict.ties.len()), (Style::Tasks, 0));
        assert!(verdict.sentence.ends_with("nothing else was measured."), "{}", verdict.sentence);
    }

    #[test]
    fn under_a_lock_is_said_only_where_it_changes_who_may_win() {
        let work = work(MS, MS, 4);
        let all = ideal(&work);
        let only = |styles: &[Style]| -> Vec<Measured> {
            all.iter().filter(|run| styles.contains(&run.style)).copied().collect()
        };
        assert!(verdict_under_a_lock(&work, &all).is_some());
        assert!(verdict_under_a_lock(&work, &only(&[Style::Gil, Style::Tasks])).is_none());
        assert!(verdict_under_a_lock(&work, &only(&[Style::Threads, Style::Tasks])).is_none());
    }

    #[test]
    fn counts_promise_two_digits() {
        let counts = [1.0, 9.0, 40.0, 123.0, 1180.0, 98_765.0].map(two_digits);
        assert_eq!(counts, [1.0, 9.0, 40.0, 120.0, 1200.0, 99_000.0]);
    }

    proptest! {
        #[test]
        fn the_winner_is_never_slower_than_the_best_by_more_than_the_noise(
            io in 0_u32..100, cpu in 0_u32..100, items in 1_usize..2000, bytes in 0_usize..100_000,
        ) {
            let work = Workload { bytes, ..work(MS * io, MS * cpu, items) };
            let runs = ideal(&work);
            let verdict = verdict(&work, &runs);
            let best = runs.iter().map(|run| run.seconds).fold(f64::INFINITY, f64::min);
            for run in runs.iter().filter(|run| run.style != Style::Gil) {
                let in_the_noise = run.seconds <= best + noise(best);
                let named = run.style == verdict.winner || verdict.ties.contains(&run.style);
                prop_assert_eq!(in_the_noise, named);
            }
        }

        #[test]
        fn a_run_is_predicted_for_its_own_workload_as_it_was(
            io in 0_u32..100, cpu in 0_u32..100, items in 1_usize..2000, seconds in 0.0..100.0_f64,
        ) {
            let work = Workload { bytes: 1000, ..work(MS * io, MS * cpu, items) };
            for run in ideal(&work) {
                let run = Measured { seconds, ..run };
                prop_assert!((predict(&run, &work, &work) - seconds).abs() < 1e-6);
            }
        }

        #[test]
        fn many_waits_are_never_best_done_one_after_another(
            io in 5_u32..100, items in 3_usize..2000,
        ) {
            prop_assert_ne!(judged(&work(MS * io, Duration::ZERO, items)).winner, Style::Sequential);
        }

        #[test]
        fn where_much_is_computed_tasks_alone_never_win(cpu in 5_u32..100, items in 2_usize..500) {
            let verdict = judged(&work(Duration::ZERO, MS * cpu, items));
            prop_assert!(!matches!(verdict.winner, Style::Tasks | Style::Gil));
        }
    }
}
