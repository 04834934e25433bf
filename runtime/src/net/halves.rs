//! The two halves of a stream, for two futures or two tasks.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::io::{AsyncRead, AsyncWrite};

use super::stream::{ReadExact, Socket, Stream, WriteAll};

/// The borrowed reading half of a stream; see [`Stream::split`].
///
/// `as_ref` returns the stream, for everything that concerns both directions.
#[derive(Debug)]
pub struct ReadHalf<'s, T: Socket> {
    stream: &'s Stream<T>,
}

/// The borrowed writing half of a stream; see [`Stream::split`].
///
/// `as_ref` returns the stream, for everything that concerns both directions.
#[derive(Debug)]
pub struct WriteHalf<'s, T: Socket> {
    stream: &'s Stream<T>,
}

/// The owned reading half of a stream; see [`Stream::into_split`].
///
/// `as_ref` returns the stream, for everything that concerns both directions.
#[derive(Debug)]
pub struct OwnedReadHalf<T: Socket> {
    stream: Rc<Stream<T>>,
}

/// The owned writing half of a stream; see [`Stream::into_split`].
///
/// Dropping it shuts its direction down: the other side reads the end of the stream. `as_ref`
/// returns the stream, for everything that concerns both directions.
#[derive(Debug)]
pub struct OwnedWriteHalf<T: Socket> {
    stream: Rc<Stream<T>>,
    shuts_down_on_drop: bool,
}

impl<T: Socket> Stream<T> {
    /// Borrows the stream as two halves, for two futures of one task.
    ///
    /// Since all methods take `&self`, two references do as well; the halves keep one future from
    /// using the other's direction.
    pub fn split(&self) -> (ReadHalf<'_, T>, WriteHalf<'_, T>) {
        (ReadHalf { stream: self }, WriteHalf { stream: self })
    }

    /// Splits the stream into two halves, for two tasks.
    ///
    /// The connection is closed when both have been dropped. Dropping the writing half before that
    /// shuts its direction down. [`OwnedReadHalf::reunite`] makes them one stream again.
    ///
    /// ```
    /// use popleft::net::UnixStream;
    ///
    /// popleft::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (_, writer) = left.into_split();
    ///     let sender = popleft::spawn(async move { writer.write_all(b"hello").await });
    ///     let (reader, _) = right.split();
    ///     let mut buffer = [0; 5];
    ///     reader.read_exact(&mut buffer).await?;
    ///     assert_eq!(&buffer, b"hello");
    ///     sender.await?
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<T>, OwnedWriteHalf<T>) {
        let stream = Rc::new(self);
        let reader = OwnedReadHalf { stream: stream.clone() };
        (reader, OwnedWriteHalf { stream, shuts_down_on_drop: true })
    }
}

impl<T: Socket> OwnedReadHalf<T> {
    /// Joins the two halves of a stream; no direction is shut down.
    ///
    /// # Errors
    ///
    /// When the halves are of different streams; the error contains them both.
    ///
    /// ```
    /// use popleft::net::UnixStream;
    ///
    /// popleft::run(async {
    ///     let (left, right) = UnixStream::pair()?;
    ///     let (reader, writer) = left.into_split();
    ///     let left = reader.reunite(writer).unwrap();
    ///     left.write_all(b"hello").await?;
    ///     let mut buffer = [0; 5];
    ///     right.read_exact(&mut buffer).await
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn reunite(self, writer: OwnedWriteHalf<T>) -> Result<Stream<T>, ReuniteError<T>> {
        if !Rc::ptr_eq(&self.stream, &writer.stream) {
            return Err(ReuniteError { reader: self, writer });
        }
        let mut writer = writer;
        writer.shuts_down_on_drop = false;
        drop(writer);
        match Rc::into_inner(self.stream) {
            Some(stream) => Ok(stream),
            None => unreachable!("only the two halves share the stream"),
        }
    }
}

impl<T: Socket> OwnedWriteHalf<T> {
    /// Joins the two halves of a stream; see [`OwnedReadHalf::reunite`].
    ///
    /// # Errors
    ///
    /// When the halves are of different streams; the error contains them both.
    pub fn reunite(self, reader: OwnedReadHalf<T>) -> Result<Stream<T>, ReuniteError<T>> {
        reader.reunite(self)
    }
}

impl<T: Socket> Drop for OwnedWriteHalf<T> {
    fn drop(&mut self) {
        if self.shuts_down_on_drop {
            // An error means that the connection is gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }
}

macro_rules! half {
    ([$($generics:tt)*] $half:ty) => {
        impl<$($generics)*> AsRef<Stream<T>> for $half {
            fn as_ref(&self) -> &Stream<T> {
                &self.stream
            }
        }
    };
}

macro_rules! half_of_tcp {
    ($half:ty) => {
        impl $half {
            /// Returns the address of this side of the connection.
            ///
            /// # Errors
            ///
            /// When the system's call fails.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.stream.local_addr()
            }

            /// Returns the address of the other side of the connection.
            ///
            /// # Errors
            ///
            /// [`NotConnected`](io::ErrorKind::NotConnected) when the connection has been reset.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.stream.peer_addr()
            }
        }
    };
}

macro_rules! reading_half_of_tcp {
    ($half:ty) => {
        impl $half {
            /// Reads received bytes without removing them from the connection; see
            /// [`TcpStream::peek`](super::TcpStream::peek).
            ///
            /// # Errors
            ///
            /// Those of [`Stream::read`].
            #[track_caller]
            pub fn peek<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.peek(buffer)
            }
        }
    };
}

macro_rules! reading_half {
    ([$($generics:tt)*] $half:ty) => {
        impl<$($generics)*> $half {
            /// Reads received bytes into `buffer`, waiting until there are some; see
            /// [`Stream::read`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::read`].
            #[track_caller]
            pub fn read<'a>(
                &'a self,
                buffer: &'a mut [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.read(buffer)
            }

            /// Reads received bytes into several buffers, waiting until there are some; see
            /// [`Stream::read_vectored`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::read`].
            #[track_caller]
            pub fn read_vectored<'a>(
                &'a self,
                buffers: &'a mut [IoSliceMut<'_>],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.read_vectored(buffers)
            }

            /// Reads until `buffer` is full; see [`Stream::read_exact`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::read_exact`].
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

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_read_vectored(cx, buffers)
            }
        }
    };
}

macro_rules! writing_half {
    ([$($generics:tt)*] $half:ty) => {
        impl<$($generics)*> $half {
            /// Writes as many of `bytes` as the system has room for; see [`Stream::write`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::write`].
            #[track_caller]
            pub fn write<'a>(
                &'a self,
                bytes: &'a [u8],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.write(bytes)
            }

            /// Writes as many bytes of several buffers as the system has room for; see
            /// [`Stream::write_vectored`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::write`].
            #[track_caller]
            pub fn write_vectored<'a>(
                &'a self,
                buffers: &'a [IoSlice<'_>],
            ) -> impl Future<Output = io::Result<usize>> + 'a {
                self.stream.write_vectored(buffers)
            }

            /// Writes all of `bytes`; see [`Stream::write_all`].
            ///
            /// # Errors
            ///
            /// Those of [`Stream::write_all`].
            #[track_caller]
            pub fn write_all<'a>(&'a self, bytes: &'a [u8]) -> WriteAll<'a, T> {
                self.stream.write_all(bytes)
            }

            /// Shuts this direction down: the other side reads the end of the stream.
            ///
            /// # Errors
            ///
            /// Those of [`Stream::shutdown`].
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

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self.stream).poll_write_vectored(cx, buffers)
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

half!(['s, T: Socket] ReadHalf<'s, T>);
half!(['s, T: Socket] WriteHalf<'s, T>);
half!([T: Socket] OwnedReadHalf<T>);
half!([T: Socket] OwnedWriteHalf<T>);

half_of_tcp!(ReadHalf<'_, net::TcpStream>);
half_of_tcp!(WriteHalf<'_, net::TcpStream>);
half_of_tcp!(OwnedReadHalf<net::TcpStream>);
half_of_tcp!(OwnedWriteHalf<net::TcpStream>);
reading_half_of_tcp!(ReadHalf<'_, net::TcpStream>);
reading_half_of_tcp!(OwnedReadHalf<net::TcpStream>);

/// Two halves that are not of the same stream; see [`OwnedReadHalf::reunite`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ReuniteError<T: Socket> {
    /// The reading half.
    pub reader: OwnedReadHalf<T>,
    /// The writing half.
    pub writer: OwnedWriteHalf<T>,
}

impl<T: Socket> fmt::Display for ReuniteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same stream")
    }
}

impl<T: Socket> Error for ReuniteError<T> {}
