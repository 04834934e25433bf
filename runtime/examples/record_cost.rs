//! What recording costs: `cargo run --release -p popleft --example record_cost`
//!
//! One task yields; each yield is three events (pending, wake, poll) and a share of a look outside.
//! The same run without a sink, with one that does nothing, into memory, into a ring, and as JSON
//! Lines to nowhere.
//!
//! A machine has slow seconds. So the runs take turns, a short one of each in every round, and each
//! is held against the clock and the unrecorded run of its own round; what is printed is the median
//! of the rounds.
//!
//! With the name of a sink it makes one run with that, and prints nothing: for a profiler that
//! counts instructions.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example may print")]
use std::env;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use popleft::record::{Entry, Header, JsonLines, Memory, Sink};
use popleft::{Builder, Runtime, yield_now};

const YIELDS: u32 = 100_000;
const ROUNDS: usize = 21;

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

/// A name for the command line, one for the table, and how to record so.
type Way = (&'static str, &'static str, fn() -> Builder);

const NOT_RECORDED: Way = ("none", "not recorded", Runtime::builder);

const SINKS: [Way; 4] = [
    ("nothing", "a sink of nothing", || Runtime::builder().record(Nothing)),
    ("all", "all into memory", || Runtime::builder().record(Memory::all())),
    ("last", "the last 10,000", || Runtime::builder().record(Memory::last(10_000))),
    ("lines", "JSON Lines", || Runtime::builder().record(JsonLines::new(io::sink()))),
];

/// The time of one run, in nanoseconds a yield.
fn run(builder: Builder) -> f64 {
    let runtime = builder.build().expect("a runtime can be made");
    let start = Instant::now();
    runtime.block_on(async {
        for _ in 0..YIELDS {
            yield_now().await;
        }
    });
    start.elapsed().as_secs_f64() * 1e9 / f64::from(YIELDS)
}

/// The time of reading the clock once, in nanoseconds.
fn read_the_clock() -> f64 {
    let start = Instant::now();
    for _ in 0..YIELDS {
        black_box(Instant::now());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(YIELDS)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> ExitCode {
    let Some(wanted) = env::args().nth(1) else {
        measure();
        return ExitCode::SUCCESS;
    };
    let all: Vec<Way> = [NOT_RECORDED].into_iter().chain(SINKS).collect();
    match all.iter().find(|way| way.0 == wanted) {
        Some((_, _, builder)) => {
            run(builder());
            ExitCode::SUCCESS
        }
        None => {
            let names: Vec<_> = all.iter().map(|way| way.0).collect();
            eprintln!("record_cost: no sink is called {wanted:?}; there are {}", names.join(", "));
            ExitCode::FAILURE
        }
    }
}

fn measure() {
    let recording = Memory::all();
    run(Runtime::builder().record(recording.clone()));
    let events = recording.entries().len();
    drop(recording);
    let events_a_yield = events as f64 / f64::from(YIELDS);
    println!("{YIELDS} yields are {events} events; {ROUNDS} rounds, the median of each");

    let rounds: Vec<_> = (0..ROUNDS)
        .map(|_| (read_the_clock(), run(NOT_RECORDED.2()), SINKS.map(|sink| run(sink.2()))))
        .collect();
    let clock = median(rounds.iter().map(|round| round.0));
    println!("reading the clock  {clock:7.1} ns");
    println!(
        "{:<18} {:7.1} ns a yield",
        NOT_RECORDED.1,
        median(rounds.iter().map(|round| round.1))
    );
    for (number, (_, name, _)) in SINKS.iter().enumerate() {
        let a_yield = median(rounds.iter().map(|round| round.2[number]));
        let an_event =
            |round: &(f64, f64, [f64; SINKS.len()])| (round.2[number] - round.1) / events_a_yield;
        let cost = median(rounds.iter().map(an_event));
        let clocks = median(rounds.iter().map(|round| an_event(round) / round.0));
        println!(
            "{name:<18} {a_yield:7.1} ns a yield, {cost:6.1} ns an event, {clocks:5.2} times the clock"
        );
    }
}
