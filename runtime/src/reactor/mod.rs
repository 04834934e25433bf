//! The reactor: file descriptors on one side, wakers on the other.
//!
//! A socket is registered once, when it is made, edge-triggered, and stays registered until it is
//! dropped. Between one request and the next nothing is asked of the system but the wait: a request
//! costs one read, one write, and its share of that.
//!
//! Edge-triggered means that the system tells of each arrival once. So no peer can keep the loop
//! spinning with something that nobody reads; and so what was told has to be remembered. A source
//! counts as ready from a report until a try has found nothing.

pub(crate) mod source;
pub(crate) mod wait;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use slab::Slab;

use crate::event::{Cause, Event, tell};
use crate::network::{Watchable, Watched};
use crate::peak::PeakOfSlab;
use crate::task::waker::LocalWaker;
use crate::turn;
use crate::world::Simulation;
use source::{Source, Ticket, Way};
use wait::{Doorbell, Interest, Report, Until, Waiter};

/// The sources of one loop.
pub(crate) struct Reactor {
    outside: Outside,
    sources: RefCell<Slab<Rc<Source<dyn Watched>>>>,
    next_generation: Cell<usize>,
    peak: PeakOfSlab,
    /// How many futures wait for a source.
    waiting: Cell<usize>,
    /// Lists that are used again at every wait.
    reports: Cell<Vec<Report>>,
    to_wake: Cell<Vec<(usize, LocalWaker)>>,
}

/// Whom the reactor asks what is ready.
enum Outside {
    Kernel(Waiter),
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

impl Reactor {
    /// A reactor that asks the kernel.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Reactor::asking(Outside::Kernel(Waiter::new()?)))
    }

    /// One that asks `simulation`, and has nothing of the kernel's.
    pub(crate) fn simulated(simulation: Rc<dyn Simulation>) -> Self {
        Reactor::asking(Outside::Simulated(simulation))
    }

    fn asking(outside: Outside) -> Self {
        Reactor {
            outside,
            sources: RefCell::new(Slab::new()),
            next_generation: Cell::new(0),
            peak: PeakOfSlab::default(),
            waiting: Cell::new(0),
            reports: Cell::new(Vec::new()),
            to_wake: Cell::new(Vec::new()),
        }
    }

    /// `None` where there is no other thread that could ring.
    pub(crate) fn doorbell(&self) -> Option<Doorbell> {
        match &self.outside {
            Outside::Kernel(waiter) => Some(waiter.doorbell()),
            Outside::Simulated(_) => None,
        }
    }

    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.borrow().is_empty()
    }

    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back(&self) {
        self.peak.give_back(&mut self.sources.borrow_mut());
    }

    /// Whether any future waits for a source.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    // ===== from `net` ===========================================================================

    /// Watches `io` from now on.
    pub(crate) fn register<T: Watched>(&self, io: T) -> io::Result<Rc<Source<T>>> {
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        // The top bit stays clear: the highest keys are not for sources.
        let generation = self.next_generation.get() & (usize::MAX >> (GENERATION + 1));
        let key = entry.key() | generation << GENERATION;
        match io.watchable() {
            Watchable::Descriptor(fd) => self.kernel()?.add(fd, key, Interest::Arrivals)?,
            Watchable::Simulated(socket) => socket.watch(key, Interest::Arrivals),
        }
        self.next_generation.set(generation + 1);
        let source = Rc::new(Source::new(key, io));
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
        match source.watchable() {
            // It fails only for a descriptor that somebody else has closed already.
            Watchable::Descriptor(fd) => drop(self.kernel().map(|kernel| kernel.delete(fd))),
            Watchable::Simulated(socket) => socket.unwatch(),
        }
        let mut left = Vec::new();
        for way in [Way::Read, Way::Write] {
            source.take_waiters(way, &mut left);
        }
        self.waiting.set(self.waiting.get() - left.len());
        drop(left);
    }

    /// Has `waker` woken at the next report for `way` of `source`. `ticket` is the caller's claim:
    /// empty at its first wait, and to be given back with [`Reactor::stop_waiting`].
    pub(crate) fn wait_for<T: Watched>(
        &self,
        source: &Source<T>,
        way: Way,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) -> io::Result<()> {
        if let Some(held) = *ticket {
            if source.waits(held, way, waker) {
                return Ok(());
            }
            self.stop_waiting(source, way, ticket);
        }
        if way == Way::Write && !source.asks_for_room.get() {
            self.ask_for_room(source)?;
        }
        *ticket = Some(source.add_waiter(way, LocalWaker::of(waker)));
        self.waiting.set(self.waiting.get() + 1);
        Ok(())
    }

    /// Gives a claim back: its holder got what it wanted, or wants it no more.
    pub(crate) fn stop_waiting<T: Watched>(
        &self,
        source: &Source<T>,
        way: Way,
        ticket: &mut Option<Ticket>,
    ) {
        let Some(held) = ticket.take() else { return };
        let waker = source.remove_waiter(held, way);
        if waker.is_some() {
            self.waiting.set(self.waiting.get() - 1);
        }
    }

    /// Nearly every socket has room whenever somebody writes, so that is asked for when somebody
    /// has waited for it once.
    fn ask_for_room<T: Watched>(&self, source: &Source<T>) -> io::Result<()> {
        let interest = Interest::ArrivalsAndRoom;
        match source.watchable() {
            Watchable::Descriptor(fd) => self.kernel()?.modify(fd, source.key, interest)?,
            Watchable::Simulated(socket) => socket.watch(source.key, interest),
        }
        source.asks_for_room.set(true);
        Ok(())
    }

    /// An error in a simulation.
    pub(crate) fn kernel(&self) -> io::Result<&Waiter> {
        match &self.outside {
            Outside::Kernel(waiter) => Ok(waiter),
            Outside::Simulated(_) => Err(io::Error::new(
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
        let waited = match &self.outside {
            Outside::Kernel(waiter) => waiter.wait(until, now, &mut reports),
            Outside::Simulated(simulation) => {
                simulation.wait(until, &mut reports);
                Ok(())
            }
        };
        let ready = reports.len();
        tell(|| Event::Woke { ready });
        for report in reports.drain(..) {
            self.hear(report, &mut to_wake);
        }
        self.waiting.set(self.waiting.get() - to_wake.len());
        for (source, waker) in to_wake.drain(..) {
            turn::set_cause(Cause::Source(number_of(source)));
            waker.wake();
        }
        self.reports.set(reports);
        self.to_wake.set(to_wake);
        waited
    }

    fn hear(&self, report: Report, to_wake: &mut Vec<(usize, LocalWaker)>) {
        let sources = self.sources.borrow();
        // One whose key is another came after the one that is meant.
        let source = sources.get(row_of(report.key)).filter(|source| source.key == report.key);
        let Some(source) = source else { return };
        source.note(report);
        if report.readable {
            source.take_waiters(Way::Read, to_wake);
        }
        if report.writable {
            source.take_waiters(Way::Write, to_wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_report_for_a_source_that_is_gone_is_not_taken_for_its_successor() {
        let reactor = Reactor::new().unwrap();
        let (old, new) = UnixStream::pair().unwrap();
        let old = reactor.register(old).unwrap();
        reactor.deregister(old.key);
        let new = reactor.register(new).unwrap();
        assert_eq!(row_of(old.key), row_of(new.key));

        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let mut ticket = None;
        let waker = Waker::from(flag.clone());
        reactor.wait_for(&new, Way::Read, &mut ticket, &waker).unwrap();
        let mut to_wake = vec![];
        let report = |key| Report { key, readable: true, writable: true, drain: false };
        reactor.hear(report(old.key), &mut to_wake);
        assert!(to_wake.is_empty());
        reactor.hear(report(new.key), &mut to_wake);
        assert_eq!(to_wake.len(), 1);
        assert!(!flag.0.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_waiting_is_forgotten_with_its_source() {
        let reactor = Reactor::new().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let source = reactor.register(socket).unwrap();
        for way in [Way::Read, Way::Write] {
            let mut lost = None;
            reactor.wait_for(&source, way, &mut lost, Waker::noop()).unwrap();
        }
        assert!(reactor.is_waited_for());
        reactor.deregister(source.key);
        assert!(!reactor.is_waited_for());
        assert!(!reactor.has_sources());
    }
}
