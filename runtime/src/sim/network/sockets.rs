//! What the sockets of `net` find when their loop lives in a simulated world.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use super::host::TaskHosts;
use super::settings::Network;
use super::tcp::{SocketId, Tcp};
use crate::base::access::{self, Object};
use crate::base::network::{Connection, Listen, Listener, Network as Sockets, Watch};
use crate::base::poller::{Interest, Report};
use crate::task::Id;

/// A network in memory. It lives on virtual time: [`Sockets::advance`] is its only clock.
pub(in crate::sim) struct InMemory {
    pub(super) tcp: Rc<RefCell<Tcp>>,
    task_hosts: TaskHosts,
}

impl InMemory {
    pub(in crate::sim) fn new(settings: Network, now: Instant) -> Self {
        InMemory {
            tcp: Rc::new(RefCell::new(Tcp::new(settings, now))),
            task_hosts: TaskHosts::default(),
        }
    }

    /// What it was set up with, and was given since.
    pub(in crate::sim) fn settings(&self) -> Network {
        self.tcp.borrow_mut().settings().clone()
    }

    /// A task is on the host on which it was spawned.
    pub(in crate::sim) fn spawned(&self, task: Id) {
        self.task_hosts.spawned(task);
    }

    fn socket(&self, id: SocketId) -> SimulatedSocket {
        access::record_write(Object::Anything);
        SimulatedSocket { tcp: self.tcp.clone(), id }
    }
}

impl Sockets for InMemory {
    fn listen(&self, address: SocketAddr, asked: Listen) -> io::Result<Box<dyn Listener>> {
        let id = self.tcp.borrow_mut().listen(address, self.task_hosts.here(), asked)?;
        Ok(Box::new(SimulatedListener { socket: self.socket(id) }))
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let id = self.tcp.borrow_mut().connect(address, self.task_hosts.here())?;
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
        access::record_write(Object::Anything);
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
        access::record_write(Object::Anything);
        self.socket.tcp.borrow_mut().close_listener(self.socket.id);
    }
}

impl fmt::Debug for SimulatedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TcpListener");
        shown.field("addr", &self.local_addr()).field("simulated", &self.socket.id).finish()
    }
}
