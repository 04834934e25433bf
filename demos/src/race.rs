//! A lost update: two tasks add one to a counter, and the counter says one.
//!
//! Between two awaits no other task runs, so tasks need no lock for what they do in one go. Here an
//! `await` lies between the read and the write: if the other task reads in this gap, both write the
//! same number. On the real loop that never happens, since the second task comes a little later;
//! the simulator tries every possible order, and finds it. In the book: "The simulator".

mod counter;
mod program;
mod threads;

use std::rc::Rc;

use popleft::sync::Mutex;
use popleft::{JoinHandle, task, yield_now};

use self::counter::Counter;
pub use self::program::{main, run_from};
use crate::exploring::{End, Story};

/// Adds one, as if no other task did.
async fn add_one(counter: Rc<Counter>) {
    let seen = counter.get();
    yield_now().await; // here the other task may run
    counter.set(seen + 1);
}

/// Adds one, and holds the counter's lock from the read to the write.
async fn add_one_locked(counter: Rc<Mutex<Counter>>) {
    let counter = counter.lock().await;
    let seen = counter.get();
    yield_now().await; // the other task may run, but does not get the counter
    counter.set(seen + 1);
}

/// Two tasks add one each; the second comes a little later.
async fn broken(story: Story) -> End {
    let counter = Rc::new(Counter::new(story));
    let a = spawn('A', add_one(counter.clone()));
    yield_now().await;
    let b = spawn('B', add_one(counter.clone()));
    both(a, b).await;
    counter.check()
}

async fn fixed(story: Story) -> End {
    let counter = Rc::new(Mutex::new(Counter::with_a_lock(story)));
    let a = spawn('A', add_one_locked(counter.clone()));
    yield_now().await;
    let b = spawn('B', add_one_locked(counter.clone()));
    both(a, b).await;
    counter.lock().await.check()
}

fn spawn(name: char, task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    task::Builder::new().name(name).spawn(task)
}

async fn both(a: JoinHandle<()>, b: JoinHandle<()>) {
    for task in [a, b] {
        task.await.expect("adding neither panics nor is cancelled");
    }
}
