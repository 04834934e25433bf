//! The first server of the talk: one client at a time.
//!
//! Every call here blocks: `accept` until a client comes, `read` until it sends something, `fib`
//! until the number is known. While one client is being served, no other is accepted.
//!
//! **The second client** is connected by the kernel, may even send its request, and then hangs
//! without an answer until the first client leaves.
//!
//! In the talk this is where everything begins. In the book: "The fib server and blocking".

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::blocking::{self, Client, Listener};
use crate::cli::{self, ServerOptions};
use crate::fib::fib;
use crate::protocol::{Conversation, READ_SIZE, Rules, answer};

/// Accepts a client, serves it to its end, accepts the next.
pub fn fib_server(listener: &Listener, rules: Rules) {
    for client in listener.incoming() {
        // A connection that broke is the end of that client, not of the server.
        let _ = fib_handler(client, rules);
    }
}

fn fib_handler(client: Client, rules: Rules) -> io::Result<()> {
    let mut conversation = Conversation::new(rules);
    let mut buffer = [0; READ_SIZE];
    while conversation.is_open() {
        let length = client.read(&mut buffer)?; // blocks
        for request in conversation.received(&buffer[..length]) {
            let result = request.map(fib); // blocks as well, in its own way
            client.write_all(answer(result).as_bytes())?; // blocks
        }
    }
    client.hang_up()
}

// ===== the program ==============================================================================

/// The Fibonacci server that serves one client at a time
///
/// A second client waits until the first has left.
#[derive(Debug, Parser)]
#[command(name = "fib-sequential", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    server: ServerOptions,
}

const EXAMPLES: &str = "\
Examples:
  fib-sequential                        listen on 127.0.0.1:25000
  fib-sequential --addr 127.0.0.1:0     listen on any free port
  nc 127.0.0.1 25000                    talk to it: type 30 and press Enter; then try a second nc";

pub fn main() -> ExitCode {
    run_from(cli::arguments())
}

/// Runs the server with these arguments, the program's name left out.
pub fn run_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    cli::run("fib-sequential", args, |options: Options| {
        let rules = options.server.rules();
        blocking::serve(&options.server, |listener| fib_server(listener, rules))
    })
}
