//! One sentence for each act, made from its numbers. When they contradict what the act was to
//! show, it says that.

use indicatif::HumanCount;

use super::acts::Point;
use super::measure::Numbers;

/// Below this share of its rate perf2 counts as starved.
const STARVED: f64 = 0.1;

/// Above this share perf2 goes on. Two processors are shared by three that want to run.
const GOES_ON: f64 = 0.25;

/// Above this factor two long requests take turns; with two processors to themselves it is 1.
const TAKE_TURNS: f64 = 1.6;

/// What the numbers say. `earlier` are the acts that were played before.
pub(super) fn sentence(
    point: Point,
    numbers: &Numbers,
    earlier: &impl Fn(&str) -> Option<Numbers>,
) -> String {
    let rates = format!(
        "perf2 made {} requests/s alone and {} beside perf1",
        count(numbers.short_alone),
        count(numbers.short_beside)
    );
    let kept = match numbers.kept() {
        0.95.. => String::from("it lost nothing"),
        kept => format!("it kept {:.0} % of its rate", kept * 100.0),
    };
    let stretched = numbers.stretched();
    let turns = match stretched {
        ..1.1 => String::from("beside another, perf1 took no longer"),
        _ => format!("beside another, perf1 took {stretched:.1} times as long"),
    };
    match point {
        Point::SecondWaits if numbers.short_beside == 0.0 => format!(
            "The second client waits: perf2 made {} requests/s alone, and 0 while perf1 was there.",
            count(numbers.short_alone)
        ),
        Point::SecondWaits => unexpected("the second client was to wait", &rates),
        Point::RunInParallel if stretched < TAKE_TURNS => {
            format!("Threads run in parallel: {turns}. And {rates}: {kept}.")
        }
        Point::RunInParallel => unexpected("two computations were to run in parallel", &turns),
        Point::LockStarves if numbers.kept() < STARVED && stretched >= TAKE_TURNS => format!(
            "Who computes keeps the lock: {rates}, one every {:.1} ms. And computations take \
             turns: {turns}.",
            1e3 / numbers.short_beside
        ),
        Point::LockStarves if numbers.kept() >= STARVED => {
            unexpected("short requests were to starve", &rates)
        }
        Point::LockStarves => unexpected("computations were to take turns", &turns),
        Point::ProcessesCost if numbers.kept() >= GOES_ON => {
            let cost = match earlier("threads") {
                Some(threads) => format!(
                    " But each request crosses two pipes: alone, threads made {:.1} times as many.",
                    threads.short_alone / numbers.short_alone
                ),
                None => String::new(),
            };
            format!("No lock is shared: {rates}; {kept}.{cost}")
        }
        Point::LoopBlocks if numbers.kept() < STARVED => format!(
            "While the loop computes, nobody is served: {rates}. One thread, one thing at a time: \
             {turns}."
        ),
        Point::LoopBlocks => unexpected("the loop was to stand still while it computes", &rates),
        Point::LoopGoesOn if numbers.kept() >= GOES_ON => {
            format!("The loop goes on while a thread computes: {rates}; {kept}, and {turns}.")
        }
        Point::ProcessesCost | Point::LoopGoesOn => {
            unexpected("perf2 was to go on beside perf1", &rates)
        }
    }
}

fn unexpected(expected: &str, found: &str) -> String {
    format!(
        "This contradicts the act: {expected}, but {found}. (Is the machine busy, or has it \
         another number of processors?)"
    )
}

/// A rate as people read it: 31,005.
pub(super) fn count(rate: f64) -> String {
    HumanCount(rate.round_ties_even() as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(short_beside: f64, long_beside: f64) -> Numbers {
        Numbers {
            short_alone: 20_000.0,
            short_beside,
            long_alone: 0.1,
            long_beside,
            left_waiting: 0,
        }
    }

    fn said(point: Point, numbers: Numbers) -> String {
        sentence(point, &numbers, &|_| None)
    }

    #[test]
    fn each_point_is_told_when_it_is_made_and_contradicted_when_it_is_not() {
        let starved = numbers(100.0, 0.2);
        let goes_on = numbers(12_000.0, 0.1);
        let waits = Numbers { short_beside: 0.0, left_waiting: 1, ..starved };
        for (point, made, not_made) in [
            (Point::SecondWaits, waits, goes_on),
            (Point::RunInParallel, goes_on, starved),
            (Point::LockStarves, starved, goes_on),
            (Point::LockStarves, starved, numbers(100.0, 0.1)),
            (Point::ProcessesCost, goes_on, starved),
            (Point::LoopBlocks, starved, goes_on),
            (Point::LoopGoesOn, goes_on, starved),
        ] {
            assert!(!said(point, made).contains("contradicts"), "{point:?}");
            assert!(said(point, not_made).contains("contradicts"), "{point:?}");
        }
    }

    #[test]
    fn sentences_hold_the_numbers() {
        let gil = said(Point::LockStarves, numbers(187.0, 0.21));
        for number in ["20,000", "187", "every 5.3 ms", "2.1 times"] {
            assert!(gil.contains(number), "{gil}");
        }
        let threads = numbers(10_000.0, 0.1);
        let slower = Numbers { short_alone: 5_000.0, short_beside: 2_500.0, ..threads };
        let with_threads = |name: &str| (name == "threads").then_some(threads);
        let processes = sentence(Point::ProcessesCost, &slower, &with_threads);
        assert!(processes.contains("4.0 times as many"), "{processes}");
        assert!(processes.contains("50 %"), "{processes}");
    }

    #[test]
    fn rates_are_grouped_by_thousands() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.4), "999");
        assert_eq!(count(31_005.0), "31,005");
        assert_eq!(count(1_234_567.0), "1,234,567");
    }
}
