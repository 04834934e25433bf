//! The reactor: file descriptors on one side, wakers on the other.
//!
//! A socket is registered once, when it is made, edge-triggered, and stays registered until it is
//! dropped. Between one request and the next nothing is asked of the system but the wait: a request
//! costs one read, one write, and its share of that.
//!
//! Edge-triggered means that the system tells of each arrival once. So no peer can keep the loop
//! spinning with something that nobody reads; and so what was told has to be remembered. A source
//! counts as ready from a report until a try has found nothing.

pub(crate) mod nonblocking;
pub(crate) mod source;
mod unheld;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use slab::Slab;

use crate::base::event::{Cause, Event, emit};
use crate::base::network::{Interest, Report, Watchable, Watched};
use crate::base::panics::catch_and_report;
use crate::base::peak::PeakOfSlab;
use crate::base::poller::{Notifier, Poller};
use crate::base::turn;
use crate::base::world::{Simulation, Until};
use crate::task::inbox::Inbox;
use crate::task::local_waker::LocalWaker;
use nonblocking::{Mode, Switched};
use source::{Direction, Source, Ticket};
use unheld::Unheld;

/// The sources of one loop.
pub(crate) struct Reactor {
    backend: Backend,
    /// Tells the loop from others.
    inbox: Arc<Inbox>,
    sources: RefCell<Slab<Rc<Source<dyn Watched>>>>,
    next_generation: Cell<usize>,
    peak: PeakOfSlab,
    /// How many futures wait for a source, each of which would say so if it gave up.
    waiting: Cell<usize>,
    /// Those that would not.
    unheld: Unheld,
    /// The descriptors that are non-blocking only while they are watched, by their keys.
    switched: RefCell<HashMap<usize, Switched>>,
    /// Lists that are used again at every wait.
    reports: Cell<Vec<Report>>,
    to_wake: Cell<Vec<(usize, LocalWaker)>>,
}

/// Whom the reactor asks what is ready.
pub(crate) enum Backend {
    Kernel(Poller),
    /// There is no kernel: what is not simulated cannot be watched.
    Simulated(Rc<dyn Simulation>),
}

/// Where in a key the generation begins.
const GENERATION: u32 = usize::BITS / 2;

/// The source's number among all that were registered, as events tell it.
pub(crate) fn number_of(key: usize) -> usize {
    key >> GENERATION
}

fn row_of(key: usize) -> usize {
    key & ((1 << GENERATION) - 1)
}

impl Backend {
    pub(crate) fn kernel() -> io::Result<Self> {
        Ok(Backend::Kernel(Poller::new()?))
    }

    /// `None` where there is no other thread that could use it.
    pub(crate) fn notifier(&self) -> Option<Notifier> {
        match self {
            Backend::Kernel(poller) => Some(poller.notifier()),
            Backend::Simulated(_) => None,
        }
    }
}

impl Reactor {
    /// The reactor of the loop whose inbox this is.
    pub(crate) fn new(backend: Backend, inbox: Arc<Inbox>) -> Self {
        Reactor {
            backend,
            inbox,
            sources: RefCell::new(Slab::new()),
            next_generation: Cell::new(0),
            peak: PeakOfSlab::default(),
            waiting: Cell::new(0),
            unheld: Unheld::default(),
            switched: RefCell::default(),
            reports: Cell::new(Vec::new()),
            to_wake: Cell::new(Vec::new()),
        }
    }

    /// Whether it is that of the loop which runs on this thread now.
    #[inline]
    pub(crate) fn is_running_here(&self) -> bool {
        self.inbox.is_of_the_running_loop()
    }

    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.borrow().is_empty()
    }

    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back(&self) {
        self.peak.give_back(&mut self.sources.borrow_mut());
    }

    /// Whether any future waits for a source.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.get() > 0 || self.unheld.count() > 0
    }

    // ===== from `net` ===========================================================================

    /// Watches `io` from now on. Its `as_fd` is asked once, outside any borrow: it may be anybody's
    /// code.
    pub(crate) fn register<T: Watched>(&self, io: T, mode: Mode) -> io::Result<Rc<Source<T>>> {
        let watchable = io.watchable();
        let descriptor = watchable.number();
        let switched = match watchable {
            Watchable::Descriptor(fd) => self.kernel().and_then(|_| mode.switch(fd))?,
            Watchable::Simulated(_) => None,
        };
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        // The top bit stays clear: the highest keys are not for sources.
        let generation = self.next_generation.get() & (usize::MAX >> (GENERATION + 1));
        let key = entry.key() | generation << GENERATION;
        match watchable {
            Watchable::Descriptor(fd) => {
                if let Err(error) = self.kernel()?.add(fd, key, Interest::Read) {
                    if let Some(switched) = switched {
                        switched.put_back(Some(fd));
                    }
                    return Err(error);
                }
            }
            Watchable::Simulated(socket) => socket.watch(key, Interest::Read),
        }
        self.next_generation.set(generation + 1);
        if let Some(switched) = switched {
            self.switched.borrow_mut().insert(key, switched);
        }
        let source = Rc::new(Source::new(key, descriptor, io));
        entry.insert(source.clone());
        Ok(source)
    }

    /// Stops watching. This comes before the descriptor is closed: its number may be given to
    /// another file at once.
    pub(crate) fn deregister(&self, key: usize) {
        let source = self.sources.borrow_mut().try_remove(row_of(key));
        let Some(source) = source else {
            return;
        };
        let mut left = Vec::new();
        let unheld = [Direction::Read, Direction::Write]
            .map(|direction| source.take_waiters(direction, &mut left));
        self.wait_no_longer(left.len(), unheld.into_iter().sum());
        let switched = self.switched.borrow_mut().remove(&key);
        catch_and_report(|| self.unwatch(&source, switched));
        for (_, waker) in left {
            waker.discard();
        }
    }

    /// Where `as_fd` now names another descriptor, the one that was registered is out of reach. The
    /// system forgets it when it is closed, and until then nobody has its key.
    fn unwatch(&self, source: &Source<dyn Watched>, switched: Option<Switched>) {
        let watchable = source.watchable();
        let mut descriptor = None;
        match watchable {
            Some(Watchable::Descriptor(fd)) => {
                // It fails only for a descriptor that somebody else has closed already.
                let _ = self.kernel().map(|kernel| kernel.delete(fd));
                descriptor = Some(fd);
            }
            Some(Watchable::Simulated(socket)) => socket.unwatch(),
            None => {}
        }
        if let Some(switched) = switched {
            switched.put_back(descriptor);
        }
    }

    /// Has `waker` woken at the next report for `direction` of `source`. `ticket` is the caller's claim:
    /// empty at its first wait, and to be given back with [`Reactor::stop_waiting`].
    pub(crate) fn wait_for<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) -> io::Result<()> {
        if let Some(held) = *ticket {
            if source.waits(held, direction, waker) {
                return Ok(());
            }
            self.stop_waiting(source, direction, ticket);
        }
        self.watch_writable(source, direction)?;
        *ticket = Some(source.add_waiter(direction, LocalWaker::of(waker)));
        self.waiting.set(self.waiting.get() + 1);
        Ok(())
    }

    /// Gives a claim back: its holder got what it wanted, or wants it no more.
    pub(crate) fn stop_waiting<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
        ticket: &mut Option<Ticket>,
    ) {
        let Some(held) = ticket.take() else { return };
        if let Some(waker) = source.remove_waiter(held, direction) {
            self.waiting.set(self.waiting.get() - 1);
            waker.discard();
        }
    }

    /// So many waiters have been taken off their sources, `unheld` of them without a ticket.
    fn wait_no_longer(&self, all: usize, unheld: usize) {
        self.waiting.set(self.waiting.get() - (all - unheld));
        self.unheld.remove(unheld);
    }

    /// Nearly every socket has room whenever somebody writes, so that is asked for when somebody
    /// has waited for it once.
    fn watch_writable<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
    ) -> io::Result<()> {
        if direction == Direction::Read || source.watches_writable.get() {
            return Ok(());
        }
        let interest = Interest::ReadWrite;
        match source.watchable() {
            Some(Watchable::Descriptor(fd)) => self.kernel()?.modify(fd, source.key, interest)?,
            Some(Watchable::Simulated(socket)) => socket.watch(source.key, interest),
            None => return Err(another_descriptor()),
        }
        source.watches_writable.set(true);
        Ok(())
    }

    /// An error in a simulation.
    pub(crate) fn kernel(&self) -> io::Result<&Poller> {
        match &self.backend {
            Backend::Kernel(poller) => Ok(poller),
            Backend::Simulated(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a file descriptor of the system cannot be watched in a simulation",
            )),
        }
    }

    // ===== from the loop ========================================================================

    /// Asks the system what is ready, sleeping as long as it may, and wakes whoever waits for it.
    pub(crate) fn wait(&self, until: Until, now: impl Fn() -> Instant) -> io::Result<()> {
        let mut reports = self.reports.take();
        let mut to_wake = self.to_wake.take();
        let until = self.ask_who_still_waits(until, &now, &mut to_wake);
        let waited = match &self.backend {
            Backend::Kernel(poller) => poller.wait(until, now, &mut reports),
            Backend::Simulated(simulation) => {
                simulation.wait(until, &mut reports);
                Ok(())
            }
        };
        let ready = reports.len();
        emit(|| Event::Woke { ready });
        for report in reports.drain(..) {
            self.dispatch(report, &mut to_wake);
        }
        for (source, waker) in to_wake.drain(..) {
            turn::set_cause(Cause::Source(number_of(source)));
            waker.wake();
        }
        self.reports.set(reports);
        self.to_wake.set(to_wake);
        waited
    }

    fn dispatch(&self, report: Report, to_wake: &mut Vec<(usize, LocalWaker)>) {
        let sources = self.sources.borrow();
        // One whose key is another came after the one that is meant.
        let source = sources.get(row_of(report.key)).filter(|source| source.key == report.key);
        let Some(source) = source else { return };
        source.set_ready(report);
        let before = to_wake.len();
        let mut unheld = 0;
        if report.readable {
            unheld += source.take_waiters(Direction::Read, to_wake);
        }
        if report.writable {
            unheld += source.take_waiters(Direction::Write, to_wake);
        }
        self.wait_no_longer(to_wake.len() - before, unheld);
    }
}

#[cold]
fn another_descriptor() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "its `as_fd` no longer names the descriptor that is watched",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    fn reactor() -> Reactor {
        let backend = Backend::kernel().unwrap();
        let inbox = Arc::new(Inbox::new(backend.notifier()));
        Reactor::new(backend, inbox)
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_report_for_a_source_that_is_gone_is_not_taken_for_its_successor() {
        let reactor = reactor();
        let (old, new) = UnixStream::pair().unwrap();
        let old = reactor.register(old, Mode::AsItIs).unwrap();
        reactor.deregister(old.key);
        let new = reactor.register(new, Mode::AsItIs).unwrap();
        assert_eq!(row_of(old.key), row_of(new.key));

        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let mut ticket = None;
        let waker = Waker::from(flag.clone());
        reactor.wait_for(&new, Direction::Read, &mut ticket, &waker).unwrap();
        let mut to_wake = vec![];
        let report = |key| Report { key, readable: true, writable: true, drain: false };
        reactor.dispatch(report(old.key), &mut to_wake);
        assert!(to_wake.is_empty());
        reactor.dispatch(report(new.key), &mut to_wake);
        assert_eq!(to_wake.len(), 1);
        assert!(!flag.0.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_waiting_is_forgotten_with_its_source() {
        let reactor = reactor();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let source = reactor.register(socket, Mode::AsItIs).unwrap();
        for direction in [Direction::Read, Direction::Write] {
            let mut lost = None;
            reactor.wait_for(&source, direction, &mut lost, Waker::noop()).unwrap();
        }
        assert!(reactor.has_waiters());
        for direction in [Direction::Read, Direction::Write] {
            reactor.wait_unheld(&source, direction, Waker::noop()).unwrap();
        }
        assert_eq!(reactor.unheld.count(), 2);
        reactor.deregister(source.key);
        assert_eq!(reactor.unheld.count(), 0);
        assert!(!reactor.has_waiters());
        assert!(!reactor.has_sources());
    }

    #[test]
    fn only_who_writes_has_the_system_asked_for_room() {
        let reactor = reactor();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let source = reactor.register(socket, Mode::AsItIs).unwrap();
        let (mut reading, mut writing) = (None, None);
        reactor.wait_for(&source, Direction::Read, &mut reading, Waker::noop()).unwrap();
        reactor.wait_unheld(&source, Direction::Read, Waker::noop()).unwrap();
        assert!(!source.watches_writable.get());
        reactor.wait_for(&source, Direction::Write, &mut writing, Waker::noop()).unwrap();
        assert!(source.watches_writable.get());
        reactor.deregister(source.key);
    }
}
