//! The second server of the talk: a thread for each client.
//!
//! The handler is that of the sequential server, word for word. Only what runs it has changed: a
//! thread may block as long as it likes, since the operating system lets others run meanwhile.
//!
//! **The second client** is served at once. And since there is no global lock here, two long
//! computations run on two processors at the same time, which Python's threads do not.
//!
//! In the talk: `Thread(target=fib_handler, ...)`. In the book: "Threads and the GIL".

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::blocking::{self, Client, Listener, start_thread};
use crate::cli::{self, ServerOptions};
use crate::fib::fib;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};

/// Accepts clients and starts a thread for each.
pub fn fib_server(listener: &Listener, rules: Rules) {
    for client in listener.incoming() {
        start_thread(move || fib_handler(client, rules));
    }
}

fn fib_handler(client: Client, rules: Rules) -> io::Result<()> {
    let mut conversation = Conversation::new(rules);
    let mut buffer = [0; READ_SIZE];
    while conversation.is_open() {
        let length = client.read(&mut buffer)?;
        for request in conversation.received(&buffer[..length]) {
            let result = request.map(fib);
            client.write_all(answer(result).as_bytes())?;
        }
    }
    client.hang_up()
}

// ===== the program ==============================================================================

/// The Fibonacci server with a thread for each client
///
/// All clients are served at once, and long computations run on as many processors as there are.
#[derive(Debug, Parser)]
#[command(name = "fib-threads", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-threads                         listen on 127.0.0.1:25000
  fib-threads --addr 127.0.0.1:0      listen on any free port
  perf2 & perf1                       short requests beside long ones, in another terminal";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-threads", args, |options: Options| {
        let rules = options.server.rules();
        blocking::serve(&options.server, |listener| fib_server(listener, rules))
    })
}
