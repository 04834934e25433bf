//! How late a timer fires: asked against got.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::peers::Peer;

/// How long a sleep is; not a whole number of milliseconds.
const ASKED: Duration = Duration::from_micros(730);

/// How long the busy task of the second kind computes in each of its turns.
const TURN: Duration = Duration::from_micros(20);

/// By how many microseconds each of so many sleeps was too long. With `busy`, another task
/// computes for 20 us in each of its turns and never waits for anything.
pub fn lateness<P: Peer>(busy: bool, sleeps: u64) -> Vec<f64> {
    P::run(async move {
        let over = Rc::new(Cell::new(false));
        if busy {
            P::spawn_detached(compute_in_turns::<P>(over.clone()));
        }
        let mut late = Vec::new();
        for _ in 0..sleeps {
            let start = Instant::now();
            P::sleep(ASKED).await;
            late.push(too_long(start));
        }
        over.set(true);
        late
    })
}

async fn compute_in_turns<P: Peer>(over: Rc<Cell<bool>>) {
    while !over.get() {
        let start = Instant::now();
        while start.elapsed() < TURN {
            black_box(start);
        }
        P::yield_now().await;
    }
}

/// The kernel's own: a thread that sleeps.
pub fn limit(sleeps: u64) -> Vec<f64> {
    let sleep = |_| {
        let start = Instant::now();
        thread::sleep(ASKED);
        too_long(start)
    };
    (0..sleeps).map(sleep).collect()
}

fn too_long(start: Instant) -> f64 {
    start.elapsed().saturating_sub(ASKED).as_nanos() as f64 / 1000.0
}
