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

/// The default of [`ListenOptions::backlog`].
const BACKLOG: i32 = 4096;

// ===== listening ================================================================================

/// A TCP socket that accepts connections.
///
/// Dropping it closes the socket; connections that have not been accepted are reset.
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

/// Settings for a [`TcpListener`] that is to be bound; see [`TcpListener::options`].
///
/// ```
/// use popleft::net::TcpListener;
///
/// popleft::run(async {
///     let listener = TcpListener::options().backlog(16).bind("127.0.0.1:0").await?;
///     assert_ne!(listener.local_addr()?.port(), 0);
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "options do nothing until `bind`"]
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: i32,
    reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { backlog: BACKLOG, reuse_port: false }
    }
}

impl ListenOptions {
    /// Sets how many connections may wait to be accepted.
    ///
    /// Defaults to 4096. The system's limit applies if it is lower.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Sets whether several sockets may listen on the same address (`SO_REUSEPORT`).
    ///
    /// All of them have to set this. On Linux the system then distributes new connections among
    /// them. Defaults to false.
    pub fn reuse_port(mut self, yes: bool) -> Self {
        self.reuse_port = yes;
        self
    }

    /// Listens on `address`, or on the first of its addresses on which that is possible.
    ///
    /// The future waits only while a name is looked up. Dropping it before it is ready abandons
    /// the lookup; nothing is listened on then.
    ///
    /// # Errors
    ///
    /// - When the name cannot be resolved, or when none of its addresses can be listened on; this
    ///   is the error of the last address.
    /// - When no runtime is running on this thread.
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

    /// A listening socket of the running loop's network: the system's, or a simulated one.
    fn socket(&self, address: SocketAddr) -> io::Result<ListeningSocket> {
        let backlog = usize::try_from(self.backlog).unwrap_or(0);
        let asked = Listen { backlog, reuse_port: self.reuse_port };
        match ListeningSocket::simulated(address, asked) {
            Some(listener) => listener,
            None => self.listen(address).map(ListeningSocket::System),
        }
    }

    /// A non-blocking listener of the system, which no loop watches yet.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<net::TcpListener> {
        let socket = new_socket(Domain::for_address(address), Some(Protocol::TCP))?;
        // A restarted server need not wait for the connections of its predecessor to time out.
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
    /// Listens on `address`, or on the first of its addresses on which that is possible.
    ///
    /// With port 0 the system chooses a port; see [`TcpListener::local_addr`]. The address may be
    /// used again at once after another server has used it (`SO_REUSEADDR`).
    ///
    /// The future waits only while a name is looked up. Dropping it before it is ready abandons
    /// the lookup; nothing is listened on then.
    ///
    /// # Errors
    ///
    /// - When the name cannot be resolved, or when none of its addresses can be listened on; this
    ///   is the error of the last address.
    /// - When no runtime is running on this thread.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(
        address: A,
    ) -> impl Future<Output = io::Result<TcpListener>> + use<A> {
        TcpListener::options().bind_at(address, Location::caller())
    }

    /// Returns the default settings, for a listener that is to be bound with others.
    pub fn options() -> ListenOptions {
        ListenOptions::default()
    }

    /// Makes the loop watch a listener of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system refuses to watch the socket, and
    /// in a simulated run, which has no sockets of the system.
    pub fn from_std(listener: net::TcpListener) -> io::Result<TcpListener> {
        make_nonblocking(&listener)?;
        TcpListener::watch(ListeningSocket::System(listener))
    }

    pub(super) fn watch(listener: ListeningSocket) -> io::Result<TcpListener> {
        Ok(TcpListener { io: Async::watch(listener)?, setbacks: Setbacks::default() })
    }

    /// Stops watching the listener and returns it as the standard library's. It stays non-blocking.
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

    /// Returns the address that the socket listens on.
    ///
    /// # Errors
    ///
    /// When the system's call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }
}

/// Panics for a simulated listener, which has no file descriptor.
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

/// A TCP connection; most of its methods are those of [`Stream`].
///
/// ```
/// use popleft::net::{TcpListener, TcpStream};
///
/// popleft::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let stream = TcpStream::connect(listener.local_addr()?).await?;
///     stream.set_nodelay(true)?;
///     let (accepted, _) = listener.accept().await?;
///     stream.write_all(b"hello").await?;
///     let mut buffer = [0; 16];
///     let length = accepted.read(&mut buffer).await?;
///     assert!(b"hello".starts_with(&buffer[..length]));
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub type TcpStream = Stream<net::TcpStream>;

impl TcpStream {
    /// Connects to `address`, trying each of its addresses in turn until one accepts.
    ///
    /// Dropping the future abandons the attempt and closes the socket.
    ///
    /// # Errors
    ///
    /// - When the name cannot be resolved, or when none of its addresses can be connected to; this
    ///   is the error of the last address.
    /// - When no runtime is running on this thread.
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

    /// Reads received bytes into `buffer` without removing them from the connection, waiting until
    /// there are some.
    ///
    /// Returns how many bytes it read; 0 means that the other side will send no more, or that
    /// `buffer` is empty. Dropping the future loses no bytes.
    ///
    /// # Errors
    ///
    /// When the connection has failed, for example because the other side has reset it, and when it
    /// is used under another runtime.
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

    /// Sets whether small writes are sent at once (`TCP_NODELAY`) rather than gathered while
    /// earlier ones are unacknowledged.
    ///
    /// # Errors
    ///
    /// When the system refuses, for example because the connection has been reset.
    pub fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        self.io().get_ref().set_nodelay(yes)
    }

    /// Returns whether small writes are sent at once; see [`set_nodelay`](Self::set_nodelay).
    ///
    /// # Errors
    ///
    /// When the system's call fails.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io().get_ref().nodelay()
    }

    /// Returns the address of this side of the connection.
    ///
    /// # Errors
    ///
    /// When the system's call fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io().get_ref().local_addr()
    }

    /// Returns the address of the other side of the connection.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) when the connection has been reset.
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
