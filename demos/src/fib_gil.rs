//! The threaded server as Python runs it: a thread for each client, and one lock for all.
//!
//! Rust has no global interpreter lock, so this server brings a toy one ([`gil`](crate::gil)).
//! A thread holds it while it runs, and lets go of it around every call that blocks.
//!
//! **The second client** is served at once, as long as no thread computes. But a thread that answers
//! short requests lets go of the lock at each read and each write, and when another one computes,
//! it waits a whole switch interval (5 ms) each time to get it back: from tens of thousands of
//! requests a second to about a hundred. Long computations take turns, so two of them take twice
//! as long, however many processors there are. An operating system does the opposite: it prefers
//! threads that need little.
//!
//! In the talk: perf2 falls as soon as perf1 starts. In the book: "Threads and the GIL".

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::blocking::{self, Client, Listener, start_thread};
use crate::cli::{self, ServerOptions};
use crate::gil::{Gil, Interpreter};
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};

/// Accepts clients and starts a thread for each; they share the lock.
pub fn fib_server(listener: &Listener, rules: Rules) {
    let gil = Arc::new(Gil::default());
    let mut interpreter = gil.acquire();
    while let Some(client) = interpreter.released(|| listener.accept()) {
        let gil = gil.clone();
        start_thread(move || fib_handler(&gil, client, rules));
    }
}

fn fib_handler(gil: &Gil, client: Client, rules: Rules) -> io::Result<()> {
    let mut interpreter = gil.acquire();
    let mut conversation = Conversation::new(rules);
    let mut buffer = [0; READ_SIZE];
    while conversation.is_open() {
        let length = interpreter.released(|| client.read(&mut buffer))?;
        for request in conversation.received(&buffer[..length]) {
            let result = request.map(|n| fib(&mut interpreter, n));
            let answer = answer(result);
            interpreter.released(|| client.write_all(answer.as_bytes()))?;
        }
    }
    interpreter.released(|| client.hang_up())
}

/// `fib` as an interpreter runs it: between calls it looks whether another thread wants the lock.
fn fib(interpreter: &mut Interpreter<'_>, n: u64) -> u64 {
    interpreter.tick();
    if n <= 2 { 1 } else { fib(interpreter, n - 1) + fib(interpreter, n - 2) }
}

// ===== the program ==============================================================================

/// The Fibonacci server with threads under a toy global interpreter lock
///
/// Long computations starve short requests, as in Python.
#[derive(Debug, Parser)]
#[command(name = "fib-gil", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-gil                           listen on 127.0.0.1:25000
  fib-gil --addr 127.0.0.1:0        listen on any free port
  perf2                             short requests a second; now start perf1 in another terminal";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-gil", args, |options: Options| {
        let rules = options.server.rules();
        blocking::serve(&options.server, |listener| fib_server(listener, rules))
    })
}
