//! A program that keeps every law of the suite but one: `broken BREAK SCENARIO NUMBER...`. It shows that the suite can fail.
//!
//! `broken nothing ...` keeps them all, with a thread for each client and no loop at all: the laws say how a program
//! behaves, not how it is made. Each line with `breaks(..)` in it is one way to go wrong.
use popleft_steps::{Connection, answer, end_when_printing_fails, listen};
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io, process};

/// Which break the command line names.
fn breaks(name: &str) -> bool {
    env::args().nth(1).is_some_and(|word| word == name)
}

fn main() {
    end_when_printing_fails();
    let words: Vec<String> = env::args().skip(2).collect();
    let Some((scenario, numbers)) = words.split_first() else {
        eprintln!("usage: broken BREAK SCENARIO NUMBER...");
        process::exit(2);
    };
    let numbers: Vec<u64> = numbers.iter().flat_map(|word| word.parse()).collect();
    if breaks("crash") {
        panic!("broken on purpose");
    }
    match scenario.as_str() {
        "countdown" => countdown(numbers.into()),
        "sleep" => sleep(&numbers),
        "yield" => keep_yielding(numbers[0]),
        "join" => join(&numbers),
        "serve" | "crowd" | "offload" => serve(),
        _ => process::exit(64),
    }
}

fn countdown(mut tasks: VecDeque<u64>) {
    while let Some(n) = tasks.pop_front() {
        println!("{n}");
        match n - 1 {
            0 => {}
            rest if breaks("lifo") => tasks.push_front(rest),
            rest => tasks.push_back(rest),
        }
    }
    if breaks("hang") {
        thread::park();
    }
}

fn sleep(numbers: &[u64]) {
    let start = Instant::now();
    let mut numbers = numbers.to_vec();
    if !breaks("one-by-one") {
        numbers.sort();
    }
    for ms in numbers {
        let due = start + Duration::from_millis(if breaks("early") { ms / 2 } else { ms });
        while breaks("spin") && Instant::now() < due {}
        thread::sleep(due.saturating_duration_since(Instant::now()));
        println!("{ms}");
    }
}

fn keep_yielding(ms: u64) {
    let yields = move || {
        thread::sleep(Duration::from_millis(10 * ms));
        println!("over");
    };
    if breaks("starve") {
        yields();
        return sleep(&[ms]);
    }
    let yielding = thread::spawn(yields);
    sleep(&[ms]);
    yielding.join().expect("a sleep does not panic");
}

fn join(numbers: &[u64]) {
    sleep(numbers);
    let mut results: Vec<u64> = numbers.iter().map(|ms| 2 * ms).collect();
    if breaks("mixed-results") {
        results.sort();
    }
    for result in results {
        println!("joined {result}");
    }
}

fn serve() {
    let listener = listen(&[]);
    for client in listener.incoming().flatten() {
        if breaks("one-client") {
            let _ = handle(client);
        } else {
            thread::spawn(|| handle(client));
        }
    }
}

fn handle(socket: TcpStream) -> io::Result<()> {
    let peer = socket.peer_addr()?;
    let mut client = Connection::blocking(socket);
    while fragile(client.receive())? {
        let mut lines: Vec<String> = std::iter::from_fn(|| client.next_line()).collect();
        if breaks("last-first") {
            lines.reverse();
        }
        for line in lines {
            let answer = compute(&line);
            if breaks("no-errors") && answer.starts_with("error") {
                continue;
            }
            client.reply(&answer);
        }
        while !fragile(client.send())? {}
    }
    if breaks("spin") {
        eprintln!("{peer} has gone, and nobody notices");
        loop {
            std::hint::spin_loop();
        }
    }
    if breaks("never-close") {
        thread::park();
    }
    Ok(())
}

fn fragile<T>(result: io::Result<T>) -> io::Result<T> {
    if breaks("fragile") && result.is_err() {
        process::exit(1);
    }
    result
}

fn compute(line: &str) -> String {
    if breaks("inline") {
        return compute_in_turn(line);
    }
    answer(line)
}

/// A line, and where its answer goes.
type Job = (String, mpsc::Sender<String>);

/// One thread computes for all clients, one line after the other: what a loop does that computes by itself.
static JOBS: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::spawn(move || {
        for (line, result) in jobs {
            let _ = result.send(answer(&line));
        }
    });
    sender
});

fn compute_in_turn(line: &str) -> String {
    let (sender, result) = mpsc::channel();
    let sent = JOBS.send((line.to_string(), sender));
    sent.expect("the thread never ends");
    result.recv().expect("each line gets an answer")
}
