//! Step 1, countdown: generators that take turns, and the deque that gives them their turns.
use popleft_steps::{arguments, not_claimed};
use std::cell::RefCell;
use std::collections::VecDeque;

/// A function that can stop in the middle and go on later. Rust has no `yield`, so what it must remember is a struct.
trait Generator {
    /// Runs to the next `yield`.
    fn resume(&mut self) -> Turn;
}

/// Why a generator has stopped.
enum Turn {
    Yield,
    Done,
}

type Task = Box<dyn Generator>;

thread_local! {
    /// The tasks that can run now. The talk calls it `tasks`.
    static READY: RefCell<VecDeque<Task>> = RefCell::default();
}

fn spawn(task: impl Generator + 'static) {
    READY.with_borrow_mut(|ready| ready.push_back(Box::new(task)));
}

/// Gives each task its turn until all are done.
fn run() {
    while let Some(mut task) = READY.with_borrow_mut(VecDeque::pop_front) {
        match task.resume() {
            Turn::Yield => READY.with_borrow_mut(|ready| ready.push_back(task)),
            Turn::Done => {}
        }
    }
}

struct Countdown {
    n: u64,
}

impl Generator for Countdown {
    fn resume(&mut self) -> Turn {
        if self.n == 0 {
            return Turn::Done;
        }
        println!("{}", self.n);
        self.n -= 1;
        Turn::Yield
    }
}

fn main() {
    let (scenario, numbers) = arguments("countdown 10 5 20");
    match scenario.as_str() {
        "countdown" => numbers.into_iter().for_each(|n| spawn(Countdown { n })),
        _ => not_claimed(&scenario, "countdown"),
    }
    run();
}
