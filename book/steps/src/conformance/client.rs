//! A client of the server under test. All that it waits for, it waits for with patience but not for ever.

use super::program::{LONGEST_LINE, Program, Running};
use super::{Stop, broken};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that has said where it listens.
pub(super) struct Server {
    pub(super) running: Running,
    address: SocketAddr,
    pub(super) patience: Duration,
}

impl Server {
    pub(super) fn start(program: &Program, scenario: &str) -> Result<Server, Stop> {
        let mut running = program.start(scenario, &[])?;
        let Some(line) = running.next_line()? else {
            running.end_well()?;
            return broken("expected `listening on ADDR`, got the end of the output");
        };
        let address = line.text.strip_prefix("listening on ").map(str::parse);
        match address {
            Some(Ok(address)) => Ok(Server { running, address, patience: program.patience }),
            _ => broken(format!("expected `listening on ADDR`, got {:?}", line.text)),
        }
    }

    pub(super) fn connect(&self) -> Result<Client, Stop> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience);
        let stream = explain("no connection", stream)?;
        explain("a timeout can be set", stream.set_read_timeout(Some(self.patience)))?;
        explain("a timeout can be set", stream.set_write_timeout(Some(self.patience)))?;
        explain("small writes go at once", stream.set_nodelay(true))?;
        let reader = explain("a socket can be doubled", stream.try_clone())?;
        Ok(Client { stream, reader: BufReader::new(reader), patience: self.patience })
    }

    /// A new client asks one thing and goes.
    pub(super) fn still_serves(&self, after: &str) -> Result<(), Stop> {
        let asked = self.connect().and_then(|mut client| client.expect("10", "55"));
        match asked {
            Err(Stop::Broken(what)) => broken(format!("{after}, a new client: {what}")),
            result => result,
        }
    }
}

pub(super) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    patience: Duration,
}

impl Client {
    pub(super) fn send(&mut self, text: &str) -> Result<(), Stop> {
        explain("nothing can be sent", self.stream.write_all(text.as_bytes()))
    }

    /// One line, without its end.
    pub(super) fn receive(&mut self) -> Result<String, Stop> {
        let mut line = String::new();
        let read = self.reader.by_ref().take(LONGEST_LINE).read_line(&mut line);
        match explain("no answer", read)? as u64 {
            0 => broken("the server has closed the connection"),
            LONGEST_LINE if !line.ends_with('\n') => broken("a line without an end"),
            _ => Ok(line.trim_end().to_string()),
        }
    }

    pub(super) fn expect(&mut self, line: &str, answer: &str) -> Result<(), Stop> {
        self.send(&format!("{line}\n"))?;
        self.expect_answer(line, answer)
    }

    pub(super) fn expect_answer(&mut self, line: &str, answer: &str) -> Result<(), Stop> {
        match self.receive() {
            Ok(got) if got == answer => Ok(()),
            Ok(got) => broken(format!("{line:?}: expected {answer:?}, got {got:?}")),
            Err(Stop::Broken(what)) => broken(format!("{line:?}: expected {answer:?}, got {what}")),
            Err(other) => Err(other),
        }
    }

    /// Sees whether anything comes when nothing should.
    pub(super) fn expect_silence(&mut self, after: &str) -> Result<(), Stop> {
        let moment = Duration::from_millis(100);
        explain("a timeout can be set", self.stream.set_read_timeout(Some(moment)))?;
        let came = self.stream.peek(&mut [0]);
        explain("a timeout can be set", self.stream.set_read_timeout(Some(self.patience)))?;
        match came {
            Ok(0) => broken(format!("{after}: the server has closed the connection")),
            Ok(_) => broken(format!("{after}: expected silence, got an answer")),
            Err(_) => Ok(()),
        }
    }

    /// Whether anything has come, without waiting for it.
    pub(super) fn has_answer(&mut self) -> Result<bool, Stop> {
        explain("a socket can be non-blocking", self.stream.set_nonblocking(true))?;
        let came = self.stream.peek(&mut [0]);
        explain("a socket can be blocking", self.stream.set_nonblocking(false))?;
        Ok(came.is_ok())
    }

    /// Goes away with an answer unread, which the server sees as a reset of the connection.
    pub(super) fn leave_answer_unread(self) -> Result<(), Stop> {
        match explain("no answer", self.stream.peek(&mut [0]))? {
            0 => broken("the server has closed the connection"),
            _ => Ok(()),
        }
    }

    /// Says that nothing more will be sent, and reads to the end.
    pub(super) fn finish(mut self) -> Result<String, Stop> {
        let shut = self.stream.shutdown(std::net::Shutdown::Write);
        explain("the connection cannot be shut", shut)?;
        let mut rest = String::new();
        let read = self.reader.by_ref().take(LONGEST_LINE).read_to_string(&mut rest);
        explain("the server does not close the connection", read)?;
        Ok(rest)
    }

    /// The two halves: one thread writes, another reads.
    pub(super) fn split(self) -> (TcpStream, BufReader<TcpStream>) {
        (self.stream, self.reader)
    }
}

pub(super) fn explain<T, E: Display>(what: &str, result: Result<T, E>) -> Result<T, Stop> {
    result.or_else(|error| broken(format!("{what} ({error})")))
}
