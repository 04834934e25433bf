//! What can be watched: descriptors of the system, and sockets of a simulated network.
//!
//! In the real world every source is a file descriptor. In a simulated one connections are data
//! structures, and the system never hears of them. The reactor and `net` treat both alike; here is
//! all that they ask of a network which is not the system's.

use std::fmt::Debug;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// What of a source is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What arrives: bytes, connections, the end.
    Read,
    /// That, and room for bytes to be written.
    ReadWrite,
}

/// One source that the world reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// More than bytes may have come: the end, an error, urgent data. From now on a read that got
    /// less than it had room for does not tell that nothing is left.
    pub(crate) drain: bool,
}

/// What a loop can watch.
pub trait Watched: 'static {
    /// By what it is watched.
    fn watchable(&self) -> Watchable<'_>;
}

/// By what a source is watched.
#[derive(Clone, Copy)]
pub enum Watchable<'a> {
    /// The kernel watches it.
    Descriptor(BorrowedFd<'a>),
    /// The simulated network does.
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
    /// From now on has what is of `interest` reported under `key`, each news once; what is true
    /// already is news too.
    fn watch(&self, key: usize, interest: Interest);

    /// Has it reported no more.
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

/// A network that is not the system's.
pub(crate) trait Network {
    /// Listens on `address`.
    fn listen(&self, address: SocketAddr, asked: Listen) -> io::Result<Box<dyn Listener>>;

    /// Begins to connect to `address`. The connection is writable when that is done or has failed.
    fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>>;

    /// The addresses of `name`, which is `host:port`.
    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>>;

    /// When something will happen next, if nobody does anything before. What is news already is to
    /// be reported at once.
    fn next_event(&self) -> Option<Instant>;

    /// Has all happen that happens until `now`, and reports what is news.
    fn advance(&self, now: Instant, reports: &mut Vec<Report>);
}

/// Settings of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen {
    /// How many connections may wait to be accepted.
    pub(crate) backlog: usize,
    /// Others that say so too may listen on the same address.
    pub(crate) reuse_port: bool,
}
