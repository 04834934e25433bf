//! The report for a program that hangs.
//!
//! Everybody meets this: every task waits, and nothing is left that could wake one. The loop can
//! know it. No task is ready, no deadline is set, nobody waits for a socket, no job owes a result:
//! then only a waker in somebody else's hands, or a [`Handle`](crate::Handle), could change
//! anything. If there is none, nothing will ever happen, and the loop says so at once and ends. If
//! there is one, another thread may use it; when that takes longer than a second, the same report
//! is printed once, and the loop goes on waiting, looking again more and more seldom. In a
//! simulation there are no other threads: there it is always certain.
//!
//! Two things are looked at, one after the other, while other threads go on: who owns a waker or a
//! handle, and what lies in the inbox. A thread that wakes a task and then lets go of its waker
//! must be seen in one of them. It sends first and lets go second; so the owners are counted first,
//! and the inbox is asked again after that. Whoever was missed by the count has sent before.

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

/// How long the loop hopes for another thread before it says that it does.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// The longest time between two checks: a thread may let go of the last waker unseen.
const LONGEST_GRACE_PERIOD: Duration = Duration::from_secs(64);

/// What the loop remembers of its hopes, for one run.
pub(crate) struct StallDetector {
    /// Whether it is reported that other threads are waited for; see
    /// [`Builder::report_stalls`](crate::Builder::report_stalls).
    reports: bool,
    /// Another thread has sent something since the last check.
    woken: Cell<bool>,
    /// When to check next. Set once for many sleeps, so that hoping costs no system calls.
    check_at: Cell<Option<Instant>>,
    /// How long it was from the last check to the next.
    grace_period: Cell<Duration>,
    /// The report has been printed. It is not printed twice: if another thread woke somebody after
    /// the first, the program is one that waits for other threads.
    reported: Cell<bool>,
    /// TaskRef waited for what when it was certain that nothing could happen.
    found: RefCell<Option<Deadlock>>,
}

impl StallDetector {
    pub(crate) fn new(reports: bool) -> StallDetector {
        StallDetector {
            reports,
            woken: Cell::new(false),
            check_at: Cell::new(None),
            grace_period: Cell::new(GRACE_PERIOD),
            reported: Cell::new(false),
            found: RefCell::new(None),
        }
    }

    /// A run begins. What the one before had seen says nothing about this one.
    pub(crate) fn begin(&self) {
        self.woken.set(false);
        self.check_at.set(None);
        self.reported.set(false);
        self.found.take();
    }

    pub(crate) fn note_external_wake(&self) {
        self.woken.set(true);
    }

    /// What was found when the loop gave up.
    pub(crate) fn take_found(&self) -> Option<Deadlock> {
        self.found.take()
    }
}

impl StallDetector {
    /// Nothing is known that could happen. How long to wait for the unknown; `None` if there is no
    /// self. `handles`: whether anybody has a handle of the loop.
    pub(crate) fn check(&self, tasks: &Tasks, clock: &Clock, handles: bool) -> Option<Until> {
        // The first time there is no need to wait before one looks for wakers. After that it is done
        // once a second at most: it looks at every task.
        let check_at = self.check_at.get();
        if let Some(check_at) = check_at
            && clock.looked_at() < check_at
        {
            return Some(Until::Deadline(check_at));
        }
        let somebody_could_send =
            || tasks.world.has_other_threads() && (handles || tasks.table.has_external_wakers());
        if nothing_can_come(&tasks.inbox, somebody_could_send) {
            self.found.replace(Some(print_report(tasks, clock, Verdict::Certain)));
            return None;
        }
        let was_quiet = check_at.is_some() && !self.woken.replace(false);
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

/// The verdict: no other thread has sent anything, and none ever can.
///
/// `somebody_could_send` counts owners, which other threads give up meanwhile. Giving up is a
/// release, as the drop of an `Arc` is one; with the fence, all that its owner sent before is seen
/// in the inbox afterwards.
pub(crate) fn nothing_can_come(inbox: &Inbox, somebody_could_send: impl FnOnce() -> bool) -> bool {
    if somebody_could_send() {
        return false;
    }
    fence(Acquire);
    inbox.is_empty()
}

enum Verdict {
    /// Nothing can ever happen.
    Certain,
    /// Somebody holds a waker and has not used it for a while.
    Likely,
}

fn print_report(tasks: &Tasks, clock: &Clock, verdict: Verdict) -> Deadlock {
    // Tasks have had their turns, and may have taken long, since it was read.
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
             (one could: somebody holds a waker or a handle; `Builder::report_stalls` turns \
             this off):\n"
        }
    };
    format!("popleft: {first}{then}{deadlock}")
}
