//! Unix sockets: connections within one machine, by a path or as a pair.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr};

use super::async_io::{Async, no_runtime, require_kernel};
use super::socket::{new_pair, new_socket};
use super::stream::Stream;
use crate::current;
use crate::time::Sleep;

/// How long a connection waits before it tries again at a listener whose queue is full.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection over a Unix socket; most of its methods are those of [`Stream`].
///
/// ```
/// use popleft::net::UnixStream;
///
/// popleft::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.write_all(b"hello").await?;
///     let mut buffer = [0; 5];
///     right.read_exact(&mut buffer).await?;
///     assert_eq!(&buffer, b"hello");
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub type UnixStream = Stream<net::UnixStream>;

impl UnixStream {
    /// Makes two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system has no file descriptors left, and
    /// in a simulated run, which has no sockets of the system.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        require_kernel()?;
        let (left, right) = new_pair()?;
        let watch = |socket: OwnedFd| Async::watch(net::UnixStream::from(socket));
        Ok((UnixStream::new(watch(left)?), UnixStream::new(watch(right)?)))
    }

    /// Connects to the socket that listens at `path`.
    ///
    /// On Linux a path that begins with a zero byte is a name in the abstract namespace, which is
    /// not a file. Dropping the future abandons the attempt and closes the socket.
    ///
    /// # Errors
    ///
    /// - When no socket listens there, or the program may not use it.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) when the path is too long, empty, or contains
    ///   a zero byte other than the first.
    /// - When no runtime is running on this thread, and in a simulated run, which has no sockets of
    ///   the system.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(
        path: P,
    ) -> impl Future<Output = io::Result<UnixStream>> + use<P> {
        let at = Location::caller();
        async move {
            if current::event_loop().is_none() {
                return Err(no_runtime("connect"));
            }
            require_kernel()?;
            let address = address_of(path.as_ref())?;
            let socket = new_socket(Domain::UNIX, None)?;
            while let Err(error) = socket.connect(&address) {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                // The listener's queue is full. Unlike TCP this leaves nothing that could be
                // watched, so the only choice is to try again a little later.
                Sleep::lasting(PAUSE, at).await;
            }
            Ok(UnixStream::new(Async::watch(socket.into())?))
        }
    }
}

/// The system's form of `path`. The system would cut a path at its first zero byte, and so connect
/// to another socket.
fn address_of(path: &Path) -> io::Result<SockAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.first().is_some_and(|&first| first != 0) && bytes.contains(&0) {
        let text = "the path of a Unix socket cannot have a zero byte inside";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    SockAddr::unix(path)
}
