//! The reactor: file descriptors on one side, wakers on the other.
//!
//! A socket is registered once, when it is created, edge-triggered, and stays registered until it is
//! dropped. Between two requests the loop makes no system call but the wait: a request costs one
//! read, one write, and its share of the wait.
//!
//! Edge-triggered means that the system reports each arrival once. So a peer cannot make the loop
//! spin with bytes that no task reads; and so each report has to be remembered. A source counts as
//! ready from a report until an operation would have blocked.

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
    /// Identifies the loop.
    inbox: Arc<Inbox>,
    sources: RefCell<Slab<Rc<Source<dyn Watched>>>>,
    /// The generation of the next key: the number of sources registered so far.
    next_generation: Cell<usize>,
    peak: PeakOfSlab,
    /// How many waiters of all sources hold a ticket, or were confirmed since they were last polled.
    /// Raised when such a waiter is added; lowered when it is removed or woken.
    waiting: Cell<usize>,
    /// All other waiters: those that may have given up without the reactor noticing.
    unheld: Unheld,
    /// The descriptors that are non-blocking only while they are watched, by key.
    switched: RefCell<HashMap<usize, Switched>>,
    /// Reused by every wait. Empty outside of `wait`.
    reports: Cell<Vec<Report>>,
    to_wake: Cell<Vec<(usize, LocalWaker)>>,
}

/// What reports to the reactor which sources are ready.
pub(crate) enum Backend {
    Kernel(Poller),
    /// A simulated world: only simulated sockets can be watched.
    Simulated(Rc<dyn Simulation>),
}

/// The bit of a key at which the generation begins; below it is the row.
const GENERATION: u32 = usize::BITS / 2;

/// The source's number among all that were registered, as events have it.
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

    /// `None` in a simulation, where no other thread could use it.
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

    /// Whether it belongs to the loop that runs on this thread now.
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

    /// Whether any task waits for a source.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.get() > 0 || self.unheld.count() > 0
    }

    // ===== for `net` ============================================================================

    /// Starts to watch `io`. Its `as_fd` is called once, outside any borrow: it may be user code.
    pub(crate) fn register<T: Watched>(&self, io: T, mode: Mode) -> io::Result<Rc<Source<T>>> {
        let watchable = io.watchable();
        let descriptor = watchable.number();
        let switched = match watchable {
            Watchable::Descriptor(fd) => self.kernel().and_then(|_| mode.switch(fd))?,
            Watchable::Simulated(_) => None,
        };
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        debug_assert_eq!(row_of(entry.key()), entry.key());
        // The top bit stays clear: the highest keys are reserved by the poller.
        let generation = self.next_generation.get() & (usize::MAX >> (GENERATION + 1));
        let key = entry.key() | generation << GENERATION;
        match watchable {
            Watchable::Descriptor(fd) => {
                if let Err(error) = self.kernel()?.add(fd, key, Interest::Read) {
                    if let Some(switched) = switched {
                        switched.restore(Some(fd));
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

    /// Stops watching. Called before the descriptor is closed: its number may be reused for another
    /// file at once.
    pub(crate) fn deregister(&self, key: usize) {
        let source = self.sources.borrow_mut().try_remove(row_of(key));
        let Some(source) = source else {
            return;
        };
        let mut left = Vec::new();
        let unheld = [Direction::Read, Direction::Write]
            .map(|direction| source.take_waiters(direction, &mut left));
        self.remove_waiters(left.len(), unheld.into_iter().sum());
        debug_assert!(self.has_sources() || !self.has_waiters());
        let switched = self.switched.borrow_mut().remove(&key);
        catch_and_report(|| self.unwatch(&source, switched));
        for (_, waker) in left {
            waker.discard();
        }
    }

    /// If `as_fd` now returns another descriptor, the one that was registered is out of reach. The
    /// kernel removes it when it is closed, and until then its key belongs to no source.
    fn unwatch(&self, source: &Source<dyn Watched>, switched: Option<Switched>) {
        let watchable = source.watchable();
        let mut descriptor = None;
        match watchable {
            Some(Watchable::Descriptor(fd)) => {
                // It fails only for a descriptor that has been closed already.
                let _ = self.kernel().map(|kernel| kernel.delete(fd));
                descriptor = Some(fd);
            }
            Some(Watchable::Simulated(socket)) => socket.unwatch(),
            None => {}
        }
        if let Some(switched) = switched {
            switched.restore(descriptor);
        }
    }

    /// Wakes `waker` at the next report for `direction` of `source`. `ticket` identifies the wait: it
    /// is empty at first, and has to be returned with [`Reactor::stop_waiting`].
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

    /// Ends a wait: its future is ready, or has been dropped.
    pub(crate) fn stop_waiting<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
        ticket: &mut Option<Ticket>,
    ) {
        let Some(held) = ticket.take() else { return };
        if let Some(waker) = source.remove_waiter(held, direction) {
            self.remove_waiters(1, 0);
            waker.discard();
        }
    }

    /// Counts waiters that have been removed from their sources, `unheld` of them unheld.
    fn remove_waiters(&self, all: usize, unheld: usize) {
        debug_assert!(unheld <= all && all - unheld <= self.waiting.get());
        self.waiting.set(self.waiting.get() - (all - unheld));
        self.unheld.remove(unheld);
    }

    /// Nearly every socket has space when a task writes, so writability is only watched once a task
    /// has had to wait for it.
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

    /// The poller. An error in a simulation.
    pub(crate) fn kernel(&self) -> io::Result<&Poller> {
        match &self.backend {
            Backend::Kernel(poller) => Ok(poller),
            Backend::Simulated(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a file descriptor of the system cannot be watched in a simulation",
            )),
        }
    }

    // ===== for the loop =========================================================================

    /// Waits until a source is ready, at most `until`, and wakes the waiters of all ready sources.
    pub(crate) fn wait(&self, until: Until, now: impl Fn() -> Instant) -> io::Result<()> {
        let mut reports = self.reports.take();
        let mut to_wake = self.to_wake.take();
        let until = self.probe_unheld(until, &now, &mut to_wake);
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

    /// Marks the source of a report as ready, and takes its waiters to be woken.
    fn dispatch(&self, report: Report, to_wake: &mut Vec<(usize, LocalWaker)>) {
        let sources = self.sources.borrow();
        // The source that was reported may be gone, and its row reused.
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
        self.remove_waiters(to_wake.len() - before, unheld);
    }
}

#[cold]
fn another_descriptor() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "its `as_fd` no longer returns the descriptor that is watched",
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
    fn waiters_are_removed_with_their_source() {
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
    fn writability_is_watched_only_once_a_task_waits_for_it() {
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
