//! The report for a program that hangs.
//!
//! A common bug: every task waits, and nothing is left that could wake one. The loop can detect
//! that. If no task is ready, no deadline is set, no task waits for a socket and no job is pending,
//! then only a waker held outside the loop, or a [`Handle`](crate::Handle), could change anything.
//! If there is none, nothing will ever happen: the loop reports that at once, and returns. If there
//! is one, another thread may use it; when that takes longer than a second, the same report is
//! printed once, and the loop goes on waiting, checking less and less often. In a simulation there
//! are no other threads, so the verdict is always certain.
//!
//! Two things are checked, one after the other, while other threads run: the owners of wakers and
//! handles, and the inbox. A thread that wakes a task and then drops its waker must be seen in one
//! of them. It sends first and drops second; so the owners are counted first, and the inbox is
//! checked after that. An owner that the count missed has sent its message before.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use crate::base::atomics::fence;
use crate::base::clock::Clock;
use crate::base::warning::{Warning, warn};
use crate::base::world::Until;
use crate::deadlock::Deadlock;
use crate::task::inbox::Inbox;
use crate::task::tasks::Tasks;

/// How long the loop waits for another thread before it reports that it does.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The longest time between two checks. They never stop, because a thread may drop the last waker
/// without the loop noticing.
const LONGEST_GRACE_PERIOD: Duration = Duration::from_secs(64);

/// What the loop remembers between the checks of one run.
pub(crate) struct StallDetector {
    /// Whether likely stalls are reported, too; see
    /// [`Builder::report_stalls`](crate::Builder::report_stalls).
    reports: bool,
    /// Another thread has sent a message since the last check.
    woken_externally: Cell<bool>,
    /// When to check next. Set once for many sleeps, so that checking costs no system calls.
    check_at: Cell<Option<Instant>>,
    /// The time from the last check to the next one.
    grace_period: Cell<Duration>,
    /// The report has been printed. It is not printed twice: if another thread wakes a task after
    /// it, the program is one that waits for other threads.
    reported: Cell<bool>,
    /// What each task waited for when it was certain that nothing could happen.
    found: RefCell<Option<Deadlock>>,
}

impl StallDetector {
    pub(crate) fn new(reports: bool) -> StallDetector {
        StallDetector {
            reports,
            woken_externally: Cell::new(false),
            check_at: Cell::new(None),
            grace_period: Cell::new(GRACE_PERIOD),
            reported: Cell::new(false),
            found: RefCell::new(None),
        }
    }

    /// A run begins. What was observed in the one before does not apply to it.
    pub(crate) fn begin(&self) {
        self.woken_externally.set(false);
        self.check_at.set(None);
        self.reported.set(false);
        self.found.take();
    }

    /// Another thread has sent a message.
    pub(crate) fn note_external_wake(&self) {
        self.woken_externally.set(true);
    }

    /// What each task waited for when the loop returned because of a certain stall.
    pub(crate) fn take_found(&self) -> Option<Deadlock> {
        self.found.take()
    }
}

impl StallDetector {
    /// The loop knows of nothing that could happen. Returns how long to wait for another thread, or
    /// `None` if there is none that could wake a task. `handles`: whether the loop has handles.
    pub(crate) fn check(&self, tasks: &Tasks, clock: &Clock, handles: bool) -> Option<Until> {
        // The first check is immediate. After that there is at most one per second, because a check
        // visits every task.
        let check_at = self.check_at.get();
        if let Some(check_at) = check_at
            && clock.looked_at() < check_at
        {
            return Some(Until::Deadline(check_at));
        }
        let others_could_send =
            || tasks.world.has_other_threads() && (handles || tasks.table.has_external_wakers());
        if nothing_can_come(&tasks.inbox, others_could_send) {
            self.found.replace(Some(print_report(tasks, clock, Verdict::Certain)));
            return None;
        }
        let woken = self.woken_externally.replace(false);
        let was_quiet = check_at.is_some() && !woken;
        if was_quiet && self.reports && !self.reported.replace(true) {
            print_report(tasks, clock, Verdict::Likely);
        }
        let grace_period = if was_quiet { self.grace_period.get() * 2 } else { GRACE_PERIOD };
        self.grace_period.set(grace_period.min(LONGEST_GRACE_PERIOD));
        let next = clock.now() + self.grace_period.get();
        self.check_at.set(Some(next));
        Some(Until::Deadline(next))
    }
}

/// The verdict: no other thread has sent a message, and none ever can.
///
/// `others_could_send` counts owners while other threads may drop theirs. Dropping an `Arc` is a
/// release; with the fence, everything that its owner sent before is then seen in the inbox.
pub(crate) fn nothing_can_come(inbox: &Inbox, others_could_send: impl FnOnce() -> bool) -> bool {
    if others_could_send() {
        return false;
    }
    fence(Acquire);
    inbox.is_empty()
}

enum Verdict {
    /// Nothing can ever happen.
    Certain,
    /// A waker or a handle is held elsewhere, but has not been used for a while.
    Likely,
}

fn print_report(tasks: &Tasks, clock: &Clock, verdict: Verdict) -> Deadlock {
    // Tasks have had turns since the clock was read, and those may have taken long.
    clock.look();
    let deadlock = Deadlock::of(tasks, clock);
    warn(Warning::Stall(report(&deadlock, &verdict)));
    deadlock
}

fn report(deadlock: &Deadlock, verdict: &Verdict) -> String {
    let first = match deadlock.tasks.len() {
        1 => "the only task is parked",
        _ => "every task is parked",
    };
    let then = match verdict {
        Verdict::Certain => ", and nothing is left that could wake one:\n",
        Verdict::Likely => {
            ", and for a second no other thread has woken one \
             (one could: a waker or a handle is held outside the loop; \
             `Builder::report_stalls` turns this off):\n"
        }
    };
    format!("popleft: {first}{then}{deadlock}")
}
