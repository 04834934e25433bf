//! For whoever has no telnet: lines to the server, its answers to the terminal.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::Parser;

use crate::cli;

/// Sends what you type to a server, and shows what it answers
///
/// It ends when the server closes the connection, or when the input ends and all answers have come.
#[derive(Debug, Parser)]
#[command(name = "client", version, after_help = EXAMPLES)]
struct Options {
    /// The server's address
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:25000")]
    addr: String,
}

const EXAMPLES: &str = "\
Examples:
  client                          type a number and Enter; Ctrl-D ends
  client 127.0.0.1:12345          another server
  seq 1 20 | client               twenty requests at once";

pub fn main() -> ExitCode {
    cli::run("client", cli::arguments(), |options: Options| {
        let addr = &options.addr;
        let server = TcpStream::connect(addr)
            .with_context(|| format!("cannot connect to {addr} (is a server running?)"))?;
        talk(server)
    })
}

fn talk(mut server: TcpStream) -> anyhow::Result<()> {
    let requests = server.try_clone()?;
    // It is left behind where it is when the server ends first: reading a terminal cannot be
    // interrupted.
    thread::spawn(move || send(requests));
    let mut buffer = [0; 4096];
    let mut stdout = io::stdout().lock();
    loop {
        let length = server.read(&mut buffer).context("the connection is lost")?;
        if length == 0 {
            return Ok(());
        }
        let shown = stdout.write_all(&buffer[..length]).and_then(|()| stdout.flush());
        if shown.is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
}

/// Sends standard input, and at its end says goodbye.
fn send(mut server: TcpStream) {
    // Errors are the connection's, and the other direction tells of them.
    let _ = io::copy(&mut io::stdin().lock(), &mut server);
    let _ = server.shutdown(Shutdown::Write);
}
