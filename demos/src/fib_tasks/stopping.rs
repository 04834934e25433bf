//! How the server stops: what the clients have sent is answered, and the last of them is waited for.

use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use anyhow::Context;
use futures_lite::future;
use popleft::net::TcpStream;
use popleft::signal::{self, Signals};
use popleft::time::{sleep, timeout};

use super::Server;
use crate::stop::{CANNOT_CATCH, Connection, PATIENCE, PAUSE, READS_AFTER_GOODBYE};

/// A connection, known to the server until its handler has ended.
pub(crate) type Client = Connection<TcpStream>;

impl Server {
    /// Keeps track of a client for as long as it is served.
    pub(crate) fn welcome(&self, client: TcpStream) -> Client {
        self.clients.add(Rc::new(client))
    }

    /// Makes every client read the end of file once all that it has sent is answered, and waits
    /// for the last one.
    pub(crate) async fn stop(&self) {
        for client in self.clients.all() {
            // An error means that the connection is gone: no task reads from it either way.
            let _ = client.shutdown(Shutdown::Read);
        }
        self.clients.all_closed().await;
    }
}

/// Says goodbye, and discards what the client still sends: closing a socket with unread bytes
/// resets the connection, and the client could lose the last answer.
pub(super) async fn hang_up(client: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    for _ in 0..READS_AFTER_GOODBYE {
        let read = timeout(PATIENCE, client.read(buffer));
        if matches!(read.await, Err(_) | Ok(Ok(0) | Err(_))) {
            break;
        }
    }
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM. A signal counts from this call on, also before the first poll.
pub(crate) fn asked_to_stop() -> anyhow::Result<impl Future<Output = io::Result<()>>> {
    let interrupt = signal::listen(signal::SIGINT).context(CANNOT_CATCH)?;
    let terminate = signal::listen(signal::SIGTERM).context(CANNOT_CATCH)?;
    Ok(future::or(received(interrupt), received(terminate)))
}

/// Waits for the signal. A server must be able to stop whatever else fails, so this never fails.
async fn received(signal: Signals) -> io::Result<()> {
    while signal.recv().await.is_err() {
        sleep(PAUSE).await;
    }
    Ok(())
}
