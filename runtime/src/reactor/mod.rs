//! The reactor: file descriptors on one side, wakers on the other.
//!
//! A socket is registered once, when it is made, and stays registered, level-triggered, until it
//! is dropped. Nothing is re-armed between one request and the next: a request costs one read, one
//! write, and its share of a wait.
//!
//! Level-triggered means that the system reports a source again and again while it is ready. That
//! is what makes it safe (no report can be missed), and what could make it busy: so a report for
//! which nobody waits *disarms* the source, and the next one who waits arms it again. Every report
//! either wakes somebody or stops; no peer can keep the loop spinning.

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
use crate::task::waker::LocalWaker;
use crate::turn;
use crate::world::Simulation;
use source::{Direction, Source, Ticket, Way};
use wait::{Doorbell, Interest, Report, Until, Waiter};

/// The sources of one loop.
pub(crate) struct Reactor {
    outside: Outside,
    sources: RefCell<Slab<Row>>,
    next_generation: Cell<usize>,
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

struct Row {
    /// The key under which the system reports it: row and generation, so that a report for a
    /// source that is gone is never taken for one of the source that came after it.
    key: usize,
    source: Rc<Source<dyn Watched>>,
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

    /// Whether any future waits for a source.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    // ===== from `net` ===========================================================================

    /// Watches `io` from now on.
    pub(crate) fn register<T: Watched>(&self, io: T) -> io::Result<Rc<Source<T>>> {
        let armed = Interest { read: true, write: false };
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        // The top bit stays clear: the highest keys are not for sources.
        let generation = self.next_generation.get() & (usize::MAX >> (GENERATION + 1));
        let key = entry.key() | generation << GENERATION;
        match io.watchable() {
            Watchable::Descriptor(fd) => self.kernel()?.add(fd, key, armed)?,
            Watchable::Simulated(socket) => socket.watch(key, armed),
        }
        self.next_generation.set(generation + 1);
        let source = Rc::new(Source::new(key, io, armed));
        entry.insert(Row { key, source: source.clone() });
        Ok(source)
    }

    /// Stops watching. This comes before the descriptor is closed: its number may be given to
    /// another file at once.
    pub(crate) fn deregister(&self, key: usize) {
        let row = self.sources.borrow_mut().try_remove(row_of(key));
        let Some(Row { source, .. }) = row else {
            return;
        };
        match source.watchable() {
            // It fails only for a descriptor that somebody else has closed already.
            Watchable::Descriptor(fd) => drop(self.kernel().map(|kernel| kernel.delete(fd))),
            Watchable::Simulated(socket) => socket.unwatch(),
        }
        let mut left = Vec::new();
        for way in [Way::Read, Way::Write] {
            source.direction(way).take_all(&mut left, key);
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
        let direction = source.direction(way);
        if let Some(held) = *ticket {
            if direction.waits(held, waker) {
                return Ok(());
            }
            self.stop_waiting(source, way, ticket);
        }
        self.arm(source, way)?;
        *ticket = Some(direction.add(LocalWaker::of(waker)));
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
        let waker = source.direction(way).remove(held);
        if waker.is_some() {
            self.waiting.set(self.waiting.get() - 1);
        }
    }

    fn arm<T: Watched>(&self, source: &Source<T>, way: Way) -> io::Result<()> {
        let mut wanted = source.armed.get();
        match way {
            Way::Read => wanted.read = true,
            Way::Write => wanted.write = true,
        }
        if wanted == source.armed.get() {
            return Ok(());
        }
        self.watch(source, wanted)
    }

    /// Has `source` watched as `wanted`.
    fn watch<T: Watched + ?Sized>(&self, source: &Source<T>, wanted: Interest) -> io::Result<()> {
        match source.watchable() {
            Watchable::Descriptor(fd) => self.kernel()?.modify(fd, source.key, wanted)?,
            Watchable::Simulated(socket) => socket.watch(source.key, wanted),
        }
        source.armed.set(wanted);
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
            self.hear(report, until, &mut to_wake);
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

    fn hear(&self, report: Report, until: Until, to_wake: &mut Vec<(usize, LocalWaker)>) {
        let sources = self.sources.borrow();
        let Some(row) = sources.get(row_of(report.key)) else {
            return;
        };
        if row.key != report.key {
            return;
        }
        let source = &row.source;
        let mut heeded = source.armed.get();
        if report.readable && !wake_all(&source.reading, until, to_wake, source.key) {
            heeded.read = false;
        }
        if report.writable && !wake_all(&source.writing, until, to_wake, source.key) {
            heeded.write = false;
        }
        // If disarming fails the source stays as it is, and its next report tries again.
        if heeded != source.armed.get() {
            let _ = self.watch(&**source, heeded);
        }
    }
}

/// Takes those who wait for one direction of a source that is ready. False when nobody did, nor
/// has been woken just now: then the source need not be watched that way.
///
/// Somebody woken who has not tried yet counts only while the loop was not going to sleep: then
/// that task is in the deque. If the deque was empty, the one who was woken chose not to try.
fn wake_all(
    direction: &Direction,
    until: Until,
    to_wake: &mut Vec<(usize, LocalWaker)>,
    key: usize,
) -> bool {
    direction.may_be_ready.set(true);
    if direction.take_all(to_wake, key) > 0 {
        direction.woken.set(true);
        return true;
    }
    direction.woken.get() && until == Until::Now
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
        let report = |key| Report { key, readable: true, writable: true };
        reactor.hear(report(old.key), Until::Now, &mut to_wake);
        assert!(to_wake.is_empty());
        reactor.hear(report(new.key), Until::Now, &mut to_wake);
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
