//! A task that never yields, and what the others pay.
//!
//! Tasks take turns, and a turn lasts until the next `await` that has to wait. A task that computes
//! for long and does not await keeps the loop for all that time: no other task runs, no timer fires
//! and no socket is read. Nothing is wrong with its result; the others pay for it.
//!
//! A task can be polite and yield between two pieces of its work. Then somebody else *may* run, and
//! on a fair loop, first in, first out, will. But fairness is the loop's virtue and not the task's:
//! among all schedules there are some in which the polite one goes again and again. What helps
//! under every schedule is to compute somewhere else, in a thread.
//!
//! **What Rust's compiler refuses**: to take along to that thread what belongs to this one,
//!
//! ```compile_fail,E0277
//! let mine = std::rc::Rc::new(7);
//! popleft::spawn_blocking(move || *mine); // error: `Rc<i32>` cannot be sent between threads
//! ```
//!
//! **What it does not refuse** is this demo. How long a turn takes is no property of a type; an
//! `async fn` without a single `await` is as good as any other.
//!
//! In the book: "The simulator".

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use popleft::{JoinError, spawn_blocking, task, yield_now};
use serde::Serialize;

use crate::cli;
use crate::exploring::{self, BugOptions, Demo, End, RUNS, Story, Way};
use crate::fib::fib;

// ===== as tasks =================================================================================

/// How many pieces of work there are.
const PIECES: u32 = 5;

/// A piece of work, and how many of them the loop has done itself.
#[derive(Clone, Default)]
struct Work {
    done_in_the_loop: Rc<Cell<u32>>,
}

impl Work {
    fn do_a_piece(&self) {
        compute(SHORT);
        self.done_in_the_loop.set(self.done_in_the_loop.get() + 1);
    }
}

/// Keeps the loop until all is done.
async fn rude(work: Work, story: Story) {
    for _ in 0..PIECES {
        work.do_a_piece();
    }
    story.tell(format!("the rude task computes {PIECES} pieces in one turn"));
}

/// Lets others run between two pieces.
async fn polite(work: Work, story: Story) {
    for piece in 1..=PIECES {
        work.do_a_piece();
        story.tell(format!("the polite task computes piece {piece} and yields"));
        yield_now().await;
    }
}

/// Has a thread do it, and waits for the thread.
async fn helped(story: Story) {
    story.tell("the task has a thread compute");
    let pieces = spawn_blocking(|| (0..PIECES).for_each(|_| compute(SHORT)));
    pieces.await.expect("computing does not panic");
    story.tell("the thread is done");
}

/// Comes, and is served at its next turn. How much work was done between the two?
async fn client(work: Work, story: Story) -> End {
    story.tell("the client comes");
    let before = work.done_in_the_loop.get();
    yield_now().await;
    let waited = work.done_in_the_loop.get() - before;
    story.tell(format!("the client is served, after {waited} pieces of work"));
    match waited {
        0 | 1 => Ok(()),
        _ => Err(format!("the client had to wait for {waited} pieces of somebody else's work")),
    }
}

/// What the other task is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Manners {
    Rude,
    Polite,
    Helped,
}

/// A client, and a little later somebody who computes.
async fn program(manners: Manners, story: Story) -> End {
    let work = Work::default();
    let client = task::Builder::new().name("client").spawn(client(work.clone(), story.clone()));
    yield_now().await;
    let computes = task::Builder::new().name("computes");
    let computes = match manners {
        Manners::Rude => computes.spawn(rude(work, story)),
        Manners::Polite => computes.spawn(polite(work, story)),
        Manners::Helped => computes.spawn(helped(story)),
    };
    let served = client.await.expect("the client is not cancelled");
    computes.await.expect("computing does not panic");
    served
}

// ===== by the clock =============================================================================

/// How long somebody who should go every millisecond was not let, at the worst.
#[derive(Serialize)]
struct Waits {
    manners: Manners,
    computing_ms: f64,
    in_the_loop_ms: f64,
    as_threads_ms: f64,
}

/// Measures it on the real loop, and among threads.
fn measure(manners: Manners) -> anyhow::Result<Waits> {
    let started = Instant::now();
    (0..PIECES).for_each(|_| compute(LONG));
    let computing = started.elapsed();
    let in_the_loop = popleft::try_run(worst_gap_in_the_loop(manners))??;
    Ok(Waits {
        manners,
        computing_ms: millis(computing),
        in_the_loop_ms: millis(in_the_loop),
        as_threads_ms: millis(worst_gap_among_threads().context("cannot start a thread")?),
    })
}

async fn worst_gap_in_the_loop(manners: Manners) -> Result<Duration, JoinError> {
    let computes = popleft::spawn(async move {
        popleft::time::sleep(TICK).await;
        match manners {
            Manners::Rude => (0..PIECES).for_each(|_| compute(LONG)),
            Manners::Polite => {
                for _ in 0..PIECES {
                    compute(LONG);
                    yield_now().await;
                }
            }
            Manners::Helped => {
                spawn_blocking(|| (0..PIECES).for_each(|_| compute(LONG))).await?;
            }
        }
        Ok(())
    });
    let mut worst = Duration::ZERO;
    while !computes.is_finished() {
        let before = Instant::now();
        popleft::time::sleep(TICK).await;
        worst = worst.max(before.elapsed());
    }
    computes.await??;
    Ok(worst)
}

fn worst_gap_among_threads() -> io::Result<Duration> {
    let done = AtomicBool::new(false);
    let mut worst = Duration::ZERO;
    thread::scope(|scope| {
        let computes = || {
            (0..PIECES).for_each(|_| compute(LONG));
            done.store(true, Ordering::Release);
        };
        thread::Builder::new().spawn_scoped(scope, computes)?;
        while !done.load(Ordering::Acquire) {
            let before = Instant::now();
            thread::sleep(TICK);
            worst = worst.max(before.elapsed());
        }
        Ok(worst)
    })
}

/// How often somebody wants to go who is measured by the clock.
const TICK: Duration = Duration::from_millis(1);

/// The `n` of a piece whose length does not matter, and of one that can be felt.
const SHORT: u64 = 10;
const LONG: u64 = 32;

fn compute(n: u64) {
    std::hint::black_box(fib(std::hint::black_box(n)));
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

// ===== the program ==============================================================================

/// A task that never yields, and what others pay: by chance, found, reproduced and mended
///
/// Without options the whole story is played. The exit code tells whether the demo could be played,
/// not whether the program it shows went well.
#[derive(Debug, Parser)]
#[command(name = "rude", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,

    /// A task that yields between two pieces of work: half a cure
    #[arg(long, requires = "way", conflicts_with = "mended")]
    polite: bool,
}

const STORY: &str = "\
A rude task
  A client comes and wants to be served at its next turn; another task computes.";

const EXAMPLES: &str = "\
Examples:
  rude                         the whole story
  rude --explore               try every schedule, and print one in which the client pays
  rude --sim --schedule 1      that one again, every time
  rude --sim --trace FILE      record a simulated run, with its virtual times
  rude --explore --polite      a task that yields helps, if the loop is fair
  rude --explore --mended      a thread helps under every schedule
  rude --threads               the loop beside threads, by the clock";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("rude", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let unmended = if arguments.polite { Manners::Polite } else { Manners::Rude };
        let manners = if bug.mended() { Manners::Helped } else { unmended };
        let demo = demo_of(unmended, bug.mended());
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&measure(manners)?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let cure = "a thread computes, and the task waits for it.";
                demo.tell_it_all(&measure(Manners::Rude)?, cure, out)?;
                writeln!(out, "\nHalf mended: a task that yields between two pieces of work.")?;
                let polite = demo_of(Manners::Polite, false);
                let wrong = polite.wrong_on_the_real_loop(RUNS)?;
                writeln!(out, "  The real loop is fair: wrong in {wrong} of {RUNS} runs.")?;
                Ok(polite.tell_of(&polite.explore(), out)?)
            }
        }
    })
}

fn demo_of(unmended: Manners, mended: bool) -> Demo {
    let command = match unmended {
        Manners::Polite => "rude --polite",
        _ => "rude",
    };
    Demo::new(command, mended, move |mended, story| {
        program(if mended { Manners::Helped } else { unmended }, story)
    })
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waits { computing_ms, in_the_loop_ms, as_threads_ms, .. } = self;
        write!(
            f,
            "  By the clock: somebody computes for {computing_ms} ms, and whoever wants to go every \
             millisecond\n  waits for {in_the_loop_ms} ms in the loop, and for {as_threads_ms} ms \
             as a thread among threads, at the worst."
        )
    }
}
