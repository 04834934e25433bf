//! The report for a program that hangs.
//!
//! Everybody meets this: every task waits, and nothing is left that could wake one. The loop can
//! know it. No task is ready, no deadline is set, nobody waits for a socket, no job owes a result:
//! then only a waker in somebody else's hands, or a [`Handle`](crate::Handle), could change
//! anything. If there is none, nothing will ever happen, and the loop says so at once and ends. If
//! there is one, another thread may use it; when that takes longer than a second, the same report
//! is printed once, and the loop goes on hoping. In a simulation there are no other threads, and
//! so no hope: it is always certain.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deadlock::Deadlock;
use crate::event::{Warning, warn};
use crate::event_loop::EventLoop;
use crate::world::Until;

/// How long the loop hopes for another thread before it says that it does.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the loop remembers of its hopes.
#[derive(Default)]
pub(crate) struct Hope {
    /// Another thread has sent something since the last check.
    heard: Cell<bool>,
    /// When to check next. Set once for many sleeps, so that hoping costs no system calls.
    check_at: Cell<Option<Instant>>,
    /// The report has been printed. It is not printed twice: if another thread woke somebody after
    /// the first, the program is one that waits for other threads.
    told: Cell<bool>,
    /// Who waited for what when it was certain that nothing could happen.
    found: RefCell<Option<Deadlock>>,
}

impl Hope {
    pub(crate) fn heard_from_outside(&self) {
        self.heard.set(true);
    }

    /// What was found when the loop gave up.
    pub(crate) fn take_found(&self) -> Option<Deadlock> {
        self.found.take()
    }
}

/// Nothing is known that could happen. How long to wait for the unknown; `None` if there is no
/// hope.
pub(crate) fn how_long_to_hope(event_loop: &EventLoop) -> Option<Until> {
    let hope = &event_loop.hope;
    if hope.told.get() {
        return Some(Until::Forever);
    }
    // The first time there is no need to wait before one looks for wakers. After that it is done
    // once a second at most: it looks at every task.
    let check_at = hope.check_at.get();
    if let Some(check_at) = check_at
        && event_loop.looked_at() < check_at
    {
        return Some(Until::Deadline(check_at));
    }
    if !somebody_could_wake_a_task(event_loop) {
        print_report(event_loop, Verdict::Certain);
        return None;
    }
    if check_at.is_some() && !hope.heard.get() {
        print_report(event_loop, Verdict::Likely);
        hope.told.set(true);
        return Some(Until::Forever);
    }
    hope.heard.set(false);
    let next = event_loop.now() + PATIENCE;
    hope.check_at.set(Some(next));
    Some(Until::Deadline(next))
}

fn somebody_could_wake_a_task(event_loop: &EventLoop) -> bool {
    event_loop.ready.world().has_other_threads()
        && (Arc::strong_count(&event_loop.handles) > 1 || event_loop.tasks.wakers_are_elsewhere())
}

enum Verdict {
    /// Nothing can ever happen.
    Certain,
    /// Somebody holds a waker and has not used it for a while.
    Likely,
}

fn print_report(event_loop: &EventLoop, verdict: Verdict) {
    let deadlock = Deadlock::of(event_loop);
    warn(Warning::Stall(report(&deadlock, &verdict)));
    if let Verdict::Certain = verdict {
        event_loop.hope.found.replace(Some(deadlock));
    }
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
             (one could: somebody holds a waker or a handle):\n"
        }
    };
    format!("popleft: {first}{then}{deadlock}")
}
