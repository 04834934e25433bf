//! A file descriptor that the loop watches, and the rule for using it.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::ioctl_fionbio;

use crate::base::event::{Event, Found, emit};
use crate::base::network::{self, Network, Watchable};
use crate::base::place::{Place, Why};
use crate::base::turn::{self, At};
use crate::current;
use crate::reactor::nonblocking::Mode;
use crate::reactor::source::{Direction, Source, Ticket};
use crate::reactor::{Reactor, number_of};

/// What an [`Async`] can watch: anything with a file descriptor, and sockets of a simulated network.
///
/// Implemented for every `T: AsFd + 'static`. This trait is sealed: it cannot be implemented
/// outside of popleft.
pub trait AsSource: network::Watched {}

impl<T: network::Watched> AsSource for T {}

/// A file descriptor that the loop watches, with futures for its operations.
///
/// The typed sockets of [`net`](super) are built on this; use it for what they do not cover, such
/// as pipes, terminals, or sockets of other libraries.
///
/// - It belongs to the runtime in which it was made. Using it under another one is an error.
/// - Several tasks may wait for it at once; all are woken and try again.
/// - Dropping it stops watching and drops the value inside, which closes the descriptor.
/// - While it is watched the descriptor is non-blocking, and so is every copy of it, in other
///   processes too: they share the open file. See [`Async::new`].
/// - A forked child (`fork` without an `exec`) shares the loop's epoll instance with its parent, and
///   a descriptor that it closes or drops is no longer watched for the parent either. Descriptors
///   are closed on `exec`, so start other programs through [`std::process::Command`], and do not
///   use a runtime, or what belongs to one, on both sides of a `fork`.
///
/// ```
/// use std::io::{Read, Write};
/// use popleft::net::Async;
///
/// popleft::run(async {
///     let (reader, mut writer) = std::io::pipe().unwrap();
///     let reader = Async::new(reader).unwrap();
///     popleft::spawn(async move { writer.write_all(b"hello").unwrap() });
///     let mut buffer = [0; 16];
///     let length = reader.read_with(|mut pipe| pipe.read(&mut buffer)).await.unwrap();
///     assert_eq!(&buffer[..length], b"hello");
/// });
/// ```
pub struct Async<T> {
    reactor: Rc<Reactor>,
    source: Rc<Source<T>>,
}

impl<T> Drop for Async<T> {
    /// Stops watching; the descriptor is closed after that, with the last field.
    fn drop(&mut self) {
        self.reactor.deregister(self.source.key);
        let source = number_of(self.source.key);
        emit(|| Event::Deregister { source, task: turn::task_if_any() });
    }
}

impl<T: AsFd + 'static> Async<T> {
    /// Makes the loop watch `io`, and makes `io` non-blocking while it is watched.
    ///
    /// If it was blocking before, it is made blocking again when this `Async` is dropped or taken
    /// apart ([`Async::into_inner`]); if several watch the same file, when the last of them is.
    /// Meanwhile the file is non-blocking for all its users. For a terminal these usually include
    /// the standard output and error of this program and the shell that started it: while the
    /// standard input is watched, a `println!` of more than the terminal takes at once may fail with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock). If that matters, open `/dev/tty` anew, which
    /// shares nothing, or read on the thread pool ([`spawn_blocking`](crate::spawn_blocking)).
    ///
    /// `io.as_fd()` is called when watching begins, when a task waits for room to write for the
    /// first time, and when watching ends; it has to return the same descriptor each time.
    ///
    /// # Errors
    ///
    /// - When no runtime is running on this thread.
    /// - When the system refuses to watch it (a regular file, for example, is always ready) or has
    ///   no memory left.
    /// - In a simulated run, which has no file descriptors.
    pub fn new(io: T) -> io::Result<Self> {
        Async::watch_as(io, Mode::WhileWatched)
    }

    /// Waits until a read would return at once: bytes, the end, or an error.
    ///
    /// It calls poll(2) first, and waits only if nothing is ready. If other tasks read as well, a
    /// read may still find nothing afterwards. Dropping the future stops waiting.
    ///
    /// # Errors
    ///
    /// When poll(2) fails, and when it is used under another runtime.
    #[track_caller]
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.operation(Direction::Read, |io| is_ready(io, PollFlags::IN))
    }

    /// Waits until a write would return at once, because there is room or an error.
    ///
    /// It calls poll(2) first, and waits only if nothing is ready. Dropping the future stops
    /// waiting.
    ///
    /// # Errors
    ///
    /// When poll(2) fails, and when it is used under another runtime.
    #[track_caller]
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.operation(Direction::Write, |io| is_ready(io, PollFlags::OUT))
    }

    /// Calls `operation` until it returns something other than
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), waiting in between until the descriptor is
    /// readable.
    ///
    /// `operation` may return `WouldBlock` only if the system has: readiness is edge-triggered, so
    /// waiting while the descriptor is already readable may last for ever.
    ///
    /// Dropping the future stops waiting; `operation` has then only returned `WouldBlock`, if it was
    /// called at all.
    ///
    /// # Errors
    ///
    /// Those of `operation`, except `WouldBlock` and `Interrupted`, and when it is used under
    /// another runtime.
    #[track_caller]
    pub fn read_with<R, F>(&self, operation: F) -> Operation<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        self.operation(Direction::Read, operation)
    }

    /// Calls `operation` until it returns something other than
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), waiting in between until the descriptor is
    /// writable.
    ///
    /// See [`read_with`](Async::read_with) for when `operation` may return `WouldBlock`, and for
    /// dropping the future.
    ///
    /// # Errors
    ///
    /// Those of `operation`, except `WouldBlock` and `Interrupted`, and when it is used under
    /// another runtime.
    ///
    /// ```
    /// use std::io::Write;
    /// use popleft::net::Async;
    ///
    /// popleft::run(async {
    ///     let (_reader, writer) = std::io::pipe().unwrap();
    ///     let writer = Async::new(writer).unwrap();
    ///     let length = writer.write_with(|mut pipe| pipe.write(b"hello")).await.unwrap();
    ///     assert_eq!(length, 5);
    /// });
    /// ```
    #[track_caller]
    pub fn write_with<R, F>(&self, operation: F) -> Operation<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        self.operation(Direction::Write, operation)
    }
}

impl<T: AsSource> Async<T> {
    /// Makes the loop watch `io`, which is non-blocking already.
    pub(super) fn watch(io: T) -> io::Result<Self> {
        Async::watch_as(io, Mode::AsItIs)
    }

    fn watch_as(io: T, mode: Mode) -> io::Result<Self> {
        let Some(event_loop) = current::event_loop() else {
            return Err(no_runtime("watch a file descriptor"));
        };
        let source = event_loop.reactor.register(io, mode)?;
        let number = number_of(source.key);
        emit(|| Event::Register { source: number, task: turn::task_if_any() });
        Ok(Async { reactor: event_loop.reactor.clone(), source })
    }

    /// Whether the runtime that it belongs to is running on this thread.
    pub(super) fn is_at_home(&self) -> bool {
        self.reactor.is_running_here()
    }

    /// Stops watching and returns the value inside, blocking or not as it was before
    /// [`Async::new`].
    pub fn into_inner(self) -> T {
        let source = self.source.clone();
        drop(self);
        match Rc::into_inner(source) {
            Some(source) => source.into_io(),
            None => unreachable!("the others were the reactor's and this `Async`'s"),
        }
    }

    #[track_caller]
    pub(super) fn operation<R, F>(&self, direction: Direction, operation: F) -> Operation<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        Operation { wait: self.wait(direction, Location::caller()), operation, is_ready: false }
    }

    pub(crate) fn wait(&self, direction: Direction, at: &'static Location<'static>) -> Wait<'_, T> {
        Wait { io: self, direction, ticket: None, at }
    }

    /// The rule: try; if it would block, wait until the reactor reports readiness and try again.
    ///
    /// `place` is called only when the task parks.
    #[inline]
    pub(super) fn poll_with<R>(
        &self,
        direction: Direction,
        mut holder: Holder<'_>,
        cx: &Context<'_>,
        place: impl Fn() -> Place,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        if !self.reactor.is_running_here() {
            return Poll::Ready(Err(wrong_runtime()));
        }
        ready!(turn::consume_budget(cx));
        while self.source.may_be_ready(direction) {
            let result = operation(self.source.io());
            emit(|| self.tried(direction, &result, place()));
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.source.clear_ready(direction);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    if let Holder::Future(ticket) = &mut holder {
                        self.stop_waiting(direction, ticket);
                    }
                    return Poll::Ready(result);
                }
            }
        }
        let reactor = &self.reactor;
        match holder {
            Holder::Future(ticket) => {
                reactor.wait_for(&self.source, direction, ticket, cx.waker())?
            }
            Holder::Nobody => reactor.wait_unheld(&self.source, direction, cx.waker())?,
        }
        turn::park(why_of(direction), At::Place(place()));
        Poll::Pending
    }

    #[cold]
    fn tried<R>(&self, direction: Direction, result: &io::Result<R>, at: Place) -> Event {
        let found = match result {
            Ok(_) => Found::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Found::WouldBlock,
            Err(_) => Found::Error,
        };
        let source = number_of(self.source.key);
        Event::Io { source, task: turn::task_if_any(), way: why_of(direction), found, at }
    }

    /// A read of a stream filled only part of its buffer.
    #[inline]
    pub(super) fn note_short_read(&self) {
        self.source.note_short_read();
    }

    #[inline]
    pub(super) fn stop_waiting(&self, direction: Direction, ticket: &mut Option<Ticket>) {
        if ticket.is_some() {
            self.reactor.stop_waiting(&self.source, direction, ticket);
        }
    }
}

impl<T> Async<T> {
    /// Returns the value inside, for settings and for calls that never block.
    pub fn get_ref(&self) -> &T {
        self.source.io()
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(self.get_ref()).finish()
    }
}

fn why_of(direction: Direction) -> Why {
    match direction {
        Direction::Read => Why::Read,
        Direction::Write => Why::Write,
    }
}

/// What holds the ticket of a wait.
pub(super) enum Holder<'a> {
    /// A future, which stops waiting when it is dropped.
    Future(&'a mut Option<Ticket>),
    /// A poll through `AsyncRead` or `AsyncWrite`, which nothing would cancel.
    Nobody,
}

/// Calls `ask` with the simulated network of the running loop, if it has one.
pub(super) fn simulated_network<R>(ask: impl FnOnce(&dyn Network) -> R) -> Option<R> {
    current::event_loop()?.tasks.world.network().map(ask)
}

/// Fails when the running loop is simulated: it watches no descriptors of the system.
pub(super) fn require_kernel() -> io::Result<()> {
    match current::event_loop() {
        Some(event_loop) => event_loop.reactor.kernel().map(drop),
        None => Ok(()),
    }
}

/// The error of an operation that needs a runtime, where none is running.
#[cold]
pub(super) fn no_runtime(what: &str) -> io::Error {
    io::Error::other(format!("cannot {what}: no runtime is running on this thread"))
}

#[cold]
pub(super) fn wrong_runtime() -> io::Error {
    io::Error::other(
        "this socket belongs to another runtime than the one that is running on this thread",
    )
}

/// Asks the system whether `io` is ready now; an error of `WouldBlock` if not.
fn is_ready(io: &impl AsFd, interest: PollFlags) -> io::Result<()> {
    let mut polled = [PollFd::new(io, interest)];
    match rustix::event::poll(&mut polled, Some(&Timespec::default()))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// The descriptor of a socket of the system.
///
/// # Panics
///
/// When the socket is simulated.
#[track_caller]
pub(super) fn descriptor_of<T: AsSource>(socket: &T) -> BorrowedFd<'_> {
    match socket.watchable() {
        Watchable::Descriptor(fd) => fd,
        Watchable::Simulated(_) => panic!("a simulated socket has no file descriptor"),
    }
}

/// Panics because a simulated socket cannot be returned as one of the standard library.
#[cold]
#[track_caller]
pub(super) fn panic_simulated() -> ! {
    panic!("a simulated socket cannot be made into one of the standard library")
}

/// Makes a socket non-blocking for good. It was made elsewhere; ours are non-blocking from the start.
pub(super) fn make_nonblocking(socket: &impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(socket, true)?)
}

/// One future's wait for one direction of a source; dropping it stops waiting.
pub(crate) struct Wait<'a, T: AsSource> {
    pub(super) io: &'a Async<T>,
    direction: Direction,
    ticket: Option<Ticket>,
    pub(super) at: &'static Location<'static>,
}

impl<T: AsSource> Wait<'_, T> {
    #[inline]
    pub(super) fn poll<R>(
        &mut self,
        cx: &Context<'_>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let place = || Place::of(self.at);
        self.io.poll_with(self.direction, Holder::Future(&mut self.ticket), cx, place, operation)
    }

    /// Performs one operation, for `async` functions.
    pub(crate) async fn perform<R>(
        mut self,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        std::future::poll_fn(|cx| self.poll(cx, &mut operation)).await
    }
}

impl<T: AsSource> Drop for Wait<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.io.stop_waiting(self.direction, &mut self.ticket);
    }
}

/// The future of one operation that may have to wait for its descriptor.
///
/// Dropping it before it is ready stops waiting; the operation has then had no effect.
#[must_use = "futures do nothing unless awaited"]
pub struct Operation<'a, T: AsSource, F> {
    wait: Wait<'a, T>,
    operation: F,
    /// The operation never has to wait.
    is_ready: bool,
}

impl<T: AsSource, F> Operation<'_, T, F> {
    /// If `is_ready`, calls the operation once without waiting for readiness.
    pub(super) fn ready_if(mut self, is_ready: bool) -> Self {
        self.is_ready = is_ready;
        self
    }
}

// The operation is called, never pinned.
impl<T: AsSource, F> Unpin for Operation<'_, T, F> {}

impl<T, F, R> Future for Operation<'_, T, F>
where
    T: AsSource,
    F: FnMut(&T) -> io::Result<R>,
{
    type Output = io::Result<R>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.is_ready {
            ready!(turn::consume_budget(cx));
            return Poll::Ready((this.operation)(this.wait.io.get_ref()));
        }
        this.wait.poll(cx, &mut this.operation)
    }
}

impl<T: AsSource, F> fmt::Debug for Operation<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}
