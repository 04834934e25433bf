//! Sockets that block, for the servers whose clients each have a thread to wait in.
//!
//! A [`Listener`] hands out [`Client`]s until the server is asked to stop, survives the errors
//! of `accept`, and waits for the last client. So the servers themselves can be as short as in the
//! talk.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use slab::Slab;

use crate::cli::{self, ServerOptions};
use crate::output;
use crate::protocol::READ_SIZE;
use crate::stop::{self, PATIENCE, PAUSE, READS_AFTER_GOODBYE};

/// Where clients come from.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Readable once the server is to stop.
    stop: UnixStream,
    clients: Arc<Clients>,
}

/// A connection to one client.
#[derive(Debug)]
pub struct Client {
    stream: Arc<TcpStream>,
    clients: Arc<Clients>,
    key: usize,
}

/// The connections that are open, so that stopping can reach them.
#[derive(Debug, Default)]
struct Clients {
    state: Mutex<ClientsState>,
    one_left: Condvar,
}

#[derive(Debug, Default)]
struct ClientsState {
    open: Slab<Arc<TcpStream>>,
    stopping: bool,
}

/// Listens where the options say, serves with `server` until it is asked to stop, and then waits
/// for the clients that are still being answered.
pub fn serve(options: &ServerOptions, server: impl FnOnce(&Listener)) -> anyhow::Result<()> {
    let socket = options.listen()?;
    socket.set_nonblocking(true).context("cannot make the listener non-blocking")?;
    let addr = socket.local_addr().context("cannot learn the listener's address")?;
    let stop = stop::signals().context(stop::CANNOT_CATCH)?;
    let clients = Arc::<Clients>::default();
    let stopping = clients.clone();
    stop::at_signal(move || stopping.stop())?;
    cli::announce(addr)?;
    let listener = Listener { socket, stop, clients: clients.clone() };
    server(&listener);
    drop(listener);
    clients.wait_for_the_last();
    Ok(())
}

/// Runs a handler in a thread of its own. An error is that of its connection, and ends only it;
/// when the system has no more threads, the client is dropped.
pub fn start_thread(handler: impl FnOnce() -> io::Result<()> + Send + 'static) {
    let thread = thread::Builder::new().spawn(|| {
        let _ = handler();
    });
    if let Err(error) = thread {
        output::complain(format_args!("cannot start a thread for a client: {error}"));
    }
}

// ===== accepting ================================================================================

impl Listener {
    /// Waits for the next client; `None` when the server is to stop.
    pub fn accept(&self) -> Option<Client> {
        let mut reported = false;
        while self.wait() {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    if let Some(client) = self.clients.open(stream) {
                        return Some(client);
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    // Mostly no descriptor or memory is left: some client has to leave first.
                    if !std::mem::replace(&mut reported, true) {
                        output::complain(format_args!(
                            "cannot accept a client, trying again: {error}"
                        ));
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
        None
    }

    /// The clients, as they come, until the server is to stop.
    pub fn incoming(&self) -> impl Iterator<Item = Client> {
        std::iter::from_fn(|| self.accept())
    }

    /// Waits for a client or for the signal to stop; `false` at the signal.
    fn wait(&self) -> bool {
        let mut both =
            [PollFd::new(&self.stop, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) => both[0].revents().is_empty(),
            Err(Errno::INTR) => true,
            // It is not known whether a client has come; accepting does not block.
            Err(_) => {
                thread::sleep(PAUSE);
                true
            }
        }
    }
}

/// Whether accepting failed for a reason that has passed already, such as a client that left
/// before its turn.
pub fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

// ===== one client ===============================================================================

impl Client {
    /// Waits for bytes. 0 is the end of file: the client sends no more, or the server is to stop.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.stream).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Sends all of `bytes`; waits as long as the client does not read.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// Says goodbye and closes. What the client still sends is discarded for a moment: closing a
    /// socket with unread bytes resets the connection, and the client could lose the last answer.
    pub fn hang_up(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; READ_SIZE];
        for _ in 0..READS_AFTER_GOODBYE {
            if self.read(&mut buffer)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.close(self.key);
    }
}

impl Clients {
    /// `None` when the server is about to stop, or the connection is gone already.
    fn open(self: &Arc<Self>, stream: TcpStream) -> Option<Client> {
        stream.set_nonblocking(false).ok()?;
        // An answer must not wait until the client has acknowledged the one before.
        stream.set_nodelay(true).ok()?;
        let stream = Arc::new(stream);
        let mut state = self.state();
        if state.stopping {
            return None;
        }
        Some(Client { key: state.open.insert(stream.clone()), stream, clients: self.clone() })
    }

    fn close(&self, key: usize) {
        let mut state = self.state();
        state.open.remove(key);
        self.one_left.notify_all();
    }

    fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for (_, stream) in &state.open {
            // An error means that the connection is gone: no thread reads from it either way.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn wait_for_the_last(&self) {
        let mut state = self.state();
        while !state.open.is_empty() {
            state = self.one_left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    // Nothing that panics runs while it is locked.
    fn state(&self) -> MutexGuard<'_, ClientsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's end of a connection, and the server's.
    fn connect(clients: &Arc<Clients>) -> (TcpStream, Option<Client>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        (theirs, clients.open(ours))
    }

    #[test]
    fn stopping_lets_what_has_arrived_be_read_and_then_ends_the_reading() {
        let clients = Arc::<Clients>::default();
        let (mut theirs, client) = connect(&clients);
        let client = client.unwrap();
        theirs.write_all(b"30\n").unwrap();
        while client.stream.peek(&mut [0; 8]).unwrap() < 3 {}
        clients.stop();
        let mut buffer = [0; 8];
        assert_eq!(client.read(&mut buffer).unwrap(), 3);
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn stopping_wakes_a_handler_that_waits_and_its_end_is_waited_for() {
        let clients = Arc::<Clients>::default();
        let (_theirs, client) = connect(&clients);
        let client = client.unwrap();
        let handler = thread::spawn(move || client.read(&mut [0; 8]));
        clients.stop();
        clients.wait_for_the_last();
        assert_eq!(handler.join().unwrap().unwrap(), 0);
    }

    #[test]
    fn nobody_is_let_in_after_closing_time() {
        let clients = Arc::<Clients>::default();
        clients.stop();
        let (mut theirs, client) = connect(&clients);
        assert!(client.is_none());
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn the_last_answer_arrives_though_the_client_was_still_sending() {
        let clients = Arc::<Clients>::default();
        let (mut theirs, client) = connect(&clients);
        let client = client.unwrap();
        theirs.write_all(&[b'1'; 100_000]).unwrap();
        client.write_all(b"goodbye\n").unwrap();
        let closing = thread::spawn(move || client.hang_up());
        let mut said = String::new();
        theirs.read_to_string(&mut said).unwrap();
        assert_eq!(said, "goodbye\n");
        drop(theirs);
        closing.join().unwrap().unwrap();
    }
}
