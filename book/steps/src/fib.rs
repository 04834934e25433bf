//! The work of the servers, and the bytes of one client: lines come in, answers go out.
//!
//! Nothing here decides when to wait. `receive` and `send` do what the socket lets them do at once: on a blocking socket
//! they stop the thread, on a non-blocking one they come back with less.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;

/// A line that reaches this length without an end closes its connection.
const LONGEST_LINE: usize = 64 * 1024;

/// One line of a client, answered: fib(n), or `error: ...` when the line is no number from 1 to 45.
///
/// Computed as its definition says, so the time grows by 1.6 with each n: that is the load.
pub fn answer(line: &str) -> String {
    match line.trim().parse() {
        Ok(n @ 1..=45) => fib(n).to_string(),
        _ => "error: a number from 1 to 45, please".to_string(),
    }
}

fn fib(n: u32) -> u64 {
    if n <= 2 { 1 } else { fib(n - 1) + fib(n - 2) }
}

/// Listens on a free port (or the given one) of this machine and prints `listening on ADDR`.
///
/// # Panics
///
/// When the port is taken.
pub fn listen(numbers: &[u64]) -> TcpListener {
    let port = numbers.first().map_or(0, |&port| port as u16);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    println!("listening on {address}");
    listener
}

/// The same, but `accept` does not wait: it comes back with `WouldBlock`.
///
/// # Panics
///
/// When the port is taken.
pub fn listen_non_blocking(numbers: &[u64]) -> Rc<TcpListener> {
    let listener = listen(numbers);
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    Rc::new(listener)
}

/// One client: its socket, what it has sent and nobody has read yet, and what it has not been sent yet.
pub struct Connection {
    pub socket: Rc<TcpStream>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// `receive` and `send` wait.
    pub fn blocking(socket: TcpStream) -> Connection {
        Connection { socket: Rc::new(socket), input: Vec::new(), output: Vec::new() }
    }

    /// `receive` and `send` do not wait.
    ///
    /// # Panics
    ///
    /// When the system refuses, which it does to no socket.
    pub fn non_blocking(socket: TcpStream) -> Connection {
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        Connection::blocking(socket)
    }

    /// Reads what the socket has. False when the client has said its last.
    ///
    /// A non-blocking socket may have nothing: that is true as well, and `next_line` tells.
    pub fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        match self.socket.as_ref().read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(count) => self.input.extend_from_slice(&chunk[..count]),
            Err(error) if tries_again(&error) => {}
            Err(error) => return Err(error),
        }
        if self.input.len() > LONGEST_LINE {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line without an end"));
        }
        Ok(true)
    }

    /// Takes the next whole line out of what was received.
    pub fn next_line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Puts one line behind what is to be sent.
    pub fn reply(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }

    /// Sends what the socket takes. True when nothing is left.
    pub fn send(&mut self) -> io::Result<bool> {
        if self.output.is_empty() {
            return Ok(true);
        }
        match self.socket.as_ref().write(&self.output) {
            Ok(count) => drop(self.output.drain(..count)),
            Err(error) if tries_again(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.output.is_empty())
    }
}

fn tries_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_number_or_an_error_in_one_line() {
        assert_eq!(answer("10\r\n"), "55");
        assert_eq!(answer(" 1 "), "1");
        for line in ["", "0", "46", "-1", "1.5", "fib"] {
            assert!(answer(line).starts_with("error: "), "{line:?}");
            assert!(!answer(line).contains('\n'), "{line:?}");
        }
    }

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut near = Connection::blocking(listener.accept().unwrap().0);
        for piece in ["1", "0\n2", "0\n"] {
            far.write_all(piece.as_bytes()).unwrap();
            assert!(near.receive().unwrap());
        }
        assert_eq!(near.next_line().as_deref(), Some("10\n"));
        assert_eq!(near.next_line().as_deref(), Some("20\n"));
        assert_eq!(near.next_line(), None);
        drop(far);
        assert!(!near.receive().unwrap());
    }

    #[test]
    fn a_line_without_an_end_is_an_error_before_it_fills_the_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut near = Connection::blocking(listener.accept().unwrap().0);
        let writer = std::thread::spawn(move || far.write_all(&vec![b'1'; 2 * LONGEST_LINE]));
        let error = loop {
            match near.receive() {
                Ok(more) => assert!(more, "the end came before the error"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(near.input.len() < LONGEST_LINE + 8192);
        drop(near);
        let _ = writer.join();
    }
}
