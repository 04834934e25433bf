//! A small telnet: it sends lines to the server, and shows its answers on the terminal.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::Parser;

use crate::{cli, output};

/// Sends lines and shows answers, both at once: each direction has a thread.
fn talk(mut server: TcpStream) -> anyhow::Result<()> {
    let requests = server.try_clone()?;
    // When the server ends first, this thread is not joined: reading a terminal cannot be
    // interrupted.
    let send = move || send(requests);
    thread::Builder::new().spawn(send).context("cannot start a thread")?;
    let mut buffer = [0; 4096];
    let mut answers = Answers::default();
    let mut stdout = output::stdout();
    loop {
        let length = server.read(&mut buffer).context("the connection is lost")?;
        let text = match length {
            0 => answers.rest(),
            _ => answers.received(&buffer[..length]),
        };
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// Sends standard input, and at its end says goodbye.
fn send(mut server: TcpStream) {
    // Errors are the connection's, and the other direction reports them.
    let _ = io::copy(&mut io::stdin().lock(), &mut server);
    let _ = server.shutdown(Shutdown::Write);
}

/// What a server answers, as a terminal may show it.
#[derive(Default)]
struct Answers {
    /// What has come of a character, or of a line's end, that is not complete yet.
    begun: Vec<u8>,
}

impl Answers {
    /// All that can be shown now that these bytes have come.
    fn received(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.len() - length_of_the_begun(&self.begun);
        let whole: Vec<u8> = self.begun.drain(..whole).collect();
        output::harmless(&String::from_utf8_lossy(&whole).replace("\r\n", "\n"))
    }

    /// What is left when nothing more will come.
    fn rest(&mut self) -> String {
        output::harmless(&String::from_utf8_lossy(&std::mem::take(&mut self.begun)))
    }
}

/// How many bytes at the end are the beginning of a character, or of a line's end.
fn length_of_the_begun(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => usize::from(bytes.ends_with(b"\r")),
    }
}

// ===== the program ==============================================================================

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_shown_as_they_come_however_they_are_cut() {
        let answer = "55\r\ngrößer \u{1b}[31m\r\u{9b}\u{fffd}\n".as_bytes();
        let shown = "55\ngrößer \\u{1b}[31m\\r\\u{9b}\u{fffd}\n";
        for first in 0..answer.len() {
            for second in first..answer.len() {
                let mut answers = Answers::default();
                let parts = [&answer[..first], &answer[first..second], &answer[second..]];
                let seen = parts.map(|part| answers.received(part)).concat();
                assert_eq!(seen + &answers.rest(), shown);
            }
        }
    }

    #[test]
    fn what_is_no_text_does_not_hold_back_what_follows() {
        let mut answers = Answers::default();
        assert_eq!(answers.received(b"5\xff5\n"), "5\u{fffd}5\n");
        assert_eq!(answers.received(b"\xc3"), "");
        assert_eq!(answers.received(b"\n"), "\u{fffd}\n");
        assert_eq!(answers.received(b"1\xe2\x82"), "1");
        assert_eq!(answers.rest(), "\u{fffd}");
    }
}
