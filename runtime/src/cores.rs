//! One loop a core.
//!
//! One loop uses one processor. A server that wants more runs several loops, each on a thread of
//! its own, each with its own tasks: nothing is shared between them unless the program shares it,
//! so inside each everything stays as it was. What has to be dealt out are the connections.
//!
//! - **On Linux** every loop listens on the same port with `SO_REUSEPORT`, and the kernel deals new
//!   connections out among the sockets by a hash of the addresses: without any talk between the
//!   loops, but not evenly while there are few.
//! - **Elsewhere** `SO_REUSEPORT` does not share. The first loop that listens accepts for all, and
//!   hands each the next connection in turn.

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
/// It returns what they returned, in the order of their numbers. The first that returns an error,
/// or panics, ends the others: their loops are stopped at the next look outside, and their tasks
/// dropped on their own threads. `count` of 0 counts as 1;
/// [`std::thread::available_parallelism`] says how many processors there are.
///
/// # Errors
///
/// The first error that one of them returned; also when a thread or a runtime cannot be made, and
/// in a [simulation](crate::sim), whose one thread and one clock are not the system's.
///
/// # Panics
///
/// With the first panic of one of them, when all have ended.
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
    /// As [`cores`], with runtimes of these settings; their names and those of their threads are
    /// this one's with `-` and their numbers. A listener and sinks are not taken along: they
    /// belong to this thread. [`record_all`](crate::record::record_all) records them all.
    ///
    /// # Errors
    ///
    /// As [`cores`].
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

/// A simulation has one thread and one clock.
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
    /// It was stopped, since another one had failed.
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
        // What came after the first failure came of it.
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
#[derive(Debug)]
pub struct Core {
    number: usize,
    count: usize,
    group: Arc<Group>,
    /// How often this one has listened on each address.
    listening: RefCell<HashMap<SocketAddr, usize>>,
}

#[derive(Default)]
struct Group {
    members: Mutex<Members>,
    /// The addresses that are listened on, by what was asked for, and the how manieth time.
    shared: Mutex<HashMap<(SocketAddr, usize), Arc<Dealer>>>,
}

#[derive(Default)]
struct Members {
    handles: Vec<Handle>,
    first_to_fail: Option<usize>,
}

/// No user's code runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

impl Group {
    /// A loop is about to run. If another has failed already, it stops at once.
    fn add(&self, handle: Handle) {
        let mut members = lock(&self.members);
        if members.first_to_fail.is_some() {
            handle.stop();
        }
        members.handles.push(handle);
    }

    /// Ends the others.
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
    /// Which one it is, counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Listens on `address` together with the other loops, each of which has to call this as well:
    /// a connection is accepted by one of them. Port 0 has the system choose one port for all.
    ///
    /// A loop that listens has to accept: what was dealt to it waits for it, and is reset when it
    /// ends. Elsewhere than on Linux the first loop that listens accepts for all, and when it ends
    /// the others get an error.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved, and when none of its addresses can be listened on, for
    /// example since somebody else does (the last one's error is returned).
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
        let dealer = match shared.get(&(address, times)) {
            Some(dealer) => dealer.clone(),
            None => {
                let dealer = Dealer::start(address, self.count)?;
                shared.insert((address, times), dealer.clone());
                dealer
            }
        };
        self.listening.borrow_mut().insert(address, times + 1);
        let own = match THE_KERNEL_DEALS {
            true => Some(TcpListener::from_std(
                TcpListener::options().reuse_port(true).listen(dealer.address)?,
            )?),
            false => None,
        };
        Ok(CoreListener { number: self.number, own, dealer, setbacks: Setbacks::default() })
    }
}

// ===== dealing connections out ==================================================================

/// Whether sockets that share a port are each given a part of the connections.
const THE_KERNEL_DEALS: bool = cfg!(all(target_os = "linux", not(popleft_portable)));

/// One loop's end of an address that all listen on; see [`Core::listen`].
pub struct CoreListener {
    number: usize,
    /// Its own socket, where the kernel deals.
    own: Option<TcpListener>,
    dealer: Arc<Dealer>,
    setbacks: Setbacks,
}

/// One address that all loops listen on; and where the kernel does not deal, the connections that
/// wait for each of them.
struct Dealer {
    address: SocketAddr,
    hands: Vec<Mutex<Hand>>,
}

#[derive(Default)]
struct Hand {
    connections: VecDeque<Dealt>,
    /// Those who wait, by their tickets: several tasks of one loop may.
    waiting: Vec<(usize, Waker)>,
    next_ticket: usize,
    /// Why there will be no more.
    over: Option<io::ErrorKind>,
}

impl Dealer {
    /// Takes the address, and fails if somebody has it. Where the kernel deals, each loop then
    /// binds a socket of its own; else this loop begins to accept for all.
    fn start(address: SocketAddr, count: usize) -> io::Result<Arc<Dealer>> {
        let listener = TcpListener::options().listen(address)?;
        let dealer = Arc::new(Dealer {
            address: listener.local_addr()?,
            hands: (0..count).map(|_| Mutex::default()).collect(),
        });
        if !THE_KERNEL_DEALS {
            let listener = TcpListener::from_std(listener)?;
            drop(crate::spawn(dealer.clone().accept_for_all(listener)));
        }
        Ok(dealer)
    }

    /// Accepts for all, until that fails or this future is dropped with its loop.
    async fn accept_for_all(self: Arc<Self>, listener: TcpListener) {
        let _over = Over(&self);
        for number in (0..self.hands.len()).cycle() {
            let Ok((stream, peer)) = listener.accept().await else {
                return;
            };
            self.deal(number, |hand| {
                hand.connections.push_back((stream.into_std(), peer));
            });
        }
    }

    /// All who wait are woken: one gets it, or has given up, and the others wait again.
    fn deal(&self, number: usize, give: impl FnOnce(&mut Hand)) {
        let mut hand = lock(&self.hands[number]);
        give(&mut hand);
        while let Some((_, waker)) = hand.waiting.pop() {
            drop(hand);
            catch_and_report(|| waker.wake());
            hand = lock(&self.hands[number]);
        }
    }

    /// `ticket` is the caller's claim: empty at first, and given back with [`Dealer::stop_waiting`].
    fn poll_hand(
        &self,
        number: usize,
        ticket: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<io::Result<Dealt>> {
        let waker = waker.clone();
        self.stop_waiting(number, ticket);
        let mut hand = lock(&self.hands[number]);
        if let Some(connection) = hand.connections.pop_front() {
            return Poll::Ready(Ok(connection));
        }
        if let Some(why) = hand.over {
            let text = "the loop that accepted for all has ended";
            return Poll::Ready(Err(io::Error::new(why, text)));
        }
        *ticket = Some(hand.next_ticket);
        let own = hand.next_ticket;
        hand.next_ticket = own.wrapping_add(1);
        hand.waiting.push((own, waker));
        Poll::Pending
    }

    fn stop_waiting(&self, number: usize, ticket: &mut Option<usize>) {
        let Some(held) = ticket.take() else { return };
        let mut hand = lock(&self.hands[number]);
        let at = hand.waiting.iter().position(|(ticket, _)| *ticket == held);
        let left = at.map(|at| hand.waiting.swap_remove(at));
        drop(hand);
        catch_and_report(|| drop(left));
    }
}

/// A connection that was dealt out.
type Dealt = (net::TcpStream, SocketAddr);

/// The wait for a connection that is dealt to one loop; dropping it gives it up.
struct WaitForDeal<'a> {
    listener: &'a CoreListener,
    ticket: Option<usize>,
    at: &'static Location<'static>,
}

impl Future for WaitForDeal<'_> {
    type Output = io::Result<Dealt>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (dealer, number) = (&this.listener.dealer, this.listener.number);
        let polled = dealer.poll_hand(number, &mut this.ticket, cx.waker());
        if polled.is_pending() {
            turn::park_at(Why::Read, this.at);
        }
        polled
    }
}

impl Drop for WaitForDeal<'_> {
    fn drop(&mut self) {
        self.listener.dealer.stop_waiting(self.listener.number, &mut self.ticket);
    }
}

/// Tells all that there will be no more connections.
struct Over<'a>(&'a Dealer);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        for number in 0..self.0.hands.len() {
            self.0.deal(number, |hand| {
                hand.over = Some(io::ErrorKind::NotConnected);
            });
        }
    }
}

impl CoreListener {
    /// Waits for a connection that is this loop's, and accepts it. It outlives what happens to one
    /// connection, as [`TcpListener::accept`] does. Dropping the future loses none.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`]; and where the first loop accepts for all, when that has ended.
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
            let (stream, peer) = WaitForDeal { listener: self, ticket: None, at }.await?;
            match TcpStream::from_std(stream) {
                Ok(stream) => return Ok((stream, peer)),
                // Only this connection is lost.
                Err(error) => self.setbacks.warn_once(&error),
            }
            Sleep::lasting(PAUSE, at).await;
        }
    }

    /// The address that all listen on.
    pub fn local_addr(&self) -> SocketAddr {
        self.dealer.address
    }
}

impl fmt::Debug for CoreListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreListener")
            .field("core", &self.number)
            .field("address", &self.dealer.address)
            .finish()
    }
}
