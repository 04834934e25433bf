//! The talk's first surprise: one thread, and still all countdowns make progress.
//!
//! A generator stops at each `yield_` and can be put aside there. So three countdowns can wait in
//! a deque: take one from the left, run it to its next yield, put it back on the right. That is a
//! scheduler. For 10, 5 and 20 it prints 10 5 20 9 4 19 8 3 18 ..., every time.
//!
//! The same countdowns as tasks of the finished runtime take turns in the same way, and here also
//! sleep. As threads they run whenever the operating system likes. In the simulated world a
//! sleep takes no time, and the task whose turn is next can be chosen.
//!
//! In the talk: just before the sockets become generators. In the book: "Generators and countdown".

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use popleft::generator::Generator;

use crate::cli::{self, SimOptions, TraceOption};
use crate::output;

// ===== as generators ============================================================================

/// Counts from `n` down to 1.
pub fn countdown(n: u64) -> Generator<u64> {
    Generator::new(move |y| async move {
        for i in (1..=n).rev() {
            y.yield_(i).await;
        }
    })
}

/// Runs the generators in turns, to their ends.
pub fn take_turns(mut tasks: VecDeque<Generator<u64>>, mut show: impl FnMut(u64)) {
    while let Some(mut task) = tasks.pop_front() {
        if let Some(i) = task.next() {
            show(i);
            tasks.push_back(task);
        }
    }
}

// ===== as tasks =================================================================================

/// How long a task sleeps between two numbers.
const PACE: Duration = Duration::from_millis(10);

/// Counts down, and lets the other tasks run while it sleeps.
async fn countdown_task(n: u64) {
    for i in (1..=n).rev() {
        show(i);
        popleft::time::sleep(PACE).await;
    }
}

async fn run_tasks(numbers: Vec<u64>) {
    let tasks: Vec<_> = numbers.into_iter().map(|n| popleft::spawn(countdown_task(n))).collect();
    for task in tasks {
        task.await.expect("a countdown neither panics nor is cancelled");
    }
}

// ===== as threads ===============================================================================

fn run_threads(numbers: &[u64]) -> anyhow::Result<()> {
    // Starting a thread takes longer than a short countdown: they wait for each other first.
    let start = StartingLine::new(numbers.len());
    thread::scope(|scope| {
        for &n in numbers {
            let start = &start;
            let count = move || {
                if start.wait() {
                    (1..=n).rev().for_each(show);
                }
            };
            if let Err(refused) = thread::Builder::new().spawn_scoped(scope, count) {
                start.call_off();
                return Err(refused).context("cannot start a thread");
            }
        }
        Ok(())
    })
}

// ===== the program ==============================================================================

/// Countdowns that take turns: as generators in a deque, as tasks, or as threads
#[derive(Debug, Parser)]
#[command(name = "countdown", version, after_help = EXAMPLES)]
struct Options {
    /// Where the countdowns begin; each runs beside the others
    #[arg(default_values_t = [10, 5, 20])]
    numbers: Vec<u64>,

    /// As tasks of the runtime, which sleep between two numbers
    #[arg(long, conflicts_with = "threads")]
    tasks: bool,

    /// As threads, in whatever order the operating system picks
    #[arg(long)]
    threads: bool,

    #[command(flatten)]
    simulation: SimOptions,

    #[command(flatten)]
    trace: TraceOption,
}

const EXAMPLES: &str = "\
Examples:
  countdown                 10 5 20 9 4 19 ..., in the same order every time
  countdown 3 2 1           other numbers
  countdown --threads       run it twice and compare
  countdown --tasks         the same turns on the runtime
  countdown --tasks --sim --seed 7
                            simulated: other turns, the same ones every time, and nobody waits
  countdown --tasks --sim --schedule 2,0,1
                            the turns that you choose
  countdown --tasks --trace run.jsonl
                            and a recording of what its loop does";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the countdowns with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("countdown", args, |options: Options| {
        let simulation = options.simulation.simulation();
        if !options.tasks && (simulation.is_some() || options.trace.is_wanted()) {
            return Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                "--sim and --trace are about the runtime's loop, which only --tasks runs; \
                 add --tasks\n",
            )
            .into());
        }
        options.trace.begin()?;
        if let Some(simulation) = simulation {
            simulation.try_run(run_tasks(options.numbers))?;
        } else if options.tasks {
            popleft::try_run(run_tasks(options.numbers))?;
        } else if options.threads {
            run_threads(&options.numbers)?;
        } else {
            take_turns(options.numbers.into_iter().map(countdown).collect(), show);
        }
        Ok(())
    })
}

fn show(i: u64) {
    // On failure it is held to the end of the process, so that no other thread reports one as well.
    let mut stdout = output::stdout();
    if let Err(error) = writeln!(stdout, "{i}") {
        output::end("countdown", error);
    }
}

/// Where threads wait until all of them have come, or until it is known that some never will: for
/// those a `std::sync::Barrier` would wait for ever.
struct StartingLine {
    /// How many have not come yet; `None` when some never will.
    missing: Mutex<Option<usize>>,
    changed: Condvar,
}

impl StartingLine {
    fn new(threads: usize) -> StartingLine {
        StartingLine { missing: Mutex::new(Some(threads)), changed: Condvar::new() }
    }

    /// Waits for the others. False when some never come.
    fn wait(&self) -> bool {
        self.change(|missing| missing.map(|missing| missing - 1));
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(missing, |missing| missing.is_some_and(|n| n > 0));
        waited.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn call_off(&self) {
        self.change(|_| None);
    }

    fn change(&self, change: impl FnOnce(Option<usize>) -> Option<usize>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = change(*missing);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(numbers: &[u64]) -> Vec<u64> {
        let mut shown = vec![];
        let tasks = numbers.iter().copied().map(countdown).collect();
        take_turns(tasks, |i| shown.push(i));
        shown
    }

    #[test]
    fn the_talk_s_countdowns_take_turns() {
        let shown = turns(&[10, 5, 20]);
        assert_eq!(shown[..9], [10, 5, 20, 9, 4, 19, 8, 3, 18]);
        assert_eq!(shown.len(), 35);
    }

    #[test]
    fn zero_has_nothing_to_count() {
        assert_eq!(turns(&[0, 2, 0]), [2, 1]);
        assert!(turns(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn in_round_k_each_that_is_left_shows_its_number_less_k(
            numbers in prop::collection::vec(0_u64..30, 0..8),
        ) {
            let rounds = numbers.iter().copied().max().unwrap_or(0);
            let expected: Vec<u64> = (0..rounds)
                .flat_map(|k| numbers.iter().filter(move |&&n| n > k).map(move |n| n - k))
                .collect();
            prop_assert_eq!(turns(&numbers), expected);
        }
    }
}
