//! The checks of the laws that a server keeps, in the order of the list.

use super::client::{Client, Server, explain};
use super::laws::rests;
use super::program::Program;
use super::{Check, Stop, broken};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(super) fn answers(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    client.expect("10", "55")?;
    client.expect("20\r", "6765")?;
    client.expect("1", "1")?;
    client.expect(" 2 ", "1")
}

pub(super) fn pieces(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    client.send("1")?;
    client.expect_silence("\"1\" and no end of line")?;
    client.send("0\n2")?;
    client.expect_answer("10", "55")?;
    client.expect_silence("\"2\" and no end of line")?;
    client.send("0\n")?;
    client.expect_answer("20", "6765")
}

pub(super) fn pipeline(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    let numbers: Vec<u64> = (0..300).map(|index| 1 + index * 7 % 15).collect();
    let lines: String = numbers.iter().map(|n| format!("{n}\n")).collect();
    client.send(&lines)?;
    for n in numbers {
        client.expect_answer(&n.to_string(), &fib(n).to_string())?;
    }
    Ok(())
}

pub(super) fn bad_line(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    for line in ["spam", "", "-1", "2.5"] {
        client.send(&format!("{line}\n"))?;
        let answer = client.receive()?;
        if !answer.starts_with("error") {
            return broken(format!("{line:?}: expected `error` and some words, got {answer:?}"));
        }
        client.expect("10", "55")?;
    }
    Ok(())
}

pub(super) fn last_words(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    client.send("10\n20")?;
    let rest = client.finish()?;
    if rest.trim_end() != "55" {
        return broken(format!(
            "\"10\\n20\" and no more: expected \"55\" and the end, got {rest:?}"
        ));
    }
    server.still_serves("after a client that ended")
}

pub(super) fn gone(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    drop(server.connect()?);
    server.still_serves("after one that said nothing")?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send("1")?;
    }
    server.still_serves("after those that left in the middle of a line")?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send(&"15\n".repeat(200))?;
        client.leave_answer_unread()?;
    }
    server.still_serves("after those that left in the middle of their answers")
}

pub(super) fn rest(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    let mut client = server.connect()?;
    client.expect("10", "55")?;
    rests(server.running.restlessness()?)
}

pub(super) fn rest_alone(program: &Program) -> Check {
    let server = Server::start(program, "serve")?;
    server.still_serves("at the start")?;
    let mut client = server.connect()?;
    client.send("10\n1")?;
    client.expect_answer("10", "55")?;
    drop(client);
    rests(server.running.restlessness()?)
}

pub(super) fn second(program: &Program) -> Check {
    let server = Server::start(program, "crowd")?;
    let mut first = server.connect()?;
    first.expect("10", "55")?;
    let mut second = server.connect()?;
    second.expect("20", "6765")?;
    first.expect("1", "1")?;
    second.expect("10", "55")
}

pub(super) fn half_line(program: &Program) -> Check {
    let server = Server::start(program, "crowd")?;
    let mut slow = server.connect()?;
    slow.send("1")?;
    server.still_serves("beside one in the middle of a line")?;
    slow.send("0\n")?;
    slow.expect_answer("10", "55")
}

pub(super) fn hundred(program: &Program) -> Check {
    let server = Server::start(program, "crowd")?;
    let mut clients = Vec::new();
    for index in 0..100 {
        clients.push((1 + index % 20, server.connect()?));
    }
    for (n, client) in &mut clients {
        client.send(&format!("{n}\n"))?;
    }
    for (n, client) in clients.iter_mut().rev() {
        client.expect_answer(&n.to_string(), &fib(*n).to_string())?;
    }
    Ok(())
}

pub(super) fn greedy(program: &Program) -> Check {
    let server = Server::start(program, "crowd")?;
    let mut polite = server.connect()?;
    let mut greedy = server.connect()?;
    // Once it has had an answer it is being served.
    greedy.expect("1", "1")?;
    let (mut writer, mut reader) = greedy.split();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let enough = &enough;
        let writing = move || {
            let requests = "1\n".repeat(1000);
            while !enough.load(Ordering::Relaxed) && writer.write_all(requests.as_bytes()).is_ok() {
            }
            let _ = writer.shutdown(std::net::Shutdown::Both);
        };
        let reading = move || while reader.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {};
        let started = thread::Builder::new()
            .spawn_scoped(scope, reading)
            .and_then(|_| thread::Builder::new().spawn_scoped(scope, writing));
        let served = explain("cannot start a thread", started)
            .and_then(|_| (0..3).try_for_each(|_| polite.expect("10", "55")));
        enough.store(true, Ordering::Relaxed);
        served
    })
}

pub(super) fn short_beside_long(program: &Program) -> Check {
    let server = Server::start(program, "offload")?;
    let mut long = server.connect()?;
    let mut short = server.connect()?;
    short.expect("1", "1")?;
    let mut n = long_n(&mut long)?;
    loop {
        let (answered, watched) = count_short_answers(&mut short, &mut long, n)?;
        if answered >= ENOUGH {
            return Ok(());
        }
        // So few in so short a time may be the machine's fault; in a second they are the program's.
        if watched > Duration::from_secs(1) || n > 43 {
            return broken(format!(
                "fib({n}) took {watched:?}: expected {ENOUGH} short answers meanwhile, got {answered}"
            ));
        }
        n += 2;
    }
}

/// So many short answers while a long one is computed cannot be chance.
const ENOUGH: u32 = 10;

/// An n that takes this server a quarter of a second or more, and not much more.
fn long_n(client: &mut Client) -> Result<u64, Stop> {
    let mut n = 20;
    while n < 42 {
        let asked = Instant::now();
        client.expect(&n.to_string(), &fib(n).to_string())?;
        if asked.elapsed() > Duration::from_millis(250) {
            break;
        }
        n += 1;
    }
    Ok(n)
}

/// How many short requests are answered before a long one is, and how long that was watched.
fn count_short_answers(
    short: &mut Client,
    long: &mut Client,
    n: u64,
) -> Result<(u32, Duration), Stop> {
    let line = n.to_string();
    long.send(&format!("{line}\n"))?;
    // By then the server computes; what it answered before that would prove nothing.
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let mut answered = 0;
    while answered < ENOUGH && !long.has_answer()? {
        short.expect("1", "1")?;
        answered += 1;
    }
    let watched = begun.elapsed();
    long.expect_answer(&line, &fib(n).to_string())?;
    Ok((answered, watched))
}

pub(super) fn offload_order(program: &Program) -> Check {
    let server = Server::start(program, "offload")?;
    let mut client = server.connect()?;
    client.send("24\n1\n22\n2\n")?;
    for (line, answer) in [("24", "46368"), ("1", "1"), ("22", "17711"), ("2", "1")] {
        client.expect_answer(line, answer)?;
    }
    Ok(())
}

/// By adding up, which is why the suite need not wait.
fn fib(n: u64) -> u64 {
    let (mut this, mut next) = (0_u64, 1_u64);
    for _ in 0..n {
        (this, next) = (next, this + next);
    }
    this
}
