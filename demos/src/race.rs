//! A lost update: two tasks add one to a counter, and the counter says one.
//!
//! Each reads the counter, awaits, and writes back what it read plus one. Between two awaits
//! nobody else runs, so tasks need no lock for what they do in one go. But an `await` is a gap: if
//! the other one reads there, it reads the old number, and one of the two writes is lost.
//!
//! On the real loop it goes well, every time: the second task comes a little later, and the first
//! is done by then. So the tests are green, until something else in the program takes a turn at the
//! wrong moment. The simulator tries every order that is possible, and finds it at once.
//!
//! **What Rust's compiler refuses** is the *data race*, two threads that write to one place at the
//! same time:
//!
//! ```compile_fail,E0499
//! let mut counter = 0;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| counter += 1);
//!     scope.spawn(|| counter += 1); // error: `counter` is borrowed mutably twice
//! });
//! ```
//!
//! and what is not made for it does not even get into another thread:
//!
//! ```compile_fail,E0277
//! let counter = std::rc::Rc::new(std::cell::Cell::new(0));
//! std::thread::spawn(move || counter.set(1)); // error: `Rc<Cell<i32>>` cannot be sent
//! ```
//!
//! **What it does not refuse** is this demo. A read, a gap and a write are each in order; only
//! together they are wrong, and what belongs together the compiler cannot know. With threads the
//! same is written with an atomic `load` and `store`.
//!
//! In the book: "The simulator".

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use clap::Parser;
use popleft::sim::Shared;
use popleft::sync::Mutex;
use popleft::{JoinHandle, task, yield_now};
use serde::Serialize;

use crate::cli;
use crate::exploring::{self, BugOptions, Demo, End, Story, Way};

// ===== as tasks =================================================================================

/// Adds one, as if nobody else did.
async fn add_one(name: char, counter: Rc<Shared<u64>>, story: Story) {
    let seen = counter.get();
    story.tell(format!("{name} reads {seen}"));
    yield_now().await; // here the other one may run
    counter.set(seen + 1);
    story.tell(format!("{name} writes {}", seen + 1));
}

/// Adds one, and has the counter to itself from the read to the write.
async fn add_one_locked(name: char, counter: Rc<Mutex<u64>>, story: Story) {
    let mut counter = counter.lock().await;
    story.tell(format!("{name} has the lock and reads {counter}", counter = *counter));
    yield_now().await; // the other one may run, but does not get the counter
    *counter += 1;
    story.tell(format!("{name} writes {counter}", counter = *counter));
}

/// Two tasks add one each; the second comes a little later.
async fn broken(story: Story) -> End {
    let counter = Rc::new(Shared::new(0));
    let a = spawn('A', add_one('A', counter.clone(), story.clone()));
    yield_now().await;
    let b = spawn('B', add_one('B', counter.clone(), story));
    both(a, b).await;
    check(counter.get())
}

async fn mended(story: Story) -> End {
    let counter = Rc::new(Mutex::new(0));
    let a = spawn('A', add_one_locked('A', counter.clone(), story.clone()));
    yield_now().await;
    let b = spawn('B', add_one_locked('B', counter.clone(), story));
    both(a, b).await;
    let counted = *counter.lock().await;
    check(counted)
}

fn check(counted: u64) -> End {
    match counted {
        2 => Ok(()),
        _ => {
            Err(format!("an update was lost: both have added one, and the counter says {counted}"))
        }
    }
}

fn spawn(name: char, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    task::Builder::new().name(name).spawn(task)
}

async fn both(a: JoinHandle<()>, b: JoinHandle<()>) {
    for task in [a, b] {
        task.await.expect("adding neither panics nor is cancelled");
    }
}

// ===== as threads ===============================================================================

/// How often two threads try.
const TRIES: u64 = 200_000;

/// What threads did.
#[derive(Serialize)]
struct Tries {
    mended: bool,
    tries: u64,
    lost: u64,
}

/// Two threads add one each, again and again. The compiler has nothing against it: each `load` and
/// each `store` is in order.
fn run_threads(mended: bool) -> anyhow::Result<Tries> {
    let counter = AtomicU64::new(0);
    let add_one = || match mended {
        true => _ = counter.fetch_add(1, Ordering::SeqCst),
        false => {
            let seen = counter.load(Ordering::SeqCst);
            counter.store(seen + 1, Ordering::SeqCst);
        }
    };
    let together = StartingLine::default();
    let mut lost = 0;
    thread::scope(|scope| {
        let other = || {
            for _ in 0..TRIES {
                together.wait();
                add_one();
                together.wait();
            }
        };
        thread::Builder::new().spawn_scoped(scope, other).context("cannot start a thread")?;
        for _ in 0..TRIES {
            counter.store(0, Ordering::SeqCst);
            together.wait();
            add_one();
            together.wait();
            lost += u64::from(counter.load(Ordering::SeqCst) != 2);
        }
        Ok(Tries { mended, tries: TRIES, lost })
    })
}

/// Lets two threads go at the same moment. It does not sleep: from sleep one wakes too late.
#[derive(Default)]
struct StartingLine {
    came: AtomicU64,
}

impl StartingLine {
    fn wait(&self) {
        let came_before = self.came.fetch_add(1, Ordering::SeqCst);
        let both = came_before - came_before % 2 + 2;
        while self.came.load(Ordering::SeqCst) < both {
            thread::yield_now();
        }
    }
}

// ===== the program ==============================================================================

/// A lost update: by chance, found, reproduced and mended
///
/// Two tasks read a shared counter, await, and write it back. Without options the whole story is
/// played. The exit code tells whether the demo could be played, not whether the program it shows
/// went well.
#[derive(Debug, Parser)]
#[command(name = "race", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,
}

const STORY: &str = "\
A lost update
  Two tasks read a counter, await, and write back what they read plus one.";

const EXAMPLES: &str = "\
Examples:
  race                         the whole story
  race --explore               try every schedule, and print one that loses an update
  race --sim --schedule 1      that one again, every time
  race --sim --trace FILE      record a simulated run, with its virtual times
  race --sim --seed 7          chance picks the next task, the same one every time
  race --explore --mended      all schedules of the mended program
  race --threads               threads lose updates too, sometimes";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("race", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let demo = Demo::new("race", bug.mended(), |mend, story| async move {
            match mend {
                false => broken(story).await,
                true => mended(story).await,
            }
        });
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&run_threads(bug.mended())?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let threads = run_threads(false)?;
                let cure = "a lock is held from the read to the write.";
                Ok(demo.tell_it_all(&threads, cure, out)?)
            }
        }
    })
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tries { tries, lost, .. } = self;
        match self.mended {
            false => write!(
                f,
                "  Two threads, load and store: an update was lost in {lost} of {tries} tries."
            ),
            true => {
                write!(
                    f,
                    "  Two threads, fetch_add: an update was lost in {lost} of {tries} tries."
                )
            }
        }
    }
}
