//! The child's side: it does its one task, and says what came of it in lines of JSON.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::SocketAddr;
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context, bail};
use popleft_demos::output;
use serde::Serialize;

use crate::allocations::{allocated, start_counting};
use crate::child::{Task, Usage};
#[cfg(target_os = "linux")]
use crate::load;
use crate::load::Load;
use crate::measure::{Sample, cpu_time, expect_to_be_slow, for_at_least};
use crate::peers::popleft::Popleft;
use crate::rows::grown::{self, Operation};
use crate::rows::{self, Kind, lateness};
use crate::with_peer;

/// No measurement takes so long that can be made at all. With a busy task beside, for example, a
/// runtime that polls it again and again never comes to look at its timers.
fn too_long(task: &Task) -> Option<Duration> {
    match task {
        Task::Serve { .. } | Task::Load { .. } => None,
        // Each asks for a millisecond.
        Task::Lateness { sleeps, .. } => Some(Duration::from_millis(1_000 + 5 * sleeps)),
        // What counts from outside makes it some fifty times slower.
        Task::Times { .. } => Some(Duration::from_secs(300)),
        _ => Some(Duration::from_secs(10)),
    }
}

fn end_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        output::complain(format_args!("not done after {:.1} s", time.as_secs_f64()));
        process::exit(1);
    });
}

pub(super) fn run(task: Task) -> anyhow::Result<()> {
    if let Some(time) = too_long(&task) {
        end_after(time);
    }
    match task {
        Task::Operation { row, peer, target, count } => operation(&row, &peer, target, count),
        Task::Times { row, peer, operations } => times(&row, &peer, operations),
        Task::Bytes { row, peer } => bytes(&row, &peer),
        Task::Grown { operation, others, target } => grown(operation, others, target),
        Task::Lateness { peer, busy, sleeps } => late(&peer, busy, sleeps),
        Task::Serve { peer, addr, count } => serve(&peer, addr, count),
        Task::Load { addr, load } => put_under_load(addr, load),
    }
}

/// A row that counts what an operation costs.
struct SmallRow {
    peer: fn(&str, u64) -> Option<Sample>,
    limit: Option<fn(u64) -> Sample>,
    first: u64,
    cpu: bool,
}

fn small_row(name: &str) -> anyhow::Result<SmallRow> {
    match rows::find(name).map(|row| row.kind) {
        Some(Kind::Operation { peer, limit, first, cpu }) => {
            Ok(SmallRow { peer, limit, first, cpu })
        }
        _ => bail!("no such row: {name}"),
    }
}

impl SmallRow {
    /// The row on a peer. Whether there is one has been asked before this process was started.
    fn workload(&self, peer: &str) -> impl Fn(u64) -> Sample {
        move |operations| match (peer, self.limit) {
            ("limit", Some(limit)) => limit(operations),
            _ => (self.peer)(peer, operations).expect("this peer is in this build"),
        }
    }
}

fn operation(row: &str, peer: &str, target: Duration, count: bool) -> anyhow::Result<()> {
    let row = small_row(row)?;
    if count {
        start_counting();
    }
    let target = if row.cpu { Duration::ZERO } else { target };
    say(&for_at_least(target, row.first, row.workload(peer)))
}

fn times(row: &str, peer: &str, operations: u64) -> anyhow::Result<()> {
    expect_to_be_slow();
    say(&small_row(row)?.workload(peer)(operations))
}

fn bytes(row: &str, peer: &str) -> anyhow::Result<()> {
    match rows::find(row).map(|row| row.kind) {
        Some(Kind::Bytes { limit, .. }) if peer == "limit" => say(&limit()),
        Some(Kind::Bytes { peer: count, .. }) => say(&count(peer)),
        _ => bail!("no such row: {row}"),
    }
}

fn grown(operation: Option<usize>, others: u64, target: Duration) -> anyhow::Result<()> {
    say(&for_at_least(target, 1_000, |n| match operation {
        Some(place) => {
            let (_, operation): (_, Operation) = Operation::ALL[place];
            grown::beside::<Popleft>(operation, others, n)
        }
        None => grown::all_in_turn::<Popleft>(others, n),
    }))
}

fn late(peer: &str, busy: bool, sleeps: u64) -> anyhow::Result<()> {
    say(&match peer {
        "limit" => Some(lateness::limit(sleeps)),
        peer => with_peer!(peer, crate::rows::lateness::lateness, (busy, sleeps)),
    })
}

fn serve(peer: &str, addr: SocketAddr, count: bool) -> anyhow::Result<()> {
    if count {
        start_counting();
    }
    thread::spawn(answer_questions);
    match rows::echo::serve(peer, addr) {
        Some(served) => served.context("the server has ended"),
        None => bail!("{peer} is not in this build"),
    }
}

#[cfg(target_os = "linux")]
fn put_under_load(addr: SocketAddr, load: Load) -> anyhow::Result<()> {
    let begun = || say("begun").map_err(as_io);
    let ended = || {
        say("ended").map_err(as_io)?;
        // The clients stay until the parent has asked what it wants to know.
        stdin().lock().read_line(&mut String::new())?;
        Ok(())
    };
    say(&load::run(addr, load, begun, ended)?)
}

#[cfg(not(target_os = "linux"))]
fn put_under_load(_: SocketAddr, _: Load) -> anyhow::Result<()> {
    bail!("the load needs epoll, and so Linux")
}

#[cfg(target_os = "linux")]
fn as_io(error: anyhow::Error) -> std::io::Error {
    std::io::Error::other(error)
}

fn say<T: Serialize + ?Sized>(what: &T) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// A server's questions come on a thread that sleeps otherwise.
fn answer_questions() {
    for _ in stdin().lock().lines() {
        let allocated = allocated();
        let _ = say(&Usage {
            cpu: cpu_time().as_secs_f64(),
            allocations: allocated.times,
            bytes: allocated.bytes,
        });
    }
    process::exit(0);
}
