//! A deadlock: two locks, taken in opposite order, and then five philosophers.
//!
//! A takes lock 1 and then lock 2; B takes lock 2 and then lock 1. When each has its first lock and
//! neither has its second, both wait for ever. With more of them in a circle it is the same: five
//! philosophers sit at a round table with a fork between every two, and each takes the left one
//! first. So two tasks with two locks are a table for two.
//!
//! On the real loop it goes well, every time: they come one after the other, and each is done when
//! the next one begins. The simulator finds the order in which it does not, and because it knows
//! everything that could ever happen, it does not have to wait to be sure that nothing will.
//!
//! The cure is an order: who takes the lock with the lower number first, whoever it is, can never be
//! part of a circle.
//!
//! **What Rust's compiler refuses** is to use what a lock protects without the lock, or after it:
//!
//! ```compile_fail,E0382
//! let lock = std::sync::Mutex::new(vec![1]);
//! let guard = lock.lock().unwrap();
//! drop(guard);
//! println!("{:?}", *guard); // error: the guard has been given away
//! ```
//!
//! **What it does not refuse** is this demo. Each lock is used as it should be, and in which order
//! several are taken is nothing that a type says.
//!
//! In the book: "The simulator".

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{self, Arc, Condvar, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use popleft::sync::Mutex;
use popleft::{task, yield_now};
use serde::Serialize;

use crate::cli;
use crate::exploring::{self, BugOptions, Demo, End, Story, Way};

// ===== as tasks =================================================================================

/// Which lock is taken first, and which second, out of as many as there are tasks.
fn locks_of(me: usize, tasks: usize, mended: bool) -> (usize, usize) {
    let (left, right) = (me, (me + 1) % tasks);
    match mended {
        false => (left, right),
        true => (left.min(right), left.max(right)), // the lower number first
    }
}

/// Takes the one lock, and a little later the other one too.
async fn use_both(name: char, locks: Rc<[Mutex<()>]>, (one, two): (usize, usize), story: Story) {
    let _first = locks[one].lock().await;
    story.tell(format!("{name} takes lock {}", one + 1));
    yield_now().await; // here others may run
    story.tell(format!("{name} wants lock {}", two + 1));
    let _second = locks[two].lock().await;
    story.tell(format!("{name} has both, and lets go of them"));
}

/// As many tasks as locks, one after the other.
async fn table(tasks: usize, mended: bool, story: Story) -> End {
    let locks: Rc<[Mutex<()>]> = (0..tasks).map(|_| Mutex::new(())).collect();
    let mut seated = vec![];
    for (me, name) in (0..tasks).zip('A'..) {
        let both = locks_of(me, tasks, mended);
        let task = use_both(name, locks.clone(), both, story.clone());
        seated.push(task::Builder::new().name(name).spawn(task));
        yield_now().await; // the next one comes a little later
    }
    for task in seated {
        task.await.expect("it neither panics nor is cancelled");
    }
    Ok(())
}

// ===== as threads ===============================================================================

/// How often threads sit down at the table, if they do not get stuck before.
const TRIES: u64 = 10_000;

/// How long nothing may change before threads count as stuck for good.
const PATIENCE: Duration = Duration::from_secs(1);

/// In which neither thing happened that can happen.
const TOO_LONG: Duration = Duration::from_secs(30);

/// What the threads of one table have told.
#[derive(Clone, Debug, PartialEq)]
struct Seats {
    /// Who holds the first lock. Told after it was taken, and taken back before it is released.
    holds_first: Vec<bool>,
    done: usize,
}

type Board = (sync::Mutex<Seats>, Condvar);

fn change(board: &Board, change: impl FnOnce(&mut Seats)) {
    change(&mut board.0.lock().unwrap_or_else(PoisonError::into_inner));
    board.1.notify_all();
}

/// Threads for one table. They are not waited for: who is stuck stays so until the process ends.
fn seat_threads(threads: usize, mended: bool) -> anyhow::Result<Arc<Board>> {
    let locks: Arc<[sync::Mutex<()>]> = (0..threads).map(|_| sync::Mutex::new(())).collect();
    let seats = Seats { holds_first: vec![false; threads], done: 0 };
    let board = Arc::new((sync::Mutex::new(seats), Condvar::new()));
    for me in 0..threads {
        let (locks, board) = (locks.clone(), board.clone());
        let (one, two) = locks_of(me, threads, mended);
        let take_both = move || {
            let first = locks[one].lock();
            change(&board, |seats| seats.holds_first[me] = true);
            thread::yield_now(); // here others may run
            let second = locks[two].lock();
            change(&board, |seats| seats.holds_first[me] = false);
            drop((first, second));
            change(&board, |seats| seats.done += 1);
        };
        thread::Builder::new().spawn(take_both).context("cannot start a thread")?;
    }
    Ok(board)
}

impl Seats {
    fn is_over(&self) -> bool {
        self.done == self.holds_first.len()
    }

    /// Each holds its first lock, which is the second one of another: a circle.
    fn is_a_circle(&self) -> bool {
        self.holds_first.iter().all(|&holds| holds)
    }
}

/// Waits until all are done, or all hold one lock and have held it for a while. True when stuck.
fn are_stuck(board: &Board) -> anyhow::Result<bool> {
    let (seats, changed) = board;
    let begun = Instant::now();
    let mut now = seats.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let before = now.clone();
        let waited =
            changed.wait_timeout_while(now, PATIENCE, |now| *now == before && !now.is_over());
        let (after, wait) = waited.unwrap_or_else(PoisonError::into_inner);
        now = after;
        if now.is_over() {
            return Ok(false);
        }
        if wait.timed_out() && now.is_a_circle() {
            return Ok(true);
        }
        if begun.elapsed() > TOO_LONG {
            bail!("the threads are neither done nor stuck after {} s", TOO_LONG.as_secs());
        }
    }
}

/// What threads did.
#[derive(Serialize)]
struct Tries {
    mended: bool,
    threads: usize,
    tries: u64,
    /// At the last of the tries.
    stuck: bool,
}

/// Seats threads again and again, until they are stuck.
fn run_threads(threads: usize, mended: bool) -> anyhow::Result<Tries> {
    let mut tries = 0;
    let mut stuck = false;
    while tries < TRIES && !stuck {
        tries += 1;
        stuck = are_stuck(&*seat_threads(threads, mended)?)?;
    }
    Ok(Tries { mended, threads, tries, stuck })
}

// ===== the program ==============================================================================

/// A deadlock: by chance, found, reproduced and mended
///
/// Tasks take two locks each, in an order that makes a circle. Without options the whole story is
/// played. The exit code tells whether the demo could be played, not whether the program it shows
/// went well.
#[derive(Debug, Parser)]
#[command(name = "deadlock", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    bug: BugOptions,

    /// How many sit in the circle, with as many locks [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(2..=6),
          requires = "way")]
    philosophers: Option<u8>,

    /// Leave out the schedules that can only repeat another: locks say who uses them
    #[arg(long, requires = "explore", conflicts_with_all = ["sim", "threads"])]
    skip: bool,
}

const STORY: &str = "\
A deadlock
  Two tasks take two locks, A first lock 1 and then lock 2, B the other way round.";

const EXAMPLES: &str = "\
Examples:
  deadlock                              the whole story
  deadlock --explore                    try every schedule, and print who waits for whose lock
  deadlock --sim --schedule 1           that one again, every time
  deadlock --sim --trace FILE           record a simulated run, with its virtual times
  deadlock --explore --philosophers 5   five of them
  deadlock --explore --mended           all schedules of the mended program
  deadlock --explore --mended --philosophers 5 --skip
                                        a proof for five, who have too many schedules to try
  deadlock --threads                    threads get stuck too, sometimes";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the demo with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    exploring::main_of("deadlock", args, |arguments: Arguments, out| {
        let bug = arguments.bug;
        let tasks = arguments.philosophers.map_or(2, usize::from);
        let demo = at_a_table(tasks, bug.mended());
        let demo = if arguments.skip { demo.skipping() } else { demo };
        match bug.way()? {
            Way::Simulate(simulation) => bug.show_run(&demo, &simulation, out),
            Way::Explore => bug.show_search(&demo, out),
            Way::Threads => bug.show_threads(&run_threads(tasks, bug.mended())?, out),
            Way::WholeStory => {
                writeln!(out, "{STORY}\n")?;
                let threads = run_threads(2, false)?;
                let cure = "the lock with the lower number comes first.";
                at_a_table(2, false).tell_it_all(&threads, cure, out)?;
                writeln!(out, "\nFive philosophers, at a round table with five forks")?;
                let five = at_a_table(5, false).skipping();
                five.tell_of(&five.explore(), out)?;
                writeln!(out, "\nMended: five")?;
                let mended = five.mended();
                Ok(mended.tell_of(&mended.explore(), out)?)
            }
        }
    })
}

fn at_a_table(tasks: usize, mended: bool) -> Demo {
    let command = match tasks {
        2 => "deadlock".to_string(),
        _ => format!("deadlock --philosophers {tasks}"),
    };
    Demo::new(command, mended, move |mended, story| table(tasks, mended, story))
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tries { threads, tries, .. } = self;
        match self.stuck {
            true => write!(
                f,
                "  {threads} threads: stuck at try {tries}. Each holds one lock and waits for the \
                 next one's.\n  After {} s that was still so. They hang until this process ends.",
                PATIENCE.as_secs()
            ),
            false => write!(f, "  {threads} threads: {tries} tries, and they were never stuck."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(holds_first: [bool; 2], done: usize) -> Board {
        (sync::Mutex::new(Seats { holds_first: holds_first.to_vec(), done }), Condvar::new())
    }

    #[test]
    fn threads_are_stuck_when_each_holds_a_lock_that_another_wants_and_nothing_changes() {
        assert!(are_stuck(&board([true, true], 0)).unwrap());
        assert!(!are_stuck(&board([false, false], 2)).unwrap());
    }

    #[test]
    fn threads_that_are_only_slow_are_waited_for() {
        let board = board([true, false], 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                change(&board, |seats| seats.holds_first[0] = false);
                change(&board, |seats| seats.done = 2);
            });
            assert!(!are_stuck(&board).unwrap());
        });
    }

    #[test]
    fn mended_nobody_takes_a_higher_lock_first() {
        for tasks in 2..=6 {
            for me in 0..tasks {
                let (first, second) = locks_of(me, tasks, true);
                assert!(first < second);
                let (left, right) = locks_of(me, tasks, false);
                assert_eq!((first, second), (left.min(right), left.max(right)));
            }
        }
    }
}
