//! What recording costs: `cargo run --release -p popleft --example record_cost`
//!
//! One task yields; each yield is three events (pending, wake, poll) and a share of a look outside.
//! The same run without a sink, with one that does nothing, into memory, into a ring, and as JSON
//! Lines to nowhere.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use popleft::record::{Entry, Header, JsonLines, Memory, Sink};
use popleft::{Runtime, yield_now};

const YIELDS: u32 = 300_000;
const ROUNDS: usize = 5;

/// Takes every entry and keeps none.
struct Nothing;

impl Sink for Nothing {
    fn begin(&mut self, _: &Header) -> io::Result<()> {
        Ok(())
    }

    fn record(&mut self, _: Entry) -> io::Result<()> {
        Ok(())
    }
}

/// The time of the best round, in nanoseconds a yield.
fn best(mut builder: impl FnMut() -> popleft::Builder) -> f64 {
    let round = |_| {
        let runtime = builder().build().expect("a runtime can be made");
        let start = Instant::now();
        runtime.block_on(async {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        });
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min) * 1e9 / f64::from(YIELDS)
}

fn main() {
    let events = Memory::all();
    Runtime::builder().record(events.clone()).build().expect("a runtime can be made").block_on(
        async {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        },
    );
    let events_a_yield = events.entries().len() as f64 / f64::from(YIELDS);
    drop(events);
    println!("an entry takes {} bytes; a yield is {events_a_yield:.2} events", size_of::<Entry>());

    let reads = 1_000_000;
    let start = Instant::now();
    for _ in 0..reads {
        black_box(Instant::now());
    }
    let a_read = start.elapsed().as_secs_f64() * 1e9 / f64::from(reads);
    println!("reading the clock  {a_read:6.1} ns, once an event");
    let unrecorded = best(Runtime::builder);
    println!("not recorded       {unrecorded:6.1} ns a yield");
    let show = |name: &str, a_yield: f64| {
        let an_event = (a_yield - unrecorded) / events_a_yield;
        println!("{name} {a_yield:6.1} ns a yield, {an_event:6.1} ns an event");
    };
    show("a sink of nothing ", best(|| Runtime::builder().record(Nothing)));
    show("all into memory   ", best(|| Runtime::builder().record(Memory::all())));
    show("the last 10,000   ", best(|| Runtime::builder().record(Memory::last(10_000))));
    show("JSON Lines        ", best(|| Runtime::builder().record(JsonLines::new(io::sink()))));
}
