//! The sockets inside TCP streams and listeners: the system's, or those of a simulated network.
//!
//! The running loop decides which of the two is used, when the socket is made. No other file sees
//! the difference: the types here forward every call to the one or the other.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{self, Shutdown, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol};

use super::async_io::{panic_simulated, simulated_network};
use super::stream::sealed::{Bytes, Socket};
use crate::base::network::{Connection, Listen, Listener, Watchable, Watched};

/// A TCP connection of the system or of a simulated network.
pub enum TcpSocket {
    System(net::TcpStream),
    Simulated(Box<dyn Connection>),
}

impl TcpSocket {
    /// A socket that begins to connect to `address`.
    pub(super) fn connecting_to(address: SocketAddr) -> io::Result<TcpSocket> {
        if let Some(connection) = simulated_network(|network| network.connect(address)) {
            return connection.map(TcpSocket::Simulated);
        }
        let socket = new_socket(Domain::for_address(address), Some(Protocol::TCP))?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(TcpSocket::System(socket.into()))
    }

    pub(super) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            TcpSocket::System(socket) => socket.peek(buffer),
            TcpSocket::Simulated(socket) => socket.peek(buffer),
        }
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            TcpSocket::System(socket) => socket.take_error(),
            TcpSocket::Simulated(socket) => Ok(socket.take_error()),
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpSocket::System(socket) => socket.local_addr(),
            TcpSocket::Simulated(socket) => socket.local_addr(),
        }
    }

    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            TcpSocket::System(socket) => socket.peer_addr(),
            TcpSocket::Simulated(socket) => socket.peer_addr(),
        }
    }

    pub(super) fn set_nodelay(&self, yes: bool) -> io::Result<()> {
        match self {
            TcpSocket::System(socket) => socket.set_nodelay(yes),
            TcpSocket::Simulated(socket) => {
                socket.set_nodelay(yes);
                Ok(())
            }
        }
    }

    pub(super) fn nodelay(&self) -> io::Result<bool> {
        match self {
            TcpSocket::System(socket) => socket.nodelay(),
            TcpSocket::Simulated(socket) => Ok(socket.nodelay()),
        }
    }
}

/// Whether the connection is being made; also when a signal interrupted the call.
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
        || Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

impl Bytes for TcpSocket {
    const SHORT_READ_MEANS_EMPTY: bool = true;

    #[inline]
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            TcpSocket::System(socket) => socket.receive(buffer),
            TcpSocket::Simulated(socket) => socket.receive(buffer),
        }
    }

    fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            TcpSocket::System(socket) => socket.receive_vectored(buffers),
            TcpSocket::Simulated(socket) => {
                let mut all = vec![0; buffers.iter().map(|buffer| buffer.len()).sum()];
                let length = socket.receive(&mut all)?;
                let mut rest = &all[..length];
                for buffer in buffers {
                    let (now, later) = rest.split_at(rest.len().min(buffer.len()));
                    buffer[..now.len()].copy_from_slice(now);
                    rest = later;
                }
                Ok(length)
            }
        }
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            TcpSocket::System(socket) => socket.send(bytes),
            TcpSocket::Simulated(socket) => socket.send(bytes),
        }
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            TcpSocket::System(socket) => socket.send_vectored(buffers),
            TcpSocket::Simulated(socket) => {
                let all: Vec<u8> =
                    buffers.iter().flat_map(|buffer| buffer.iter()).copied().collect();
                socket.send(&all)
            }
        }
    }

    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        match self {
            TcpSocket::System(socket) => socket.shut_down(how),
            TcpSocket::Simulated(socket) => socket.shut_down(how),
        }
    }
}

impl Watched for TcpSocket {
    #[inline]
    fn watchable(&self) -> Watchable<'_> {
        match self {
            TcpSocket::System(socket) => socket.watchable(),
            TcpSocket::Simulated(socket) => Watchable::Simulated(&**socket),
        }
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpSocket::System(socket) => socket.fmt(f),
            TcpSocket::Simulated(socket) => socket.fmt(f),
        }
    }
}

/// A listening TCP socket of the system or of a simulated network.
pub(super) enum ListeningSocket {
    System(net::TcpListener),
    Simulated(Box<dyn Listener>),
}

impl ListeningSocket {
    /// One that listens on `address` in the simulated network, if the running loop has one.
    pub(super) fn simulated(address: SocketAddr, asked: Listen) -> Option<io::Result<Self>> {
        let listener = simulated_network(|network| network.listen(address, asked))?;
        Some(listener.map(ListeningSocket::Simulated))
    }

    pub(super) fn accept(&self) -> io::Result<(TcpSocket, SocketAddr)> {
        match self {
            ListeningSocket::System(listener) => {
                let (socket, address) = accept(listener)?;
                Ok((TcpSocket::System(socket), address))
            }
            ListeningSocket::Simulated(listener) => {
                let (connection, address) = listener.accept()?;
                Ok((TcpSocket::Simulated(connection), address))
            }
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            ListeningSocket::System(listener) => listener.local_addr(),
            ListeningSocket::Simulated(listener) => Ok(listener.local_addr()),
        }
    }
}

impl Watched for ListeningSocket {
    fn watchable(&self) -> Watchable<'_> {
        match self {
            ListeningSocket::System(listener) => listener.watchable(),
            ListeningSocket::Simulated(listener) => Watchable::Simulated(&**listener),
        }
    }
}

impl fmt::Debug for ListeningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListeningSocket::System(listener) => listener.fmt(f),
            ListeningSocket::Simulated(listener) => listener.fmt(f),
        }
    }
}

// ===== sockets that are non-blocking from the beginning =========================================

/// Where the system makes a socket non-blocking with the call that makes it, that saves a call for
/// each connection.
#[cfg(not(target_vendor = "apple"))]
mod made {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::net::{SocketFlags, acceptfrom_with};
    use socket2::{Domain, Protocol, Socket, Type};

    pub(in crate::net) fn new_socket(
        domain: Domain,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        Socket::new(domain, Type::STREAM.nonblocking(), protocol)
    }

    pub(in crate::net) fn new_pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let (left, right) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        Ok((left.into(), right.into()))
    }

    pub(super) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, address) = acceptfrom_with(listener, flags)?;
        let address = address.ok_or(Errno::AFNOSUPPORT)?;
        Ok((socket.into(), SocketAddr::try_from(address)?))
    }
}

#[cfg(target_vendor = "apple")]
mod made {
    use std::io;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use socket2::{Domain, Protocol, Socket, Type};

    pub(in crate::net) fn new_socket(
        domain: Domain,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    pub(in crate::net) fn new_pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let (left, right) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        left.set_nonblocking(true)?;
        right.set_nonblocking(true)?;
        Ok((left.into(), right.into()))
    }

    pub(super) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }
}

use made::accept;
pub(super) use made::{new_pair, new_socket};

// ===== the calls of the standard library's sockets =============================================

macro_rules! bytes_of {
    ($socket:ty, $short_read_means_empty:literal) => {
        impl Bytes for $socket {
            const SHORT_READ_MEANS_EMPTY: bool = $short_read_means_empty;

            #[inline]
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }
            fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
            #[inline]
            fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                (&*self).write(bytes)
            }
            fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(buffers)
            }
            fn shut_down(&self, how: Shutdown) -> io::Result<()> {
                self.shutdown(how)
            }
        }
    };
}

bytes_of!(net::TcpStream, true);
// A read ends early at a descriptor that was passed along with the bytes.
bytes_of!(std::os::unix::net::UnixStream, false);

impl Socket for net::TcpStream {
    type Inner = TcpSocket;

    fn into_inner(self) -> TcpSocket {
        TcpSocket::System(self)
    }

    fn from_inner(inner: TcpSocket) -> Self {
        match inner {
            TcpSocket::System(socket) => socket,
            TcpSocket::Simulated(_) => panic_simulated(),
        }
    }
}

impl Socket for std::os::unix::net::UnixStream {
    type Inner = Self;

    fn into_inner(self) -> Self {
        self
    }

    fn from_inner(inner: Self) -> Self {
        inner
    }
}
