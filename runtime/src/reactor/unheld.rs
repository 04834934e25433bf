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
use std::time::{Duration, Instant};

use crate::world::Until;

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
pub(super) enum Sleep {
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
    pub(super) fn add(&self) -> bool {
        if self.is_asking.get() {
            self.confirmed.set(self.confirmed.get() + 1);
            return true;
        }
        self.count.set(self.count.get() + 1);
        false
    }

    /// A wait that was confirmed has been polled again: who knows whether for the last time.
    pub(super) fn add_unconfirmed(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// So many wait no longer.
    pub(super) fn remove(&self, count: usize) {
        self.count.set(self.count.get() - count);
    }

    /// Whether to ask before the loop sleeps `until`. `others_wait`: somebody does for certain.
    pub(super) fn before_a_sleep(
        &self,
        until: Until,
        others_wait: bool,
        now: impl Fn() -> Instant,
    ) -> Sleep {
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
