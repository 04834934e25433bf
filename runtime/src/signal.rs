//! Signals as futures: Ctrl-C, SIGTERM and others.
//!
//! A signal may interrupt any instruction, so hardly anything may be done where it arrives. The
//! old remedy, the *self-pipe trick*: the handler writes one byte into a socket, and whoever
//! watches the other end hears of it in peace. The loop watches sockets anyway.

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
/// From the first call on, Ctrl-C no longer ends the process; also not after the future is
/// dropped.
///
/// # Errors
///
/// When the signal cannot be caught, and when no runtime is running on this thread.
///
/// ```
/// use std::time::Duration;
/// use popleft::time::timeout;
///
/// popleft::run(async {
///     let pressed = timeout(Duration::from_millis(1), popleft::signal::ctrl_c()).await;
///     assert!(pressed.is_err(), "nobody pressed it");
/// });
/// ```
#[track_caller]
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    once(SIGINT)
}

/// Waits for SIGTERM, by which a system asks a program to end, counted from this call.
///
/// From the first call on, SIGTERM no longer ends the process.
///
/// # Errors
///
/// When the signal cannot be caught, and when no runtime is running on this thread.
#[track_caller]
pub fn terminate() -> impl Future<Output = io::Result<()>> {
    once(SIGTERM)
}

/// Listens for the signal with this number from now on.
///
/// From the first call on, the signal no longer does what it does to a process by itself.
///
/// # Errors
///
/// When there is no such signal, when it may not be caught, and when no runtime is running on
/// this thread.
pub fn listen(signal: i32) -> io::Result<Signals> {
    if signal_hook::consts::FORBIDDEN.contains(&signal) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("signal {signal} cannot be caught"),
        ));
    }
    let world = current::event_loop().map(|event_loop| event_loop.tasks.world.clone());
    let from = match world {
        Some(World::Simulated(simulation)) if is_known(signal) => {
            From::Simulation(simulation.listen(signal))
        }
        Some(World::Simulated(_)) => return Err(Errno::INVAL.into()),
        _ => From::System(Pipe::from(signal)?),
    };
    Ok(Signals { from })
}

/// Whether the system has a signal with this number, where it is not asked itself.
fn is_known(signal: i32) -> bool {
    // Real-time signals; those before them are the C library's own.
    let first_of_real_time = if cfg!(target_env = "musl") { 35 } else { 34 };
    (1..32).contains(&signal)
        || cfg!(target_os = "linux") && (first_of_real_time..65).contains(&signal)
}

/// Hears of a signal; see [`listen`]. Dropping it stops listening.
pub struct Signals {
    from: From,
}

/// Where signals come from.
enum From {
    System(Pipe),
    Simulation(Rc<dyn SignalStream>),
}

/// The end of the pipe that the loop watches.
struct Pipe {
    heard: Async<UnixStream>,
    _registration: Registration,
}

impl Pipe {
    fn from(signal: i32) -> io::Result<Self> {
        let (heard, told) = UnixStream::pair()?;
        let heard = Async::new(heard)?;
        let id = low_level::pipe::register(signal, told)?;
        Ok(Pipe { heard, _registration: Registration { id } })
    }
}

impl Signals {
    /// Waits until the signal has come since the last call. Several that come together may count
    /// as one.
    ///
    /// # Errors
    ///
    /// When it is used under another runtime.
    #[track_caller]
    pub fn recv(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.recv_at(Location::caller())
    }

    async fn recv_at(&self, at: &'static Location<'static>) -> io::Result<()> {
        match &self.from {
            From::System(pipe) => pipe.heard.wait(Direction::Read, at).perform(empty).await,
            From::Simulation(hearing) => {
                poll_fn(|cx| heard(&**hearing, at, cx)).await;
                Ok(())
            }
        }
    }
}

/// Waits for a signal of a simulation as for one of the system's.
fn heard(
    hearing: &dyn SignalStream,
    at: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    ready!(turn::consume_budget(cx));
    let heard = hearing.poll_recv(cx);
    if heard.is_pending() {
        turn::park_at(Why::Read, at);
    }
    heard
}

/// Reads all that the handler has written.
fn empty(mut heard: &UnixStream) -> io::Result<()> {
    let mut bytes = [0; 64];
    let mut length = heard.read(&mut bytes)?;
    while length == bytes.len() {
        length = heard.read(&mut bytes).unwrap_or(0);
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
