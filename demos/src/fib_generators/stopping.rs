//! How the server stops: it accepts no more clients, answers what they have sent, and ends with the
//! last of them.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use popleft::generator::{Generator, Yielder};

use super::socket::AsyncSocket;
use super::{Scheduler, Task, Wait};
use crate::protocol::READ_SIZE;
use crate::stop::{Connection, Connections, READS_AFTER_GOODBYE};

/// The connection to a client, known to the scheduler until its handler has ended.
pub(super) type Client = Connection<AsyncSocket>;

/// The connections that are open, so that stopping can reach them.
#[derive(Default)]
pub(super) struct Clients {
    open: Connections<AsyncSocket>,
    pub(super) stopping: Cell<bool>,
}

impl Clients {
    /// Keeps track of a connection for as long as it is served.
    pub(super) fn welcome(&self, client: Rc<AsyncSocket>) -> Client {
        if self.stopping.get() {
            client.end_reading();
        }
        self.open.add(client)
    }

    /// Whether the server is to stop and the last client has left.
    pub(super) fn have_been_served(&self) -> bool {
        self.stopping.get() && self.open.is_empty()
    }
}

impl AsyncSocket {
    /// Reads return what has arrived already, and then the end of file.
    fn end_reading(&self) {
        // An error means that the connection is gone: no task reads from it either way.
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    /// Says goodbye, and discards what the client still sends: closing a socket with unread bytes
    /// resets the connection, and the client could lose the last answer.
    pub(super) async fn hang_up(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)?;
        let mut buffer = [0; READ_SIZE];
        for _ in 0..READS_AFTER_GOODBYE {
            if self.recv(y, &mut buffer).await? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// A task that waits for the signal to stop. It closes the listener, and makes every client read
/// the end of file once all that it has sent is answered.
pub(super) fn stop_monitor(
    scheduler: Rc<Scheduler>,
    signal_event: Rc<AsyncSocket>,
    listener_key: usize,
) -> Task {
    Generator::new(move |y| async move {
        signal_event.recv_in_any_case(&y, &mut [0; 1]).await;
        scheduler.clients.stopping.set(true);
        let accepting = scheduler.recv_wait.borrow_mut().remove(&listener_key);
        drop(accepting);
        for client in scheduler.clients.open.all() {
            client.end_reading();
        }
        Ok(())
    })
}
