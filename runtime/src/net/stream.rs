//! Streams of bytes: reading, writing and the two halves, the same for TCP and Unix sockets.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_lite::io::{AsyncRead, AsyncWrite};

use super::async_io::{Async, Holder, Wait, descriptor_of, make_nonblocking};
use crate::base::network::Watched;
use crate::base::place::Place;
use crate::base::turn;
use crate::reactor::source::Direction;

/// A connection: a stream of bytes each direction. [`TcpStream`](super::TcpStream) and
/// [`UnixStream`](super::UnixStream) are this with the system's socket inside.
///
/// Its methods take `&self`: one task may read while another writes. It also implements
/// `AsyncRead` and `AsyncWrite`, for libraries that ask for them.
///
/// Dropping it closes the connection. If bytes that were received have not been read, TCP then
/// resets it, and the other side may lose the last bytes that were sent.
pub struct Stream<T: Socket> {
    io: Async<T::Held>,
}

/// The system's sockets that a [`Stream`] can hold.
pub trait Socket: AsFd + fmt::Debug + Sized + sealed::Socket + 'static {}

use sealed::Bytes;

impl Socket for std::net::TcpStream {}
impl Socket for std::os::unix::net::UnixStream {}

pub(super) mod sealed {
    use std::fmt::Debug;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::Shutdown;

    use crate::base::network::Watched;

    /// A system's socket, and what a stream holds in its place: the same, or one that may as well
    /// be simulated.
    pub trait Socket: Sized {
        type Held: Bytes + Debug + Watched;

        fn hold(self) -> Self::Held;
        fn release(held: Self::Held) -> Self;
    }

    /// What sockets have in common and the standard library has no trait for.
    pub trait Bytes {
        /// Whether a read that gets less than it has room for has emptied the socket.
        const SHORT_READ_MEANS_EMPTY: bool;

        fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
        fn receive_vectored(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
        fn send(&self, bytes: &[u8]) -> io::Result<usize>;
        fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
        fn shut_down(&self, how: Shutdown) -> io::Result<()>;
    }
}

/// Receives. A short read is told to the reactor: of a socket that is nothing but a queue of bytes,
/// the system gave all that it had.
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
    pub(super) fn new(io: Async<T::Held>) -> Self {
        Stream { io }
    }

    /// Has the loop watch a socket of the standard library, which is made non-blocking.
    ///
    /// # Errors
    ///
    /// When no runtime is running on this thread, when the system refuses to watch it, and in a
    /// simulated run, which has no sockets of the system.
    pub fn from_std(socket: T) -> io::Result<Self> {
        make_nonblocking(&socket)?;
        Async::watch(socket.hold()).map(Stream::new)
    }

    /// Ends the watch and returns the system's socket. It stays non-blocking.
    ///
    /// # Panics
    ///
    /// When the socket is simulated.
    #[track_caller]
    pub fn into_std(self) -> T {
        T::release(self.io.into_inner())
    }

    /// Reads what there is, at most as much as `buffer` holds, waiting until there is something.
    /// Returns how much it was; 0 is the end: the other side sends no more. Into an empty buffer it
    /// reads nothing, at once.
    ///
    /// Dropping the future loses no bytes.
    #[track_caller]
    pub fn read<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        // The system would have a read of nothing wait until something is there.
        let is_empty = buffer.is_empty();
        let read = move |io: &T::Held| if is_empty { Ok(0) } else { receive(&self.io, io, buffer) };
        self.io.operation(Direction::Read, read).ready_if(is_empty)
    }

    /// The same into several buffers, one after the other.
    #[track_caller]
    pub fn read_vectored<'a>(
        &'a self,
        buffers: &'a mut [IoSliceMut<'_>],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        let is_empty = are_empty(buffers);
        let read = move |io: &T::Held| if is_empty { Ok(0) } else { io.receive_vectored(buffers) };
        self.io.operation(Direction::Read, read).ready_if(is_empty)
    }

    /// Reads until `buffer` is full.
    ///
    /// Dropping the future loses what it has read so far.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the stream ends before that.
    #[track_caller]
    pub fn read_exact<'a>(&'a self, buffer: &'a mut [u8]) -> ReadExact<'a, T> {
        ReadExact { wait: self.io.wait(Direction::Read, Location::caller()), rest: buffer }
    }

    /// Writes as much of `bytes` as there is room for, waiting until there is some. Returns how
    /// much it was.
    ///
    /// The bytes are then in the system's hands; that the other side has them is not said.
    #[track_caller]
    pub fn write<'a>(&'a self, bytes: &'a [u8]) -> impl Future<Output = io::Result<usize>> + 'a {
        self.io.operation(Direction::Write, |socket| socket.send(bytes))
    }

    /// The same from several buffers, one after the other.
    #[track_caller]
    pub fn write_vectored<'a>(
        &'a self,
        buffers: &'a [IoSlice<'_>],
    ) -> impl Future<Output = io::Result<usize>> + 'a {
        self.io.operation(Direction::Write, |socket| socket.send_vectored(buffers))
    }

    /// Writes all of `bytes`, waiting for room as often as it must: a slow reader holds the writer
    /// back.
    ///
    /// Dropping the future leaves some of them written.
    #[track_caller]
    pub fn write_all<'a>(&'a self, bytes: &'a [u8]) -> WriteAll<'a, T> {
        WriteAll { wait: self.io.wait(Direction::Write, Location::caller()), rest: bytes }
    }

    /// Ends one direction or both. After [`Shutdown::Write`] the other side reads the end. After
    /// [`Shutdown::Read`] who reads here, now or later, gets what has been received and then the
    /// end.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shut_down(how)
    }

    /// The two directions, for two futures of one task.
    pub fn split(&self) -> (ReadHalf<'_, T>, WriteHalf<'_, T>) {
        (ReadHalf { stream: self }, WriteHalf { stream: self })
    }

    /// The two directions, for two tasks. The connection is closed when both are dropped; dropping
    /// the writing half ends that direction before.
    pub fn into_split(self) -> (OwnedReadHalf<T>, OwnedWriteHalf<T>) {
        let stream = Rc::new(self);
        let reading = OwnedReadHalf { stream: stream.clone() };
        (reading, OwnedWriteHalf { stream })
    }

    pub(super) fn io(&self) -> &Async<T::Held> {
        &self.io
    }

    /// `AsyncWrite::close`. After a reset nothing is connected any more, so nothing is left to be
    /// closed; whoever closes politely at the end of a conversation is not told of that.
    fn close(&self) -> io::Result<()> {
        match self.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    fn poll_read_with<R>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&T::Held) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let place = || Place::VIA_ASYNC_READ;
        self.io.poll_with(Direction::Read, Holder::Nobody, cx, place, operation)
    }

    fn poll_write_with<R>(
        &self,
        cx: &Context<'_>,
        operation: impl FnMut(&T::Held) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let place = || Place::VIA_ASYNC_WRITE;
        self.io.poll_with(Direction::Write, Holder::Nobody, cx, place, operation)
    }
}

/// A simulated socket has no file descriptor: there this panics.
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

// ===== futures that go on over several operations ===============================================

/// The future of [`Stream::read_exact`].
#[must_use = "futures do nothing unless awaited"]
pub struct ReadExact<'a, T: Socket> {
    wait: Wait<'a, T::Held>,
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
#[must_use = "futures do nothing unless awaited"]
pub struct WriteAll<'a, T: Socket> {
    wait: Wait<'a, T::Held>,
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

// ===== the two halves ===========================================================================

/// The reading half that [`Stream::split`] lends.
#[derive(Debug)]
pub struct ReadHalf<'s, T: Socket> {
    stream: &'s Stream<T>,
}

/// The writing half that [`Stream::split`] lends.
#[derive(Debug)]
pub struct WriteHalf<'s, T: Socket> {
    stream: &'s Stream<T>,
}

/// The reading half of [`Stream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf<T: Socket> {
    stream: Rc<Stream<T>>,
}

/// The writing half of [`Stream::into_split`]. Dropping it ends its direction: the other side
/// reads the end.
#[derive(Debug)]
pub struct OwnedWriteHalf<T: Socket> {
    stream: Rc<Stream<T>>,
}

macro_rules! reading_half {
    ([$($generics:tt)*] $half:ty) => {
        impl<$($generics)*> $half {
            /// See [`Stream::read`].
            #[track_caller]
            pub fn read<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.read(buffer)
            }

            /// See [`Stream::read_exact`].
            #[track_caller]
            pub fn read_exact<'a>(&'a self, buffer: &'a mut [u8]) -> ReadExact<'a, T> {
                self.stream.read_exact(buffer)
            }
        }

        impl<$($generics)*> AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_read(cx, buffer)
            }
        }
    };
}

macro_rules! writing_half {
    ([$($generics:tt)*] $half:ty) => {
        impl<$($generics)*> $half {
            /// See [`Stream::write`].
            #[track_caller]
            pub fn write<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.write(bytes)
            }

            /// See [`Stream::write_all`].
            #[track_caller]
            pub fn write_all<'a>(&'a self, bytes: &'a [u8]) -> WriteAll<'a, T> {
                self.stream.write_all(bytes)
            }

            /// Ends this direction: the other side reads the end.
            pub fn shutdown(&self) -> io::Result<()> {
                self.stream.shutdown(Shutdown::Write)
            }
        }

        impl<$($generics)*> AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_write(cx, bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.stream.close())
            }
        }
    };
}

reading_half!(['s, T: Socket] ReadHalf<'s, T>);
reading_half!([T: Socket] OwnedReadHalf<T>);
writing_half!(['s, T: Socket] WriteHalf<'s, T>);
writing_half!([T: Socket] OwnedWriteHalf<T>);

impl<T: Socket> Drop for OwnedWriteHalf<T> {
    fn drop(&mut self) {
        // An error means that the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

// ===== for libraries that ask for the traits ====================================================

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

    /// A socket that counts how often the system is asked for bytes.
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
        type Held = Self;

        fn hold(self) -> Self {
            self
        }
        fn release(held: Self) -> Self {
            held
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
            // The first one asks before it waits: nobody knows then that nothing is there.
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
