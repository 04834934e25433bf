//! One loop a core.
//!
//! One loop uses one processor. A server that wants more runs several loops, each on a thread of
//! its own, each with its own tasks: nothing is shared between them unless the program shares it,
//! so inside each everything stays as it was. Only the connections have to be distributed.
//!
//! - **On Linux** every loop listens on the same port with `SO_REUSEPORT`, and the kernel distributes new
//!   connections out among the sockets by a hash of the addresses: without any talk between the
//!   loops, but not evenly while there are few.
//! - **Elsewhere** `SO_REUSEPORT` does not share. The first loop that listens accepts for all, and
//!   distributes the connections round robin.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::base::atomics::ignore_poison;
use crate::base::panics::catch_and_report;
use crate::base::place::{Place, Why};
use crate::base::turn;
use crate::base::world;
use crate::builder::{Builder, Settings};
use crate::current;
use crate::event_loop::EventLoop;
use crate::handle::Handle;
use crate::net::{PAUSE, Setbacks, TcpListener, TcpStream, ToSocketAddrs, resolve};
use crate::runtime::{RunError, Runtime};
use crate::time::Sleep;

/// Runs `main` on `count` threads, each with a runtime of its own, and waits for all of them.
///
/// It returns their outputs in the order of their numbers. The first one that returns an error or
/// panics ends the others: their loops are stopped the next time they poll for events, and their
/// tasks are dropped on their own threads. A `count` of 0 counts as 1;
/// [`std::thread::available_parallelism`] returns the number of processors.
///
/// # Errors
///
/// - The first error that one of them returned.
/// - When a thread or a runtime cannot be made.
/// - In a [simulation](crate::sim), which has one thread and a virtual clock.
///
/// # Panics
///
/// With the first panic of one of them, after all have ended.
///
/// ```
/// let squares = popleft::cores(3, |core| async move {
///     popleft::yield_now().await;
///     Ok::<_, std::io::Error>(core.number() * core.number())
/// })?;
/// assert_eq!(squares, [0, 1, 4]);
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "thread_per_core")]
#[track_caller]
pub fn cores<M, F, T, E>(count: usize, main: M) -> Result<Vec<T>, E>
where
    M: Fn(Core) -> F + Sync,
    F: Future<Output = Result<T, E>>,
    T: Send,
    E: From<io::Error> + Send,
{
    let mut builder = Runtime::builder();
    builder.settings.name = "core".to_string();
    builder.cores(count, main)
}

impl Builder {
    /// Runs `main` on `count` threads, each with a runtime of these settings; see [`cores`].
    ///
    /// The runtimes and their threads are named after this builder's name, with `-` and their
    /// number. The listener and the sinks are not used, because they belong to this thread;
    /// [`record_all`](crate::record::record_all) records all runtimes.
    ///
    /// # Errors
    ///
    /// Those of [`cores`].
    ///
    /// # Panics
    ///
    /// With the first panic of one of them, after all have ended.
    ///
    /// ```
    /// let names = popleft::Runtime::builder().name("web").cores(2, |_| async {
    ///     Ok::<_, std::io::Error>(std::thread::current().name().map(String::from))
    /// })?;
    /// assert_eq!(names, [Some("web-0".to_string()), Some("web-1".to_string())]);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn cores<M, F, T, E>(self, count: usize, main: M) -> Result<Vec<T>, E>
    where
        M: Fn(Core) -> F + Sync,
        F: Future<Output = Result<T, E>>,
        T: Send,
        E: From<io::Error> + Send,
    {
        run_all(self.settings, count, main)
    }
}

#[track_caller]
fn run_all<M, F, T, E>(settings: Settings, count: usize, main: M) -> Result<Vec<T>, E>
where
    M: Fn(Core) -> F + Sync,
    F: Future<Output = Result<T, E>>,
    T: Send,
    E: From<io::Error> + Send,
{
    refuse_in_a_simulation()?;
    let count = count.max(1);
    let at = Place::of(Location::caller());
    let settings = &settings;
    let group = Arc::new(Group::default());
    let run = |number| {
        let core = Core { number, count, group: group.clone(), listening: RefCell::default() };
        let ended = catch_unwind(AssertUnwindSafe(|| run_one(core, settings, &main, at)));
        if !matches!(ended, Ok(Ended::With(Ok(_)))) {
            group.fail(number);
        }
        ended
    };
    let ended = thread::scope(|scope| {
        let run = &run;
        let start = |number| {
            let thread = thread::Builder::new().name(settings.name_of(number));
            let started = thread.spawn_scoped(scope, move || run(number));
            if started.is_err() {
                group.fail(number);
            }
            started
        };
        let started: Vec<_> = (0..count).map(start).collect();
        started.into_iter().map(wait_for).collect::<Vec<_>>()
    });
    results(ended, group.first_to_fail())
}

/// A simulation has one thread and a virtual clock.
fn refuse_in_a_simulation() -> io::Result<()> {
    let around = current::event_loop();
    let is_real = |event_loop: &Rc<EventLoop>| event_loop.tasks.world.has_other_threads();
    if !world::is_in_a_simulated_job() && around.as_ref().is_none_or(is_real) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "a simulation has one loop: it cannot run one a core, on threads and by the clock of the \
         system",
    ))
}

/// How one of the loops ended.
enum Ended<T, E> {
    /// Its main future returned.
    With(Result<T, E>),
    /// It was stopped because another one failed.
    Stopped,
}

fn run_one<M, F, T, E>(core: Core, settings: &Settings, main: &M, at: Place) -> Ended<T, E>
where
    M: Fn(Core) -> F,
    F: Future<Output = Result<T, E>>,
    E: From<io::Error>,
{
    let number = core.number;
    let mut builder = Runtime::builder();
    builder.settings = settings.clone();
    let runtime = match builder.name(settings.name_of(number)).build() {
        Ok(runtime) => runtime,
        Err(error) => return Ended::With(Err(error.into())),
    };
    core.group.add(runtime.handle());
    match runtime.try_block_on_at(async { main(core).await }, at) {
        Ok(result) => Ended::With(result),
        Err(RunError::Stopped) => Ended::Stopped,
        Err(error) => panic!("the loop of core {number} cannot go on: {error}"),
    }
}

type Joined<T, E> = thread::Result<Ended<T, E>>;

fn wait_for<T, E: From<io::Error>>(
    started: io::Result<thread::ScopedJoinHandle<'_, Joined<T, E>>>,
) -> Joined<T, E> {
    match started {
        Ok(thread) => thread.join().and_then(|ended| ended),
        Err(error) => Ok(Ended::With(Err(error.into()))),
    }
}

fn results<T, E: From<io::Error>>(
    ended: Vec<Joined<T, E>>,
    first_to_fail: Option<usize>,
) -> Result<Vec<T>, E> {
    let mut outputs = Vec::new();
    for (number, ended) in ended.into_iter().enumerate() {
        // Later failures are consequences of the first.
        let counts = first_to_fail.is_none_or(|first| first == number);
        match ended {
            Ok(Ended::With(Ok(output))) => outputs.push(output),
            Ok(Ended::With(Err(error))) if counts => return Err(error),
            Err(panic) if counts => resume_unwind(panic),
            Ok(Ended::Stopped) if counts => {
                return Err(io::Error::other("the loop was stopped through a handle").into());
            }
            _ => {}
        }
    }
    Ok(outputs)
}

// ===== what the loops share =====================================================================

/// One of the loops that [`cores`] runs.
///
/// ```
/// let ports = popleft::cores(2, |core| async move {
///     let listener = core.listen("127.0.0.1:0").await?;
///     // A server would now call `listener.accept()` in a loop.
///     std::io::Result::Ok(listener.local_addr().port())
/// })?;
/// assert_eq!(ports[0], ports[1]);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Core {
    number: usize,
    count: usize,
    group: Arc<Group>,
    /// How often this loop has listened on each address.
    listening: RefCell<HashMap<SocketAddr, usize>>,
}

#[derive(Default)]
struct Group {
    members: Mutex<Members>,
    /// By requested address and how often a loop had listened on it before.
    shared: Mutex<HashMap<(SocketAddr, usize), Arc<Distributor>>>,
}

#[derive(Default)]
struct Members {
    handles: Vec<Handle>,
    first_to_fail: Option<usize>,
}

/// No user code runs while one of these locks is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

impl Group {
    /// Called before a loop runs. If another one has already failed, this one stops at once.
    fn add(&self, handle: Handle) {
        let mut members = lock(&self.members);
        if members.first_to_fail.is_some() {
            handle.stop();
        }
        members.handles.push(handle);
    }

    /// Stops the others.
    fn fail(&self, number: usize) {
        let mut members = lock(&self.members);
        members.first_to_fail.get_or_insert(number);
        for handle in &members.handles {
            handle.stop();
        }
    }

    fn first_to_fail(&self) -> Option<usize> {
        lock(&self.members).first_to_fail
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl Core {
    /// Returns the number of this loop, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns how many loops there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Listens on `address` together with the other loops.
    ///
    /// Each loop has to call this, and each connection is accepted by one of them. With port 0 the
    /// system chooses one port for all.
    ///
    /// A loop that listens has to accept: connections distributed to it wait for it, and are reset
    /// when it ends. On systems other than Linux the first loop that listens accepts for all, and
    /// the others get an error when it ends.
    ///
    /// The future waits only while a name is looked up. Dropping it before it is ready abandons
    /// the lookup; nothing is listened on then.
    ///
    /// # Errors
    ///
    /// - When the name cannot be resolved, or when none of its addresses can be listened on, for
    ///   example because another program already does; this is the error of the last address.
    /// - When no runtime is running on this thread.
    #[track_caller]
    pub fn listen<A: ToSocketAddrs>(
        &self,
        address: A,
    ) -> impl Future<Output = io::Result<CoreListener>> + use<'_, A> {
        self.listen_at(address, Location::caller())
    }

    async fn listen_at(
        &self,
        address: impl ToSocketAddrs,
        at: &'static Location<'static>,
    ) -> io::Result<CoreListener> {
        let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolve(address, at).await? {
            match self.listen_on(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    fn listen_on(&self, address: SocketAddr) -> io::Result<CoreListener> {
        let mut shared = lock(&self.group.shared);
        let times = self.listening.borrow().get(&address).copied().unwrap_or(0);
        let distributor = match shared.get(&(address, times)) {
            Some(distributor) => distributor.clone(),
            None => {
                let distributor = Distributor::start(address, self.count)?;
                shared.insert((address, times), distributor.clone());
                distributor
            }
        };
        self.listening.borrow_mut().insert(address, times + 1);
        let own = if KERNEL_BALANCES {
            let options = TcpListener::options().reuse_port(true);
            Some(TcpListener::from_std(options.listen(distributor.address)?)?)
        } else {
            None
        };
        Ok(CoreListener { number: self.number, own, distributor, setbacks: Setbacks::default() })
    }
}

// ===== distributing connections =================================================================

/// Whether the kernel distributes connections among the sockets that share a port.
const KERNEL_BALANCES: bool = cfg!(all(target_os = "linux", not(popleft_portable)));

/// A listener that one loop shares with the others; see [`Core::listen`].
///
/// On Linux dropping it closes this loop's socket, so that later connections go to the other loops.
/// On other systems connections that are distributed to this loop then wait until the loops end.
///
/// ```
/// use popleft::net::TcpStream;
///
/// popleft::cores(1, |core| async move {
///     let listener = core.listen("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()).await?;
///     let (_accepted, address) = listener.accept().await?;
///     assert_eq!(address, client.local_addr()?);
///     std::io::Result::Ok(())
/// })?;
/// # std::io::Result::Ok(())
/// ```
pub struct CoreListener {
    number: usize,
    /// Its own socket, where the kernel distributes.
    own: Option<TcpListener>,
    distributor: Arc<Distributor>,
    setbacks: Setbacks,
}

/// One address that all loops listen on; and where the kernel does not distribute, the connections
/// that wait for each loop.
struct Distributor {
    address: SocketAddr,
    queues: Vec<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    connections: VecDeque<Accepted>,
    /// The waiting tasks by their tickets: several tasks of one loop may accept.
    waiting: Vec<(usize, Waker)>,
    next_ticket: usize,
    /// Why there will be no more connections.
    closed: Option<io::ErrorKind>,
}

impl Distributor {
    /// Binds the address, and fails if it is in use. Where the kernel distributes, each loop then
    /// binds a socket of its own; elsewhere this loop begins to accept for all.
    fn start(address: SocketAddr, count: usize) -> io::Result<Arc<Distributor>> {
        let listener = TcpListener::options().listen(address)?;
        let distributor = Arc::new(Distributor {
            address: listener.local_addr()?,
            queues: (0..count).map(|_| Mutex::default()).collect(),
        });
        if !KERNEL_BALANCES {
            let listener = TcpListener::from_std(listener)?;
            drop(crate::spawn(distributor.clone().accept_for_all(listener)));
        }
        Ok(distributor)
    }

    /// Accepts for all, until accepting fails or this future is dropped with its loop.
    async fn accept_for_all(self: Arc<Self>, listener: TcpListener) {
        let _close = CloseOnDrop(&self);
        for number in (0..self.queues.len()).cycle() {
            let Ok((stream, peer)) = listener.accept().await else {
                return;
            };
            self.push(number, |queue| {
                queue.connections.push_back((stream.into_std(), peer));
            });
        }
    }

    /// Wakes all waiting tasks, not one: the one that is woken may have been cancelled.
    fn push(&self, number: usize, give: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queues[number]);
        give(&mut queue);
        while let Some((_, waker)) = queue.waiting.pop() {
            drop(queue);
            catch_and_report(|| waker.wake());
            queue = lock(&self.queues[number]);
        }
    }

    /// `ticket` identifies the caller while it waits; see [`Distributor::stop_waiting`].
    fn poll_queue(
        &self,
        number: usize,
        ticket: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<io::Result<Accepted>> {
        let waker = waker.clone();
        self.stop_waiting(number, ticket);
        let mut queue = lock(&self.queues[number]);
        if let Some(connection) = queue.connections.pop_front() {
            return Poll::Ready(Ok(connection));
        }
        if let Some(why) = queue.closed {
            let text = "the loop that accepted for all has ended";
            return Poll::Ready(Err(io::Error::new(why, text)));
        }
        *ticket = Some(queue.next_ticket);
        let own = queue.next_ticket;
        queue.next_ticket = own.wrapping_add(1);
        queue.waiting.push((own, waker));
        Poll::Pending
    }

    fn stop_waiting(&self, number: usize, ticket: &mut Option<usize>) {
        let Some(held) = ticket.take() else { return };
        let mut queue = lock(&self.queues[number]);
        let at = queue.waiting.iter().position(|(ticket, _)| *ticket == held);
        let left = at.map(|at| queue.waiting.swap_remove(at));
        drop(queue);
        catch_and_report(|| drop(left));
    }
}

/// A connection that one loop accepted for another.
type Accepted = (net::TcpStream, SocketAddr);

/// Waits for the next connection in one loop's queue; dropping it stops waiting.
struct WaitForConnection<'a> {
    listener: &'a CoreListener,
    ticket: Option<usize>,
    at: &'static Location<'static>,
}

impl Future for WaitForConnection<'_> {
    type Output = io::Result<Accepted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (distributor, number) = (&this.listener.distributor, this.listener.number);
        let polled = distributor.poll_queue(number, &mut this.ticket, cx.waker());
        if polled.is_pending() {
            turn::park_at(Why::Read, this.at);
        }
        polled
    }
}

impl Drop for WaitForConnection<'_> {
    fn drop(&mut self) {
        self.listener.distributor.stop_waiting(self.listener.number, &mut self.ticket);
    }
}

/// Closes all queues when the loop that accepts for all ends.
struct CloseOnDrop<'a>(&'a Distributor);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        for number in 0..self.0.queues.len() {
            self.0.push(number, |queue| {
                queue.closed = Some(io::ErrorKind::NotConnected);
            });
        }
    }
}

impl CoreListener {
    /// Accepts the next connection that is distributed to this loop.
    ///
    /// Errors of a single connection are handled as by [`TcpListener::accept`]. Dropping the future
    /// loses no connection.
    ///
    /// # Errors
    ///
    /// Those of [`TcpListener::accept`]; and where the first loop accepts for all, when it has
    /// ended.
    #[track_caller]
    pub fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + '_ {
        self.accept_at(Location::caller())
    }

    async fn accept_at(
        &self,
        at: &'static Location<'static>,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        if let Some(listener) = &self.own {
            return listener.accept_at(at).await;
        }
        loop {
            let (stream, peer) = WaitForConnection { listener: self, ticket: None, at }.await?;
            match TcpStream::from_std(stream) {
                Ok(stream) => return Ok((stream, peer)),
                // Only this connection is lost.
                Err(error) => self.setbacks.warn_once(&error),
            }
            Sleep::lasting(PAUSE, at).await;
        }
    }

    /// Returns the address that all loops listen on.
    pub fn local_addr(&self) -> SocketAddr {
        self.distributor.address
    }
}

impl fmt::Debug for CoreListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreListener")
            .field("core", &self.number)
            .field("address", &self.distributor.address)
            .finish()
    }
}
