//! Waits that nobody gives up by a drop.
//!
//! A future that waits for a source holds a ticket, and gives it back when it is dropped. A poll
//! through `AsyncRead` or `AsyncWrite` leaves nothing behind that could be dropped: whether its
//! task still wants what it polled for cannot be seen from here. If such a wait counted like any
//! other, a program whose last task has given up a read would hang without a word. If it did not
//! count, a program that waits for its last connection would be taken for one that hangs.
//!
//! So before the loop sleeps for the sake of such waits alone, it asks: it wakes their tasks, which
//! is always allowed, and those that still wait poll the source again. What is not polled again is
//! forgotten. A wait that was confirmed is not asked for again, and to ask costs each of the tasks
//! a turn, so it is done once in a while at most.

use std::cell::Cell;
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::source::{Claim, Direction, Source, Waiter};
use super::{Backend, Reactor};
use crate::base::network::Watched;
use crate::base::world::Until;
use crate::task::local_waker::LocalWaker;

/// How long the loop waits after it has asked before it asks again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Above so many waits the loop asks also when it sleeps for others too: those that were given up
/// would pile up at a source that reports nothing.
const MANY: usize = 1024;

/// What is known of these waits.
#[derive(Default)]
pub(super) struct Unheld {
    /// How many there are for which nobody has been asked.
    count: Cell<usize>,
    /// The tasks have been asked and have their turns now: whoever polls a source says yes.
    is_asking: Cell<bool>,
    /// How many said yes the last time.
    confirmed: Cell<usize>,
    not_before: Cell<Option<Instant>>,
}

/// What the loop is to do.
enum Sleep {
    /// Ask, and not sleep.
    Ask,
    /// Sleep as long as this.
    For(Until),
}

impl Unheld {
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    /// Another wait. True when it is the answer to a question.
    fn add(&self) -> bool {
        if self.is_asking.get() {
            self.confirmed.set(self.confirmed.get() + 1);
            return true;
        }
        self.count.set(self.count.get() + 1);
        false
    }

    /// A wait that was confirmed has been polled again: who knows whether for the last time.
    fn add_unconfirmed(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// So many wait no longer.
    pub(super) fn remove(&self, count: usize) {
        self.count.set(self.count.get() - count);
    }

    /// Whether to ask before the loop sleeps `until`. `others_wait`: somebody does for certain.
    fn before_a_sleep(&self, until: Until, others_wait: bool, now: impl Fn() -> Instant) -> Sleep {
        if until == Until::Now {
            return Sleep::For(until);
        }
        // All who were asked have had their turns.
        self.is_asking.set(false);
        let is_alone = until == Until::Forever && !others_wait && self.count.get() > 0;
        let is_much = self.count.get() > MANY.max(2 * self.confirmed.get());
        if !is_alone && !is_much {
            return Sleep::For(until);
        }
        let now = now();
        if let Some(not_before) = self.not_before.get().filter(|&at| now < at) {
            return Sleep::For(if is_alone { Until::Deadline(not_before) } else { until });
        }
        self.not_before.set(Some(now + PATIENCE));
        self.confirmed.set(0);
        self.is_asking.set(true);
        Sleep::Ask
    }
}

// ===== on one source ============================================================================

impl<T: ?Sized> Source<T> {
    /// Whether somebody without a ticket who is woken by `waker` waits already, and how surely. If
    /// the wait was confirmed, it is now one like any other.
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

    /// Those who may have given up, to be woken; they wait no longer, unless they say so again.
    fn take_unheld(&self, direction: Direction, into: &mut Vec<(usize, LocalWaker)>) {
        while let Some(waiter) = self.waiters(direction).remove(Claim::Unheld) {
            into.push((self.key, waiter.waker));
        }
    }
}

// ===== for all of them ==========================================================================

impl Reactor {
    /// As [`Reactor::wait_for`], for polls that leave nothing to be dropped: the wait lasts until
    /// the next report, or until the task is asked and does not poll again.
    pub(crate) fn wait_unheld<T: Watched>(
        &self,
        source: &Source<T>,
        direction: Direction,
        waker: &Waker,
    ) -> io::Result<()> {
        if let Some(claim) = source.waits_unheld(direction, waker) {
            if claim == Claim::Confirmed {
                self.waiting.set(self.waiting.get() - 1);
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

    /// Before the loop sleeps for nobody but those who may have given up, they are woken. Whoever
    /// still waits says so at its next turn.
    pub(super) fn ask_who_still_waits(
        &self,
        until: Until,
        now: impl Fn() -> Instant,
        to_wake: &mut Vec<(usize, LocalWaker)>,
    ) -> Until {
        // A simulated world knows by itself whether anything is left that could happen.
        let others_wait = self.waiting.get() > 0 || matches!(self.backend, Backend::Simulated(_));
        let until = match self.unheld.before_a_sleep(until, others_wait, now) {
            Sleep::For(until) => return until,
            Sleep::Ask => Until::Now,
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
    fn who_has_no_ticket_waits_once_for_each_waker_and_each_way() {
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

    fn asks(unheld: &Unheld, until: Until, others_wait: bool, now: Instant) -> bool {
        matches!(unheld.before_a_sleep(until, others_wait, || now), Sleep::Ask)
    }

    #[test]
    fn the_loop_asks_only_before_a_sleep_that_nobody_else_is_the_reason_for() {
        let now = crate::base::world::zero();
        let unheld = Unheld::default();
        assert!(!asks(&unheld, Until::Forever, false, now));
        assert!(!unheld.add());
        assert!(!asks(&unheld, Until::Now, false, now));
        assert!(!asks(&unheld, Until::Deadline(now + PATIENCE), false, now));
        assert!(!asks(&unheld, Until::Forever, true, now));
        assert!(asks(&unheld, Until::Forever, false, now));

        // TaskRef answers is not asked again, and the others not before their time.
        unheld.remove(1);
        assert!(unheld.add());
        assert!(!asks(&unheld, Until::Forever, true, now));
        assert!(!unheld.add());
        let sleep = unheld.before_a_sleep(Until::Forever, false, || now);
        assert!(matches!(sleep, Sleep::For(Until::Deadline(at)) if at == now + PATIENCE));
        assert!(asks(&unheld, Until::Forever, false, now + PATIENCE));
    }

    #[test]
    fn the_loop_asks_also_when_there_are_many() {
        let now = crate::base::world::zero();
        let unheld = Unheld::default();
        (0..MANY).for_each(|_| assert!(!unheld.add()));
        assert!(!asks(&unheld, Until::Forever, true, now));
        unheld.add();
        assert!(asks(&unheld, Until::Forever, true, now));
        // If all of them answer, there may be twice as many before they are asked again.
        unheld.remove(unheld.count());
        (0..=MANY).for_each(|_| assert!(unheld.add()));
        assert!(!asks(&unheld, Until::Forever, true, now + PATIENCE));
        (0..=2 * MANY).for_each(|_| assert!(!unheld.add()));
        assert!(!asks(&unheld, Until::Forever, true, now + PATIENCE));
        (0..2).for_each(|_| assert!(!unheld.add()));
        assert!(asks(&unheld, Until::Forever, true, now + PATIENCE));
    }
}
