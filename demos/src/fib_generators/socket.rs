//! Sockets that yield where others block.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use polling::{Event, Poller};
use popleft::generator::Yielder;
use socket2::Socket;

use super::Wait;

/// A socket that yields where others block.
pub(super) struct AsyncSocket {
    pub(super) socket: Socket,
    poller: Rc<Poller>,
}

impl AsyncSocket {
    #[allow(unsafe_code)]
    pub(super) fn new(socket: Socket, poller: &Rc<Poller>) -> io::Result<Rc<AsyncSocket>> {
        socket.set_nonblocking(true)?;
        let async_socket = AsyncSocket { socket, poller: poller.clone() };
        let nothing_yet = Event::none(async_socket.key());
        // SAFETY: the poller must not outlive its interest in a closed socket. `drop` deletes the
        // socket from the poller before it is closed, and nothing else can close it.
        unsafe { poller.add(&async_socket.socket, nothing_yet)? };
        Ok(Rc::new(async_socket))
    }

    /// Names the socket in the poller and in the scheduler's tables: its file descriptor.
    pub(super) fn key(&self) -> usize {
        self.socket.as_raw_fd() as usize
    }

    pub(super) async fn recv(
        self: &Rc<Self>,
        y: &Yielder<Wait>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            self.readable(y).await?;
            match (&self.socket).read(buffer) {
                Err(error) if is_not_ready(&error) => {}
                done => return done,
            }
        }
    }

    pub(super) async fn send_all(
        self: &Rc<Self>,
        y: &Yielder<Wait>,
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable(y).await?;
            match (&self.socket).write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_not_ready(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Yields until the kernel says that there is something to receive. When the poller refuses,
    /// only the calling task gets the error.
    pub(super) async fn readable(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.poller.modify(&self.socket, Event::readable(self.key()))?;
        y.yield_(Wait::Recv(self.clone())).await;
        Ok(())
    }

    /// Yields until the kernel says that there is room to send.
    async fn writable(self: &Rc<Self>, y: &Yielder<Wait>) -> io::Result<()> {
        self.poller.modify(&self.socket, Event::writable(self.key()))?;
        y.yield_(Wait::Send(self.clone())).await;
        Ok(())
    }
}

impl Drop for AsyncSocket {
    fn drop(&mut self) {
        // It was added when it was made, so this does not fail; nor could anything be done.
        let _ = self.poller.delete(&self.socket);
    }
}

/// Whether the kernel woke us although the socket is not ready.
fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
