//! TCP: listening, accepting and connecting.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;

use socket2::{Domain, Protocol};

use super::address::{ToSocketAddrs, resolve};
use super::async_io::{Async, descriptor_of, make_nonblocking, panic_simulated};
use super::setbacks::Setbacks;
use super::socket::{ListeningSocket, TcpSocket, new_socket};
use super::stream::Stream;
use crate::base::network::Listen;
use crate::reactor::source::Direction;

/// How many connections wait to be accepted, unless the system's limit is lower.
const BACKLOG: i32 = 4096;

// ===== listening ================================================================================

/// A socket that accepts connections.
///
/// ```
/// use popleft::net::{TcpListener, TcpStream};
///
/// popleft::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let server = popleft::spawn(async move {
///         let (client, _) = listener.accept().await?;
///         client.write_all(b"hello").await
///     });
///     let client = TcpStream::connect(address).await?;
///     let mut greeting = [0; 5];
///     client.read_exact(&mut greeting).await?;
///     assert_eq!(&greeting, b"hello");
///     server.await.unwrap()
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct TcpListener {
    pub(super) io: Async<ListeningSocket>,
    pub(super) setbacks: Setbacks,
}

/// Settings of a listener; see [`TcpListener::options`].
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: i32,
    reuse_port: bool,
}

impl ListenOptions {
    /// How many connections may wait to be accepted. 4096 if you do not say, or the system's
    /// limit if that is lower.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Lets several sockets that all say so listen on the same address (`SO_REUSEPORT`); on Linux
    /// the system deals new connections out among them. Off if you do not say.
    pub fn reuse_port(mut self, yes: bool) -> Self {
        self.reuse_port = yes;
        self
    }

    /// Listens on `address`, or on the first of its addresses on which that is possible.
    ///
    /// It waits only for a name to be looked up. Dropping the future before that gives up.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved, when none of its addresses can be listened on (the last
    /// one's error is returned), and when no runtime is running on this thread.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(
        &self,
        address: A,
    ) -> impl Future<Output = io::Result<TcpListener>> + use<A> {
        self.clone().bind_at(address, Location::caller())
    }

    async fn bind_at(
        self,
        address: impl ToSocketAddrs,
        at: &'static Location<'static>,
    ) -> io::Result<TcpListener> {
        let mut last_error = None;
        for address in resolve(address, at).await? {
            match self.socket(address).and_then(TcpListener::watch) {
                Ok(listener) => return Ok(listener),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(no_addresses))
    }

    /// A listener of the running loop's world.
    fn socket(&self, address: SocketAddr) -> io::Result<ListeningSocket> {
        let backlog = usize::try_from(self.backlog).unwrap_or(0);
        let asked = Listen { backlog, reuse_port: self.reuse_port };
        match ListeningSocket::simulated(address, asked) {
            Some(listener) => listener,
            None => self.listen(address).map(ListeningSocket::System),
        }
    }

    /// The system's listener, non-blocking, which no loop watches yet.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<net::TcpListener> {
        let socket = new_socket(Domain::for_address(address), Some(Protocol::TCP))?;
        // A restarted server need not wait until the connections of the one before are forgotten.
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(self.backlog)?;
        Ok(socket.into())
    }
}

impl TcpListener {
    /// Listens on `address`. Port 0 has the system choose one; see [`TcpListener::local_addr`].
    ///
    /// The address may be used again at once after another server has used it (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`].
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(
        address: A,
    ) -> impl Future<Output = io::Result<TcpListener>> + use<A> {
        TcpListener::options().bind_at(address, Location::caller())
    }

    /// Settings for a listener that is to be bound.
    pub fn options() -> ListenOptions {
        ListenOptions { backlog: BACKLOG, reuse_port: false }
    }

    /// Has the loop watch a listener of the standard library, which is made non-blocking.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system refuses to watch it, and in a
    /// simulated run, which has no sockets of the system.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        make_nonblocking(&listener)?;
        TcpListener::watch(ListeningSocket::System(listener))
    }

    pub(super) fn watch(listener: ListeningSocket) -> io::Result<TcpListener> {
        Ok(TcpListener { io: Async::watch(listener)?, setbacks: Setbacks::default() })
    }

    /// Ends the watch and returns the system's listener. It stays non-blocking.
    ///
    /// # Panics
    ///
    /// When the listener is simulated.
    #[track_caller]
    pub fn into_std(self) -> net::TcpListener {
        match self.io.into_inner() {
            ListeningSocket::System(listener) => listener,
            ListeningSocket::Simulated(_) => panic_simulated(),
        }
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

/// A simulated listener has no file descriptor: there this panics.
impl AsFd for TcpListener {
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor_of(self.io.get_ref())
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.io.get_ref(), f)
    }
}

fn no_addresses() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name was resolved to no address")
}

// ===== connecting ===============================================================================

/// A TCP connection; its methods are those of [`Stream`].
pub type TcpStream = Stream<net::TcpStream>;

impl TcpStream {
    /// Connects to `address`: to each of its addresses in turn, until one answers.
    ///
    /// Dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved, when no address could be connected to (the last one's
    /// error is returned), and when no runtime is running on this thread.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(
        address: A,
    ) -> impl Future<Output = io::Result<TcpStream>> + use<A> {
        let at = Location::caller();
        async move {
            let mut last_error = None;
            for address in resolve(address, at).await? {
                match connect_to(address, at).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last_error = Some(error),
                }
            }
            Err(last_error.unwrap_or_else(no_addresses))
        }
    }

    /// Looks at what there is without taking it; otherwise like [`Stream::read`].
    #[track_caller]
    pub fn peek<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        let is_empty = buffer.is_empty();
        // The system would have a look at nothing wait until something is there.
        let peek = move |socket: &TcpSocket| if is_empty { Ok(0) } else { socket.peek(buffer) };
        self.io().operation(Direction::Read, peek).ready_if(is_empty)
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`) rather than gathered while earlier
    /// ones are unacknowledged.
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        self.io().get_ref().set_nodelay(yes)
    }

    /// Whether small writes are sent at once.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io().get_ref().nodelay()
    }

    /// The address of this side.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().get_ref().local_addr()
    }

    /// The address of the other side.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io().get_ref().peer_addr()
    }
}

async fn connect_to(address: SocketAddr, at: &'static Location<'static>) -> io::Result<TcpStream> {
    let socket = TcpSocket::connecting_to(address)?;
    // Watched from here on: before `connect` the system would report a hang-up.
    let stream = TcpStream::new(Async::watch(socket)?);
    let wait = stream.io().wait(Direction::Write, at);
    wait.perform(has_connected).await?;
    Ok(stream)
}

fn has_connected(socket: &TcpSocket) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}
