//! Signals as futures: Ctrl-C, SIGTERM and others.
//!
//! A signal may interrupt any instruction, so a handler may do very little. The *self-pipe trick*
//! moves the work elsewhere: the handler writes one byte into a socket, and the loop, which watches
//! sockets anyway, reads it outside the handler.
//!
//! Needs the feature `signal`, which is on by default.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::low_level;

pub use signal_hook::consts::{SIGINT, SIGTERM};

use crate::base::place::Why;
use crate::base::turn;
use crate::base::world::{SignalStream, World};
use crate::current;
use crate::net::Async;
use crate::reactor::source::Direction;

/// Waits for Ctrl-C (SIGINT), counted from this call.
///
/// From the first call on, Ctrl-C no longer ends the process, even after the future has been
/// dropped. Dropping the future stops listening.
///
/// # Errors
///
/// When the handler cannot be installed, when no runtime is running on this thread, and when the
/// future is polled under another runtime.
///
/// ```
/// use std::time::Duration;
/// use popleft::time::timeout;
///
/// popleft::run(async {
///     let pressed = timeout(Duration::from_millis(1), popleft::signal::ctrl_c()).await;
///     assert!(pressed.is_err(), "it was not pressed");
/// });
/// ```
#[track_caller]
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    once(SIGINT)
}

/// Waits for SIGTERM, with which the system asks a program to end, counted from this call.
///
/// From the first call on, SIGTERM no longer ends the process, even after the future has been
/// dropped. Dropping the future stops listening.
///
/// # Errors
///
/// When the handler cannot be installed, when no runtime is running on this thread, and when the
/// future is polled under another runtime.
#[track_caller]
pub fn terminate() -> impl Future<Output = io::Result<()>> {
    once(SIGTERM)
}

/// Listens for the signal with this number, from this call on.
///
/// From the first call on, the signal no longer has its default effect on the process, even after
/// the returned [`Signals`] has been dropped.
///
/// # Errors
///
/// When there is no such signal, when it cannot be caught, and when no runtime is running on this
/// thread.
///
/// ```
/// use popleft::signal;
///
/// popleft::run(async {
///     let hangups = signal::listen(1)?;
///     // A server would reload its settings each time.
///     let wait = popleft::time::timeout(std::time::Duration::from_millis(1), hangups.recv());
///     assert!(wait.await.is_err(), "no SIGHUP was sent");
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub fn listen(signal: i32) -> io::Result<Signals> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be caught"),
        ));
    }
    let world = current::event_loop().map(|event_loop| event_loop.tasks.world.clone());
    let origin = match world {
        Some(World::Simulated(simulation)) if is_known(signal) => {
            Origin::Simulation(simulation.listen(signal))
        }
        Some(World::Simulated(_)) => return Err(Errno::INVAL.into()),
        _ => Origin::System(Pipe::from(signal)?),
    };
    Ok(Signals { origin })
}

/// Whether the system has a signal with this number; for a simulation, which does not ask it.
fn is_known(signal: i32) -> bool {
    // Real-time signals; those before them are the C library's own.
    let first_of_real_time = if cfg!(target_env = "musl") { 35 } else { 34 };
    (1..32).contains(&signal)
        || cfg!(target_os = "linux") && (first_of_real_time..65).contains(&signal)
}

/// A listener for one signal; see [`listen`].
///
/// Dropping it stops listening.
#[must_use = "dropping it stops listening"]
pub struct Signals {
    origin: Origin,
}

/// Where the signals come from.
enum Origin {
    System(Pipe),
    Simulation(Rc<dyn SignalStream>),
}

/// The end of the pipe that the loop watches.
struct Pipe {
    receiver: Async<UnixStream>,
    _registration: Registration,
}

impl Pipe {
    fn from(signal: i32) -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        let receiver = Async::new(receiver)?;
        let id = low_level::pipe::register(signal, sender)?;
        Ok(Pipe { receiver, _registration: Registration { id } })
    }
}

impl Signals {
    /// Waits until the signal has arrived at least once since the last call returned.
    ///
    /// Several signals that arrive together may count as one. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// When it is used under another runtime.
    #[track_caller]
    pub fn recv(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.recv_at(Location::caller())
    }

    async fn recv_at(&self, at: &'static Location<'static>) -> io::Result<()> {
        match &self.origin {
            Origin::System(pipe) => pipe.receiver.wait(Direction::Read, at).perform(drain).await,
            Origin::Simulation(signals) => {
                poll_fn(|cx| poll_signal(&**signals, at, cx)).await;
                Ok(())
            }
        }
    }
}

/// Waits for a simulated signal, with the budget and the report of a wait for a real one.
fn poll_signal(
    signals: &dyn SignalStream,
    at: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    ready!(turn::consume_budget(cx));
    let polled = signals.poll_recv(cx);
    if polled.is_pending() {
        turn::park_at(Why::Read, at);
    }
    polled
}

/// Reads everything that the handler has written.
fn drain(mut receiver: &UnixStream) -> io::Result<()> {
    let mut bytes = [0; 64];
    let mut length = receiver.read(&mut bytes)?;
    while length == bytes.len() {
        length = receiver.read(&mut bytes).unwrap_or(0);
    }
    Ok(())
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

struct Registration {
    id: SigId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        low_level::unregister(self.id);
    }
}

#[track_caller]
fn once(signal: i32) -> impl Future<Output = io::Result<()>> {
    let signals = listen(signal);
    let at = Location::caller();
    async move { signals?.recv_at(at).await }
}
