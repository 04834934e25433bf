//! The network of a simulated run: hosts, names, links, and what goes wrong with them.
//!
//! A program needs no change to run on it: its `net` sockets, its `lookup_host` and its `connect`
//! find it through the world that their loop lives in. This file holds what a program is given to
//! set up a network and to break it; `network/tcp.rs` is the network itself.

mod tcp;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::running;
use crate::network::{Connection, Listen, Listener, Network as Sockets, Watch};
use crate::reactor::wait::{Interest, Report};
use crate::turn;
use tcp::{Route, SocketId, Tcp};

// ===== settings =================================================================================

/// The network that a simulated run begins with: who is called what, and how far it is from whom.
///
/// A host is an address, and needs no making. A task that is on no host (see [`on_host`]) is on
/// `127.0.0.1`, or on `::1` when it connects to an IPv6 address. The name `localhost` is known.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::{Link, Network};
///
/// let far_away = Link::new().latency(Duration::from_millis(40)).bandwidth(1_000_000);
/// let network = Network::new()
///     .name("db", [10, 0, 0, 2])
///     .links([127, 0, 0, 1], [10, 0, 0, 2], far_away);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a network does nothing until a simulated run is given it"]
pub struct Network {
    names: BTreeMap<String, Vec<IpAddr>>,
    links: BTreeMap<Route, Link>,
    other_links: Link,
    seed: u64,
}

impl Network {
    /// A network without names, whose links take no time.
    pub fn new() -> Network {
        Network::default()
    }

    /// Gives `host` a name, under which [`lookup_host`](crate::net::lookup_host) and all that take
    /// a `"name:port"` find it. A name may be given to several hosts; they are found in that order.
    pub fn name(mut self, name: impl Into<String>, host: impl Into<IpAddr>) -> Self {
        self.names.entry(name.into()).or_default().push(host.into());
        self
    }

    /// The link from one host to another, in this direction only.
    pub fn link(mut self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, link: Link) -> Self {
        self.links.insert((from.into(), to.into()), link);
        self
    }

    /// The links between two hosts, in both directions.
    pub fn links(self, a: impl Into<IpAddr>, b: impl Into<IpAddr>, link: Link) -> Self {
        let (a, b) = (a.into(), b.into());
        self.link(a, b, link.clone()).link(b, a, link)
    }

    /// All links of which nothing else was said, also that of a host to itself.
    pub fn other_links(mut self, link: Link) -> Self {
        self.other_links = link;
        self
    }

    /// Has chance, as in [`Link::jitter`], fall as this seed says; 0 if you do not say. It is apart
    /// from the seed of the run, so that a [`Schedule`](super::Schedule) alone repeats a run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn link_of(&self, route: Route) -> &Link {
        self.links.get(&route).unwrap_or(&self.other_links)
    }

    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let failed = |kind, why: String| {
            Err(io::Error::new(kind, format!("cannot look up {name:?}: {why}")))
        };
        let Some((host, port)) = name.rsplit_once(':') else {
            return failed(io::ErrorKind::InvalidInput, "it is no host:port".into());
        };
        let Ok(port) = port.parse::<u16>() else {
            return failed(io::ErrorKind::InvalidInput, format!("{port:?} is no port number"));
        };
        match (self.names.get(host), host) {
            (Some(found), _) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            (None, "localhost") => Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]),
            (None, _) => {
                let known: Vec<_> = self.names.keys().map(String::as_str).collect();
                let known = match known.is_empty() {
                    true => "no names but localhost".to_string(),
                    false => format!("only {}", known.join(", ")),
                };
                failed(io::ErrorKind::NotFound, format!("the simulated network knows {known}"))
            }
        }
    }
}

/// One direction between two hosts: how long packets take, and what goes wrong.
///
/// ```
/// use std::time::Duration;
/// use popleft::sim::Link;
///
/// // 1,000 bytes take 10 ms to be sent and 5 ms more to arrive.
/// let slow = Link::new().latency(Duration::from_millis(5)).bandwidth(100_000);
/// // The connection breaks in the middle of an answer.
/// let weak = Link::new().reset_after_bytes(1_500);
/// // After a minute the other host is gone without a word.
/// let lost = Link::new().cut_after(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a link does nothing until a network is given it"]
pub struct Link {
    latency: Duration,
    jitter: Duration,
    bandwidth: Option<u64>,
    window: usize,
    reset_after: Option<Duration>,
    reset_after_bytes: Option<u64>,
    cut_after: Option<Duration>,
}

impl Default for Link {
    fn default() -> Self {
        Link::new()
    }
}

impl Link {
    /// A link that takes no time and never breaks.
    pub fn new() -> Link {
        Link {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            window: 64 * 1024,
            reset_after: None,
            reset_after_bytes: None,
            cut_after: None,
        }
    }

    /// How long each packet is on its way. Making a connection takes three packets.
    pub fn latency(mut self, time: Duration) -> Self {
        self.latency = time;
        self
    }

    /// Up to so much longer, by chance, for each packet. The bytes of a connection stay in order.
    pub fn jitter(mut self, at_most: Duration) -> Self {
        self.jitter = at_most;
        self
    }

    /// How much may be sent in a second, by all connections together. Unlimited if you do not say.
    ///
    /// # Panics
    ///
    /// When it is 0: such a link carries nothing, and that is a [cut](Link::cut_after).
    #[track_caller]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        assert!(bytes_per_second > 0, "a bandwidth of 0 carries nothing; cut the link instead");
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// How many bytes of a connection may be on their way and unread at the other end before who
    /// writes has to wait: the buffers of both ends. 64 KiB if you do not say.
    ///
    /// # Panics
    ///
    /// When it is 0: nobody could ever write.
    #[track_caller]
    pub fn window(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "a window of 0 bytes lets nobody write");
        self.window = bytes;
        self
    }

    /// All connections between the two hosts are reset so long after the run began.
    pub fn reset_after(mut self, time: Duration) -> Self {
        self.reset_after = Some(time);
        self
    }

    /// Each connection is reset when so many bytes have arrived over it in this direction. They
    /// can still be read.
    pub fn reset_after_bytes(mut self, bytes: u64) -> Self {
        self.reset_after_bytes = Some(bytes);
        self
    }

    /// So long after the run began packets begin to vanish: who reads waits, who writes can do so
    /// until the [window](Link::window) is full, and who connects waits 127 seconds, to be told
    /// that it timed out. Nobody is told anything else.
    pub fn cut_after(mut self, time: Duration) -> Self {
        self.cut_after = Some(time);
        self
    }

    /// How long the link is busy with so many bytes.
    fn time_for(&self, bytes: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth else { return Duration::ZERO };
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(bandwidth);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

// ===== while it runs ============================================================================

/// The network of the simulation that is running on this thread, to be broken and mended.
///
/// # Panics
///
/// When no simulation is running on this thread.
///
/// ```
/// use popleft::net::{TcpListener, TcpStream};
/// use popleft::sim::{self, Sim};
///
/// Sim::new().run(async {
///     let listener = TcpListener::bind("10.0.0.2:80").await.unwrap();
///     let client = TcpStream::connect("10.0.0.2:80").await.unwrap();
///     assert_eq!(sim::network().reset([127, 0, 0, 1], [10, 0, 0, 2]), 1);
///     let error = client.read(&mut [0; 10]).await.unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
/// });
/// ```
#[track_caller]
pub fn network() -> NetworkControl {
    let Some(simulated) = running() else {
        panic!("there is no network to break: no simulation is running on this thread");
    };
    NetworkControl { tcp: simulated.network.tcp.clone() }
}

/// What can be done to the network while a simulation is running; see [`network`].
#[derive(Clone)]
pub struct NetworkControl {
    tcp: Rc<RefCell<Tcp>>,
}

impl NetworkControl {
    fn change(&self) -> RefMut<'_, Tcp> {
        turn::touch();
        self.tcp.borrow_mut()
    }

    /// Resets all connections between two hosts, and returns how many there were.
    pub fn reset(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) -> usize {
        self.change().reset((a.into(), b.into()))
    }

    /// Cuts the links between two hosts in both directions: nothing arrives any more, and nobody is
    /// told. What is on its way is lost, until the links are [mended](NetworkControl::mend).
    pub fn cut(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) {
        let (a, b) = (a.into(), b.into());
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts one direction only.
    pub fn cut_one_way(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) {
        self.change().cut((from.into(), to.into()));
    }

    /// Mends both directions. What was lost meanwhile is sent again, as TCP does.
    pub fn mend(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) {
        let (a, b) = (a.into(), b.into());
        let mut tcp = self.change();
        tcp.mend((a, b));
        tcp.mend((b, a));
    }

    /// Gives the link from one host to another other settings. They hold for what is sent from now
    /// on; times count from now, and connections keep the window that they have.
    pub fn link(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, link: Link) {
        self.change().set_link((from.into(), to.into()), link);
    }

    /// Gives a name to `host` alone, whoever had it before.
    pub fn name(&self, name: impl Into<String>, host: impl Into<IpAddr>) {
        self.change().settings().names.insert(name.into(), vec![host.into()]);
    }
}

impl fmt::Debug for NetworkControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkControl").finish_non_exhaustive()
    }
}

// ===== on a host ================================================================================

thread_local! {
    /// The host of the future that is being polled.
    static HOME: Cell<Option<IpAddr>> = const { Cell::new(None) };
}

pin_project! {
    /// The future of [`on_host`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct OnHost<F> {
        host: IpAddr,
        #[pin]
        future: F,
    }
}

/// Runs `future` on the host with this address: connections that it makes begin there, and what it
/// listens on at `0.0.0.0` or `::` is there. Tasks that it spawns are on no host, unless they say.
///
/// ```no_run
/// # async fn client() {}
/// let client = popleft::spawn(popleft::sim::on_host([10, 0, 0, 1], client()));
/// ```
pub fn on_host<F: Future>(host: impl Into<IpAddr>, future: F) -> OnHost<F> {
    OnHost { host: host.into(), future }
}

impl<F: Future> Future for OnHost<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _away = Away { home_before: HOME.replace(Some(*this.host)) };
        this.future.poll(cx)
    }
}

/// Goes home, also when the future panics.
struct Away {
    home_before: Option<IpAddr>,
}

impl Drop for Away {
    fn drop(&mut self) {
        HOME.set(self.home_before);
    }
}

// ===== what the sockets of `net` ask ============================================================

/// A network in memory. It lives on virtual time: [`Sockets::advance`] is its only clock.
pub(super) struct InMemory {
    tcp: Rc<RefCell<Tcp>>,
}

impl InMemory {
    pub(super) fn new(settings: Network, now: Instant) -> Self {
        InMemory { tcp: Rc::new(RefCell::new(Tcp::new(settings, now))) }
    }

    fn socket(&self, id: SocketId) -> SimulatedSocket {
        SimulatedSocket { tcp: self.tcp.clone(), id }
    }
}

impl Sockets for InMemory {
    fn listen(&self, address: SocketAddr, asked: Listen) -> io::Result<Box<dyn Listener>> {
        let id = self.tcp.borrow_mut().listen(address, HOME.get(), asked)?;
        Ok(Box::new(SimulatedListener { socket: self.socket(id) }))
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let id = self.tcp.borrow_mut().connect(address, HOME.get())?;
        Ok(Box::new(SimulatedStream { socket: self.socket(id) }))
    }

    fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.tcp.borrow_mut().settings().look_up(name)
    }

    fn next_event(&self) -> Option<Instant> {
        self.tcp.borrow().next_event()
    }

    fn advance(&self, now: Instant, reports: &mut Vec<Report>) {
        self.tcp.borrow_mut().advance(now, reports);
    }
}

/// One socket of the network.
struct SimulatedSocket {
    tcp: Rc<RefCell<Tcp>>,
    id: SocketId,
}

impl SimulatedSocket {
    fn watch(&self, watch: Option<(usize, Interest)>) {
        self.tcp.borrow_mut().watch(self.id, watch);
    }
}

/// One end of a connection; dropping it closes it.
struct SimulatedStream {
    socket: SimulatedSocket,
}

impl SimulatedStream {
    fn call<R>(&self, call: impl FnOnce(&mut Tcp, SocketId) -> R) -> R {
        turn::touch();
        call(&mut self.socket.tcp.borrow_mut(), self.socket.id)
    }
}

impl Watch for SimulatedStream {
    fn watch(&self, key: usize, interest: Interest) {
        self.socket.watch(Some((key, interest)));
    }

    fn unwatch(&self) {
        self.socket.watch(None);
    }
}

impl Connection for SimulatedStream {
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|tcp, id| tcp.receive(id, buffer))
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|tcp, id| tcp.peek(id, buffer))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|tcp, id| tcp.send(id, bytes))
    }

    fn shut_down(&self, how: Shutdown) -> io::Result<()> {
        self.call(|tcp, id| tcp.shut_down(id, how))
    }

    fn take_error(&self) -> Option<io::Error> {
        self.call(Tcp::take_error)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.call(|tcp, id| Ok(tcp.local_addr(id)))
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.call(|tcp, id| tcp.peer_addr(id))
    }

    fn set_nodelay(&self, yes: bool) {
        self.call(|tcp, id| *tcp.nodelay(id) = yes);
    }

    fn nodelay(&self) -> bool {
        self.call(|tcp, id| *tcp.nodelay(id))
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.call(Tcp::close);
    }
}

impl fmt::Debug for SimulatedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TcpStream");
        for (name, address) in [("addr", self.local_addr()), ("peer", self.peer_addr())] {
            if let Ok(address) = address {
                shown.field(name, &address);
            }
        }
        shown.field("simulated", &self.socket.id).finish()
    }
}

/// A listener; dropping it closes it.
struct SimulatedListener {
    socket: SimulatedSocket,
}

impl Watch for SimulatedListener {
    fn watch(&self, key: usize, interest: Interest) {
        self.socket.watch(Some((key, interest)));
    }

    fn unwatch(&self) {
        self.socket.watch(None);
    }
}

impl Listener for SimulatedListener {
    fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
        let tcp = self.socket.tcp.clone();
        let (id, peer) = tcp.borrow_mut().accept(self.socket.id)?;
        Ok((Box::new(SimulatedStream { socket: SimulatedSocket { tcp, id } }), peer))
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.tcp.borrow().listens_on(self.socket.id)
    }
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        self.socket.tcp.borrow_mut().close_listener(self.socket.id);
    }
}

impl fmt::Debug for SimulatedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TcpListener");
        shown.field("addr", &self.local_addr()).field("simulated", &self.socket.id).finish()
    }
}
