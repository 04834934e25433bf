//! The talk's way around the GIL: threads that wait, and a pool of processes that compute.
//!
//! Each client still has its thread, but a thread only passes its requests on to a
//! [worker process](crate::worker_processes) and waits for the answer.
//!
//! **The second client** is served at once, and short requests keep their rate while long ones are
//! computed, also where threads share a lock. But every request, however short, now travels to
//! another process and back: there are far fewer of them in a second.
//!
//! In the talk: `pool.submit(fib, n)` with a `ProcessPoolExecutor`. In the book: "Processes".

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::blocking::{self, Client, Listener, start_thread};
use crate::cli::{self, ServerOptions, WorkerOptions};
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};
use crate::worker_processes::{self, WORKER, Workers};

/// Accepts clients and starts a thread for each; they share the workers.
pub fn fib_server(listener: &Listener, rules: Rules, workers: &Arc<Workers>) {
    for client in listener.incoming() {
        let workers = workers.clone();
        start_thread(move || fib_handler(client, rules, &workers));
    }
}

fn fib_handler(client: Client, rules: Rules, workers: &Workers) -> io::Result<()> {
    let mut conversation = Conversation::new(rules);
    let mut buffer = [0; READ_SIZE];
    while conversation.is_open() {
        let length = client.read(&mut buffer)?;
        for request in conversation.received(&buffer[..length]) {
            let result = match request {
                Ok(n) => workers.fib(n),
                Err(refusal) => Err(refusal.into()),
            };
            client.write_all(answer(result).as_bytes())?;
        }
    }
    client.hang_up()
}

// ===== the program ==============================================================================

/// The Fibonacci server with a pool of worker processes
///
/// A thread for each client waits; processes compute. One that is killed costs the request that it
/// had, and is replaced.
#[derive(Debug, Parser)]
#[command(name = "fib-processes", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,

    #[command(flatten)]
    workers: WorkerOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-processes                         listen on 127.0.0.1:25000
  fib-processes --workers 2             compute two requests at once
  kill -9 PID                           of a worker while it computes, to see who notices";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out. They have to be the last
/// ones of this process: a worker is started with what came before them, and [`WORKER`].
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if args.first().is_some_and(|first| first == WORKER) {
        return worker_processes::work();
    }
    let all_args: Vec<OsString> = cli::arguments().collect();
    let before = all_args.strip_suffix(args.as_slice()).unwrap_or(&[]);
    let worker_args = [before, &[WORKER.into()]].concat();
    cli::run("fib-processes", args.into_iter(), |options: Options| {
        let rules = options.server.rules();
        let workers = Arc::new(Workers::start(options.workers.count(), worker_args)?);
        blocking::serve(&options.server, |listener| {
            fib_server(listener, rules, &workers);
        })
    })
}
