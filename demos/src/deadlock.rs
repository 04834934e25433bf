//! A deadlock: two locks, taken in opposite order, and then five philosophers.
//!
//! When each task has its first lock and none has its second, all wait for ever. On the real loop
//! they come one after the other, and each is done when the next one begins; the simulator finds
//! the order in which it goes wrong. The fix is an order: a task that takes the lock with the lower
//! number first can never be part of a circle. In the book: "The simulator".

mod locks;
mod program;
mod threads;

use std::rc::Rc;

use popleft::{task, yield_now};

use self::locks::Locks;
pub use self::program::{main, run_from};
use crate::exploring::{End, Story};

/// Which lock is taken first, and which second, out of as many as there are tasks.
fn locks_of(me: usize, tasks: usize, fixed: bool) -> (usize, usize) {
    let (left, right) = (me, (me + 1) % tasks);
    if fixed {
        (left.min(right), left.max(right)) // the lower number first
    } else {
        (left, right)
    }
}

/// Takes the one lock, and a little later the other one too.
async fn use_both(locks: Rc<Locks>, (one, two): (usize, usize)) {
    let _first = locks.take_first(one).await;
    yield_now().await; // here others may run
    let _second = locks.take_second(two).await;
}

/// As many tasks as locks, one after the other: two tasks with two locks are a table for two.
async fn table(tasks: usize, fixed: bool, story: Story) -> End {
    let locks = Rc::new(Locks::new(tasks, story));
    let mut seated = vec![];
    for (me, name) in (0..tasks).zip('A'..) {
        let task = use_both(locks.clone(), locks_of(me, tasks, fixed));
        seated.push(task::Builder::new().name(name).spawn(task));
        yield_now().await; // the next one comes a little later
    }
    for task in seated {
        task.await.expect("it neither panics nor is cancelled");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_no_task_takes_a_higher_lock_first() {
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
