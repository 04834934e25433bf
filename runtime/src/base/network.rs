//! What can be watched: descriptors of the system, and sockets of a simulated network.
//!
//! In the real world every source is a file descriptor. In a simulated one connections are data
//! structures that the kernel does not know. The reactor and `net` treat both alike; this file has
//! everything that they need from a simulated network.

use std::fmt::Debug;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// The readiness that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read: bytes, connections, the end of the stream.
    Read,
    /// The same, and space for writing.
    ReadWrite,
}

/// A readiness event of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// More than bytes may have arrived: the end of the stream, an error, urgent data. From now on
    /// a short read does not prove that nothing is left: read until `WouldBlock`.
    pub(crate) drain: bool,
}

/// What a loop can watch.
pub trait Watched: 'static {
    /// How it is watched.
    fn watchable(&self) -> Watchable<'_>;
}

/// How a source is watched.
#[derive(Clone, Copy)]
pub enum Watchable<'a> {
    /// The kernel watches it.
    Descriptor(BorrowedFd<'a>),
    /// The simulated network watches it.
    Simulated(&'a dyn Watch),
}

impl<T: AsFd + 'static> Watched for T {
    #[inline]
    fn watchable(&self) -> Watchable<'_> {
        Watchable::Descriptor(self.as_fd())
    }
}

/// A socket of a simulated network.
pub trait Watch {
    /// Reports readiness of `interest` under `key` from now on, each edge once. What is ready
    /// already is reported, too.
    fn watch(&self, key: usize, interest: Interest);

    /// Stops reporting.
    fn unwatch(&self);
}

/// A simulated connection. Its methods do what the system's calls do for a non-blocking socket.
pub trait Connection: Watch + Debug {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    fn shut_down(&self, how: Shutdown) -> io::Result<()>;
    fn take_error(&self) -> Option<io::Error>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    fn set_nodelay(&self, yes: bool);
    fn nodelay(&self) -> bool;
}

/// A simulated socket that accepts connections.
pub(crate) trait Listener: Watch + Debug {
    fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)>;
    fn local_addr(&self) -> SocketAddr;
}

/// A simulated network.
pub(crate) trait Network {
    /// Listens on `address`.
    fn listen(&self, address: SocketAddr, asked: Listen) -> io::Result<Box<dyn Listener>>;

    /// Begins to connect to `address`. The connection is writable when that is done or has failed.
    fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>>;

    /// The addresses of `name`, which is `host:port`.
    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>>;

    /// When something will happen next if no task does anything before. What is ready already is
    /// to be reported at once.
    fn next_event(&self) -> Option<Instant>;

    /// Lets everything happen that is due by `now`, and reports the sources that became ready.
    fn advance(&self, now: Instant, reports: &mut Vec<Report>);
}

/// Settings of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// How many connections may wait to be accepted.
    pub(crate) backlog: usize,
    /// Whether other listeners that set this, too, may listen on the same address.
    pub(crate) reuse_port: bool,
}
