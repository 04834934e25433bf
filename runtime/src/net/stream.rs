//! Streams of bytes: reading and writing, for TCP and Unix sockets alike.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::io::{AsyncRead, AsyncWrite};

use super::async_io::{Async, Holder, Wait, descriptor_of, make_nonblocking};
use crate::base::network::Watched;
use crate::base::place::Place;
use crate::base::turn;
use crate::reactor::source::Direction;

/// A connection: a stream of bytes in each direction.
///
/// [`TcpStream`](super::TcpStream) and [`UnixStream`](super::UnixStream) are this type with the
/// system's socket inside. Its methods take `&self`: one task may read while another writes. It
/// also implements `AsyncRead` and `AsyncWrite` of `futures-io`, for libraries that require them.
///
/// Dropping it closes the connection. If received bytes have not been read, TCP then resets the
/// connection, and the other side may lose the last bytes that were sent.
///
/// ```
/// use popleft::net::UnixStream;
/// use std::net::Shutdown;
///
/// popleft::run(async {
///     let (left, right) = UnixStream::pair()?;
///     left.write_all(b"hello").await?;
///     left.shutdown(Shutdown::Write)?;
///     let mut buffer = [0; 16];
///     assert_eq!(right.read(&mut buffer).await?, 5);
///     assert_eq!(right.read(&mut buffer).await?, 0, "the end");
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct Stream<T: Socket> {
    io: Async<T::Inner>,
}

/// The standard library's sockets that a [`Stream`] can hold: TCP and Unix streams.
///
/// This trait is sealed: it cannot be implemented outside of popleft.
pub trait Socket: AsFd + fmt::Debug + Sized + sealed::Socket + 'static {}

use sealed::Bytes;

impl Socket for std::net::TcpStream {}
impl Socket for std::os::unix::net::UnixStream {}

pub(super) mod sealed {
    use std::fmt::Debug;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::Shutdown;

    use crate::base::network::Watched;

    /// A socket of the standard library, and the type that a stream stores for it: the same, or
    /// one that may also be simulated.
    pub trait Socket: Sized {
        type Inner: Bytes + Debug + Watched;

        fn into_inner(self) -> Self::Inner;
        fn from_inner(inner: Self::Inner) -> Self;
    }

    /// The calls that sockets have in common, for which the standard library has no trait.
    pub trait Bytes {
        /// Whether a read that fills only part of the buffer has emptied the socket.
        const SHORT_READ_MEANS_EMPTY: bool;

        fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
        fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
        fn send(&self, bytes: &[u8]) -> io::Result<usize>;
        fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
        fn shut_down(&self, how: Shutdown) -> io::Result<()>;
    }
}

/// Receives, and reports a short read to the reactor: if the socket is just a queue of bytes, a
/// short read means that the queue is empty.
#[inline]
fn receive<T: Bytes + Watched>(io: &Async<T>, socket: &T, buffer: &mut [u8]) -> io::Result<usize> {
    let length = socket.receive(buffer)?;
    if T::SHORT_READ_MEANS_EMPTY && 0 < length && length < buffer.len() {
        io.note_short_read();
    }
    Ok(length)
}

fn read_nothing(cx: &Context<'_>) -> Poll<io::Result<usize>> {
    turn::consume_budget(cx).map(|()| Ok(0))
}

fn are_empty(buffers: &[IoSliceMut<'_>]) -> bool {
    buffers.iter().all(|buffer| buffer.is_empty())
}

impl<T: Socket> Stream<T> {
    pub(super) fn new(io: Async<T::Inner>) -> Self {
        Stream { io }
    }

    /// Makes the loop watch a socket of the standard library, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system refuses to watch the socket, and
    /// in a simulated run, which has no sockets of the system.
    pub fn from_std(socket: T) -> io::Result<Self> {
        make_nonblocking(&socket)?;
        Async::watch(socket.into_inner()).map(Stream::new)
    }

    /// Stops watching the socket and returns it as the standard library's. It stays non-blocking.
    ///
    /// # Panics
    ///
    /// When the socket is simulated.
    #[track_caller]
    pub fn into_std(self) -> T {
        T::from_inner(self.io.into_inner())
    }

    /// Reads received bytes into `buffer`, waiting until there are some.
    ///
    /// Returns how many bytes it read; 0 means that the other side will send no more, or that
    /// `buffer` is empty. Dropping the future loses no bytes.
    ///
    /// # Errors
    ///
    /// When the connection has failed, for example because the other side has reset it, and when it
    /// is used under another runtime.
    #[track_caller]
    pub fn read<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        // The system's read into an empty buffer would wait until bytes arrive.
        let is_empty = buffer.is_empty();
        let read =
            move |io: &T::Inner| if is_empty { Ok(0) } else { receive(&self.io, io, buffer) };
        self.io.operation(Direction::Read, read).ready_if(is_empty)
    }

    /// Reads received bytes into several buffers, filling one after the other, and waits until
    /// there are some.
    ///
    /// Returns how many bytes it read; 0 means that the other side will send no more, or that all
    /// buffers are empty. Dropping the future loses no bytes.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Stream::read).
    #[track_caller]
    pub fn read_vectored<'a>(
        &'a self,
        buffers: &'a mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        let is_empty = are_empty(buffers);
        let read = move |io: &T::Inner| if is_empty { Ok(0) } else { io.receive_vectored(buffers) };
        self.io.operation(Direction::Read, read).ready_if(is_empty)
    }

    /// Reads until `buffer` is full.
    ///
    /// Dropping the future loses the bytes that it has read so far.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the stream ends before that, and the
    /// errors of [`read`](Stream::read).
    #[track_caller]
    pub fn read_exact<'a>(&'a self, buffer: &'a mut [u8]) -> ReadExact<'a, T> {
        ReadExact { wait: self.io.wait(Direction::Read, Location::caller()), rest: buffer }
    }

    /// Writes as many of `bytes` as the system has room for, waiting until there is some.
    ///
    /// Returns how many bytes it wrote. The system sends them later: the other side may not have
    /// received them yet. Dropping the future before it is ready means that nothing was written.
    ///
    /// # Errors
    ///
    /// When the connection has failed or this direction has been shut down, and when it is used
    /// under another runtime.
    #[track_caller]
    pub fn write<'a>(&'a self, bytes: &'a [u8]) -> impl Future<Output = io::Result<usize>> + 'a {
        self.io.operation(Direction::Write, |socket| socket.send(bytes))
    }

    /// Writes as many bytes of several buffers, one after the other, as the system has room for,
    /// waiting until there is some.
    ///
    /// Returns how many bytes it wrote. Dropping the future before it is ready means that nothing
    /// was written.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Stream::write).
    #[track_caller]
    pub fn write_vectored<'a>(
        &'a self,
        buffers: &'a [IoSlice<'_>],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        self.io.operation(Direction::Write, |socket| socket.send_vectored(buffers))
    }

    /// Writes all of `bytes`, waiting for room as often as necessary: a slow reader slows down the
    /// writer.
    ///
    /// Dropping the future may leave some of them written.
    ///
    /// # Errors
    ///
    /// [`WriteZero`](io::ErrorKind::WriteZero) when the system accepts no bytes, and the errors of
    /// [`write`](Stream::write).
    #[track_caller]
    pub fn write_all<'a>(&'a self, bytes: &'a [u8]) -> WriteAll<'a, T> {
        WriteAll { wait: self.io.wait(Direction::Write, Location::caller()), rest: bytes }
    }

    /// Shuts down one direction or both.
    ///
    /// After [`Shutdown::Write`] the other side reads the end of the stream. After
    /// [`Shutdown::Read`] reads on this side, also those that are waiting, return the bytes that
    /// have been received and then the end.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) when the connection has been reset.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shut_down(how)
    }

    pub(super) fn io(&self) -> &Async<T::Inner> {
        &self.io
    }

    /// `AsyncWrite::close`. After a reset nothing is left to be closed, which is no error for a
    /// caller that closes at the end of a conversation.
    pub(super) fn close(&self) -> io::Result<()> {
        match self.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    fn poll_read_with<R>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&T::Inner) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let place = || Place::VIA_ASYNC_READ;
        self.io.poll_with(Direction::Read, Holder::Nobody, cx, place, operation)
    }

    fn poll_write_with<R>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&T::Inner) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let place = || Place::VIA_ASYNC_WRITE;
        self.io.poll_with(Direction::Write, Holder::Nobody, cx, place, operation)
    }
}

/// Panics for a simulated socket, which has no file descriptor.
impl<T: Socket> AsFd for Stream<T> {
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        descriptor_of(self.io.get_ref())
    }
}

impl<T: Socket> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.io.get_ref(), f)
    }
}

// ===== futures of several operations ============================================================

/// The future of [`Stream::read_exact`].
///
/// Dropping it loses the bytes that it has read so far.
#[must_use = "futures do nothing unless awaited"]
pub struct ReadExact<'a, T: Socket> {
    wait: Wait<'a, T::Inner>,
    rest: &'a mut [u8],
}

impl<T: Socket> Future for ReadExact<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while !this.rest.is_empty() {
            let io = this.wait.io;
            let length = ready!(this.wait.poll(cx, |socket| receive(io, socket, this.rest)))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let rest = std::mem::take(&mut this.rest);
            this.rest = &mut rest[length..];
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Socket> fmt::Debug for ReadExact<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadExact").finish_non_exhaustive()
    }
}

/// The future of [`Stream::write_all`].
///
/// Dropping it may leave some of the bytes written.
#[must_use = "futures do nothing unless awaited"]
pub struct WriteAll<'a, T: Socket> {
    wait: Wait<'a, T::Inner>,
    rest: &'a [u8],
}

impl<T: Socket> Future for WriteAll<'_, T> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while !this.rest.is_empty() {
            let length = ready!(this.wait.poll(cx, |socket| socket.send(this.rest)))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.rest = &this.rest[length..];
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Socket> fmt::Debug for WriteAll<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAll").finish_non_exhaustive()
    }
}

// ===== for libraries that require the traits ====================================================

impl<T: Socket> AsyncRead for &Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return read_nothing(cx);
        }
        self.poll_read_with(cx, |socket| receive(&self.io, socket, buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if are_empty(buffers) {
            return read_nothing(cx);
        }
        self.poll_read_with(cx, |socket| socket.receive_vectored(buffers))
    }
}

impl<T: Socket> AsyncWrite for &Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.send(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |socket| socket.send_vectored(buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.close())
    }
}

impl<T: Socket> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}

impl<T: Socket> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Event;
    use std::cell::Cell;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    /// A socket that counts the system's receive calls.
    #[derive(Debug)]
    struct Counting {
        socket: UnixStream,
        receives: Cell<usize>,
    }

    impl AsFd for Counting {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl Socket for Counting {}

    impl sealed::Socket for Counting {
        type Inner = Self;

        fn into_inner(self) -> Self {
            self
        }
        fn from_inner(inner: Self) -> Self {
            inner
        }
    }

    impl Bytes for Counting {
        const SHORT_READ_MEANS_EMPTY: bool = true;

        fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
            self.receives.set(self.receives.get() + 1);
            self.socket.receive(buffer)
        }
        fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            self.socket.receive_vectored(buffers)
        }
        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            self.socket.send(bytes)
        }
        fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
            self.socket.send_vectored(buffers)
        }
        fn shut_down(&self, how: Shutdown) -> io::Result<()> {
            self.socket.shut_down(how)
        }
    }

    /// How many receives each of `count` requests takes that come when the reader waits.
    #[cfg(all(target_os = "linux", not(popleft_portable)))]
    async fn receives_of_requests(count: usize) -> Vec<usize> {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let stream = Stream::from_std(Counting { socket, receives: Cell::new(0) }).unwrap();
        let mut buffer = [0; 64];
        let mut counts = vec![];
        for _ in 0..count {
            let before = stream.io().get_ref().receives.get();
            let read = stream.read(&mut buffer);
            let (length, _) = futures_lite::future::zip(read, async {
                crate::yield_now().await;
                peer.write_all(b"request").unwrap();
            })
            .await;
            assert_eq!(length.unwrap(), 7);
            counts.push(stream.io().get_ref().receives.get() - before);
        }
        counts
    }

    #[test]
    #[cfg(all(target_os = "linux", not(popleft_portable)))]
    fn a_request_costs_one_receive_and_a_try_now_and_then() {
        crate::run(async {
            let counts = receives_of_requests(170).await;
            // The first one calls the system before it waits: nothing is known about the socket yet.
            assert_eq!(counts[..17], [&[2][..], &[1; 16]].concat());
            let tries = counts.iter().filter(|&&count| count > 1).count();
            assert_eq!(counts.iter().sum::<usize>(), 170 + tries);
            assert_eq!(tries, 170 / 17);
        });
    }

    #[test]
    fn a_peer_that_sends_again_at_once_is_read_without_a_wait() {
        let waits = Rc::new(Cell::new(0));
        let count = waits.clone();
        let runtime = crate::Runtime::builder()
            .listener(move |event| {
                if let Event::Wait { .. } = event {
                    count.set(count.get() + 1);
                }
            })
            .build();
        runtime.unwrap().block_on(async {
            let (socket, mut peer) = UnixStream::pair().unwrap();
            let stream = Stream::from_std(Counting { socket, receives: Cell::new(0) }).unwrap();
            let mut buffer = [0; 64];
            for request in 1..=116 {
                peer.write_all(b"request").unwrap();
                assert_eq!(stream.read(&mut buffer).await.unwrap(), 7);
                // What it waited for has been learned by then.
                if request == 17 {
                    waits.set(0);
                }
            }
            assert_eq!(waits.get(), 0);
            assert_eq!(stream.io().get_ref().receives.get(), 116);
        });
    }
}
