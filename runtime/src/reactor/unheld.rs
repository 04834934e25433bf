//! Waits that do not end with the drop of a future.
//!
//! A future that waits for a source holds a ticket, and returns it when it is dropped. A poll through
//! `AsyncRead` or `AsyncWrite` leaves nothing behind that could be dropped: the reactor cannot see
//! whether its task still waits. If such a wait counted like any other, a program whose last task
//! has given up a read would hang without a report. If it did not count, a program that waits for
//! its last connection would be reported as hanging.
//!
//! So before the loop sleeps only because of such waits, it probes them: it wakes their tasks
//! spuriously, which is always allowed, and the tasks that still wait poll the source again. A wait
//! that is not polled again is removed. A probe costs each of the tasks a turn, so a wait that was
//! confirmed is not probed again, and there is a minimum time between probes.

use std::cell::Cell;
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::source::{Claim, Direction, Source, Waiter};
use super::{Backend, Reactor};
use crate::base::network::Watched;
use crate::base::world::Until;
use crate::task::local_waker::LocalWaker;

/// The minimum time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Above this many unheld waits, the loop probes them even if it also sleeps for others: abandoned
/// waits would pile up at a source that reports nothing.
const MANY: usize = 1024;

/// The unheld waits of all sources.
#[derive(Default)]
pub(super) struct Unheld {
    /// How many have not been confirmed.
    count: Cell<usize>,
    /// The tasks have been woken and are having their turns: a wait that is added now is confirmed.
    is_probing: Cell<bool>,
    /// How many waits the last probe confirmed.
    confirmed: Cell<usize>,
    /// When the next probe is allowed.
    not_before: Cell<Option<Instant>>,
}

/// What the loop has to do.
enum Sleep {
    /// Probe instead of sleeping.
    Probe,
    /// Sleep until then.
    For(Until),
}

impl Unheld {
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// Another wait. True when it answers a probe, and so is confirmed.
    fn add(&self) -> bool {
        if self.is_probing.get() {
            self.confirmed.set(self.confirmed.get() + 1);
            return true;
        }
        self.count.set(self.count.get() + 1);
        false
    }

    /// A wait that was confirmed has been polled again: from now on its task may give up.
    fn add_unconfirmed(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// This many waits have been removed.
    pub(super) fn remove(&self, count: usize) {
        debug_assert!(count <= self.count.get());
        self.count.set(self.count.get() - count);
    }

    /// Whether to probe before the loop sleeps `until`. `others_wait`: there are waits that are
    /// certain.
    fn before_a_sleep(&self, until: Until, others_wait: bool, now: impl Fn() -> Instant) -> Sleep {
        if until == Until::Now {
            return Sleep::For(until);
        }
        // All tasks that the probe has woken have had their turns.
        self.is_probing.set(false);
        let is_alone = until == Until::Forever && !others_wait && self.count.get() > 0;
        let is_much = self.count.get() > MANY.max(2 * self.confirmed.get());
        if !is_alone && !is_much {
            return Sleep::For(until);
        }
        let now = now();
        if let Some(not_before) = self.not_before.get().filter(|&at| now < at) {
            return Sleep::For(if is_alone { Until::Deadline(not_before) } else { until });
        }
        self.not_before.set(Some(now + PROBE_INTERVAL));
        self.confirmed.set(0);
        self.is_probing.set(true);
        Sleep::Probe
    }
}

// ===== of one source ============================================================================

impl<T: ?Sized> Source<T> {
    /// The claim of the unheld waiter with an equivalent of `waker`, if there is one. If it was
    /// confirmed, it no longer is: its task has been polled again.
    fn waits_unheld(&self, direction: Direction, waker: &Waker) -> Option<Claim> {
        let mut found = None;
        self.waiters(direction).visit(|waiter| {
            let is_held = matches!(waiter.claim, Claim::Held(_));
            if !is_held && waiter.waker.will_wake(waker) {
                found = Some(waiter.claim);
                waiter.claim = Claim::Unheld;
            }
        });
        found
    }

    /// Removes the unheld waiters, which have to be woken. The tasks that still wait poll again.
    fn take_unheld(&self, direction: Direction, into: &mut Vec<(usize, LocalWaker)>) {
        while let Some(waiter) = self.waiters(direction).remove(Claim::Unheld) {
            into.push((self.key, waiter.waker));
        }
    }
}

// ===== of all sources ===========================================================================

impl Reactor {
    /// [`Reactor::wait_for`] for polls that leave nothing to be dropped: the wait lasts until the next
    /// report, or until its task is probed and does not poll again.
    pub(crate) fn wait_unheld<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
        waker: &Waker,
    ) -> io::Result<()> {
        if let Some(claim) = source.waits_unheld(direction, waker) {
            if claim == Claim::Confirmed {
                self.remove_waiters(1, 0);
                self.unheld.add_unconfirmed();
            }
            return Ok(());
        }
        self.watch_writable(source, direction)?;
        let waker = LocalWaker::of(waker);
        let mut claim = Claim::Unheld;
        if self.unheld.add() {
            claim = Claim::Confirmed;
            self.waiting.set(self.waiting.get() + 1);
        }
        source.waiters(direction).add(Waiter { claim, waker });
        Ok(())
    }

    /// Before the loop sleeps only for waits that may have been given up, wakes their tasks. Those
    /// that still wait poll again in their next turn.
    pub(super) fn probe_unheld(
        &self,
        until: Until,
        now: impl Fn() -> Instant,
        to_wake: &mut Vec<(usize, LocalWaker)>,
    ) -> Until {
        // A simulated world knows by itself whether anything is left that could happen.
        let others_wait = self.waiting.get() > 0 || matches!(self.backend, Backend::Simulated(_));
        let until = match self.unheld.before_a_sleep(until, others_wait, now) {
            Sleep::For(until) => return until,
            Sleep::Probe => Until::Now,
        };
        for (_, source) in self.sources.borrow().iter() {
            source.take_unheld(Direction::Read, to_wake);
            source.take_unheld(Direction::Write, to_wake);
        }
        self.unheld.remove(to_wake.len());
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::source::NO_DESCRIPTOR;
    use std::sync::Arc;
    use std::task::Wake;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn an_unheld_wait_counts_once_for_each_waker_and_each_direction() {
        let source = Source::new(0, NO_DESCRIPTOR, ());
        let waker = &Waker::from(Arc::new(Nobody));
        let foreign = || LocalWaker::Foreign(waker.clone());
        source.add_waiter(Direction::Read, foreign());
        assert_eq!(source.waits_unheld(Direction::Read, waker), None);
        source.waiters(Direction::Read).add(Waiter { claim: Claim::Confirmed, waker: foreign() });
        assert_eq!(source.waits_unheld(Direction::Read, waker), Some(Claim::Confirmed));
        assert_eq!(source.waits_unheld(Direction::Read, waker), Some(Claim::Unheld));
        assert_eq!(source.waits_unheld(Direction::Write, waker), None);

        let mut taken = vec![];
        source.take_unheld(Direction::Read, &mut taken);
        assert_eq!(taken.len(), 1);
        assert_eq!(source.take_waiters(Direction::Read, &mut taken), 0);
        assert_eq!(taken.len(), 2);
    }

    fn probes(unheld: &Unheld, until: Until, others_wait: bool, now: Instant) -> bool {
        matches!(unheld.before_a_sleep(until, others_wait, || now), Sleep::Probe)
    }

    #[test]
    fn the_loop_probes_only_before_a_sleep_for_unheld_waits_alone() {
        let now = crate::base::world::zero();
        let unheld = Unheld::default();
        assert!(!probes(&unheld, Until::Forever, false, now));
        assert!(!unheld.add());
        assert!(!probes(&unheld, Until::Now, false, now));
        assert!(!probes(&unheld, Until::Deadline(now + PROBE_INTERVAL), false, now));
        assert!(!probes(&unheld, Until::Forever, true, now));
        assert!(probes(&unheld, Until::Forever, false, now));

        // A confirmed wait is not probed again, and others not before the interval has passed.
        unheld.remove(1);
        assert!(unheld.add());
        assert!(!probes(&unheld, Until::Forever, true, now));
        assert!(!unheld.add());
        let sleep = unheld.before_a_sleep(Until::Forever, false, || now);
        assert!(matches!(sleep, Sleep::For(Until::Deadline(at)) if at == now + PROBE_INTERVAL));
        assert!(probes(&unheld, Until::Forever, false, now + PROBE_INTERVAL));
    }

    #[test]
    fn the_loop_also_probes_when_there_are_many() {
        let now = crate::base::world::zero();
        let unheld = Unheld::default();
        (0..MANY).for_each(|_| assert!(!unheld.add()));
        assert!(!probes(&unheld, Until::Forever, true, now));
        unheld.add();
        assert!(probes(&unheld, Until::Forever, true, now));
        // If all of them are confirmed, there may be twice as many before the next probe.
        unheld.remove(unheld.count());
        (0..=MANY).for_each(|_| assert!(unheld.add()));
        assert!(!probes(&unheld, Until::Forever, true, now + PROBE_INTERVAL));
        (0..=2 * MANY).for_each(|_| assert!(!unheld.add()));
        assert!(!probes(&unheld, Until::Forever, true, now + PROBE_INTERVAL));
        (0..2).for_each(|_| assert!(!unheld.add()));
        assert!(probes(&unheld, Until::Forever, true, now + PROBE_INTERVAL));
    }
}
