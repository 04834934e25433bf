//! Unix sockets: connections inside one machine, by a path or as a pair.

use std::future::Future;
use std::io;
use std::os::unix::net;
use std::panic::Location;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::async_io::only_in_the_real_world;
use super::stream::Stream;
use crate::time::Sleep;

/// How long a connection waits before it tries again at a listener whose queue is full.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection over a Unix socket; its methods are those of [`Stream`].
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
    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system has no descriptors left, and in a
    /// simulated run, which has none.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        only_in_the_real_world()?;
        let (left, right) = net::UnixStream::pair()?;
        Ok((UnixStream::from_std(left)?, UnixStream::from_std(right)?))
    }

    /// Connects to the socket that listens at `path`.
    ///
    /// Dropping the future gives the attempt up.
    ///
    /// # Errors
    ///
    /// When nobody listens there, when it may not be used, when no runtime is running on this
    /// thread, and in a simulated run.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(
        path: P,
    ) -> impl Future<Output = io::Result<UnixStream>> + use<P> {
        let at = Location::caller();
        async move {
            only_in_the_real_world()?;
            let address = SockAddr::unix(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            while let Err(error) = socket.connect(&address) {
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                // The listener's queue is full. Unlike TCP this leaves nothing that could be
                // watched: all that one can do is to try again a little later.
                Sleep::lasting(PAUSE, at).await;
            }
            UnixStream::from_std(socket.into())
        }
    }
}
