//! What happens in a run, and the one function that emits it.
//!
//! Events go to the listener that is installed on the thread: a recording, a simulation, a test. Most
//! of the time there is none, so `emit` takes a closure and, without a listener, only checks a flag.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::id::Id;
use super::panics::catch_and_report;

pub use super::place::{Place, Why};

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A task was created. It is at the right end of the deque, or waits for the job that it was
    /// created for.
    Spawn {
        /// The new task.
        task: Id,
        /// What spawned it: another task, another thread, or code outside any turn.
        by: Cause,
        /// Its name, if it was given one.
        name: Option<Arc<str>>,
        /// The line that spawned it.
        at: Place,
    },
    /// A task was taken from the left end of the deque and is being polled.
    Poll {
        /// The task whose turn it is.
        task: Id,
    },
    /// The task's turn is over and the task is not finished.
    Pending {
        /// The task that parked, or that only yielded.
        task: Id,
        /// What it waits for.
        why: Why,
        /// The number of the task that it waits for: the one it joins, or the one that holds the
        /// lock. `None` when it waits for something else, or when the holder is not known.
        on: Option<u32>,
        /// The line of the `await`.
        at: Place,
    },
    /// The task is finished.
    Done {
        /// The task that ended.
        task: Id,
        /// How it ended.
        how: End,
    },
    /// A task that was not in the deque was put at its right end.
    Wake {
        /// The task that was woken.
        task: Id,
        /// What woke it.
        by: Cause,
    },
    /// The reactor started to watch a file descriptor.
    Register {
        /// Its number among all that this loop has watched.
        source: usize,
        /// The task whose turn it is.
        task: Option<Id>,
    },
    /// The reactor stopped watching a file descriptor.
    Deregister {
        /// Its number among all that this loop has watched.
        source: usize,
        /// The task whose turn it is.
        task: Option<Id>,
    },
    /// A task tried to read from a file descriptor, or to write to it.
    Io {
        /// The descriptor's number.
        source: usize,
        /// The task that tried.
        task: Option<Id>,
        /// [`Why::Read`] or [`Why::Write`]: what the task waits for if the call would have blocked.
        way: Why,
        /// The outcome.
        found: Found,
        /// The line of the `await`.
        at: Place,
    },
    /// The loop looks outside: at I/O, the inbox and the timers.
    LookOutside,
    /// The loop asks the system what is ready, and sleeps if it may.
    Wait {
        /// How long it may sleep; `None` means without limit.
        at_most: Option<Duration>,
    },
    /// The wait has returned.
    Woke {
        /// How many sources were ready.
        ready: usize,
    },
    /// A timer was set.
    TimerSet {
        /// Its number among all timers of this loop.
        timer: u32,
        /// The task that set it.
        task: Option<Id>,
        /// When it is due.
        deadline: Instant,
        /// The line of the `await`.
        at: Place,
    },
    /// A timer fired.
    TimerFired {
        /// Its number, as it was set.
        timer: u32,
        /// The task that it wakes; `None` when it wakes a waker that is not the runtime's own.
        task: Option<Id>,
        /// When it was due.
        deadline: Instant,
    },
    /// A timer was cancelled before it fired.
    TimerCancelled {
        /// Its number, as it was set.
        timer: u32,
        /// The task that it would have woken; `None` as above.
        task: Option<Id>,
    },
    /// A job was handed to the thread pool.
    JobSubmit {
        /// The task that waits for it.
        task: Id,
        /// The line that submitted it.
        at: Place,
    },
    /// A thread of the pool has started a job. Reported through the inbox, so slightly after the job
    /// started.
    JobStart {
        /// The task that waits for it.
        task: Id,
    },
    /// The result or the panic of a job was delivered to its task.
    JobDone {
        /// The task that waited for it.
        task: Id,
    },
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It returned.
    Ok,
    /// It panicked.
    Panic,
    /// It was aborted, or its runtime was dropped.
    Cancelled,
}

/// What woke a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Another task, or the task itself, during its turn.
    Task(Id),
    /// A file descriptor that became ready: the number of its source.
    Source(usize),
    /// A timer that fired: its number.
    Timer(u32),
    /// The completion of the job that the task waits for.
    Job,
    /// Another thread, through the inbox.
    Thread,
    /// Code on the loop's own thread, outside any turn.
    Outside,
}

/// The outcome of one attempt to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// It succeeded, also if only partly or with the end of the stream.
    Done,
    /// It would have blocked.
    WouldBlock,
    /// It failed.
    Error,
}

// ===== emitting =================================================================================

/// Called with each event.
pub(crate) type Listener = Rc<dyn Fn(&Event)>;

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// Never dropped, so that it can be used until the thread is gone. Nothing leaks: each listener
    /// is removed again by the guard that installed it.
    static LISTENER: RefCell<ManuallyDrop<Option<Listener>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Passes `event` to this thread's listener, if there is one.
///
/// The listener is foreign code: the caller must hold no borrow.
#[inline(always)]
pub(crate) fn emit(event: impl FnOnce() -> Event) {
    if cfg!(not(popleft_bare)) && LISTENING.get() {
        deliver(&event());
    }
}

#[cold]
fn deliver(event: &Event) {
    let Some(listener) = LISTENER.with(|listener| Option::clone(&listener.borrow())) else {
        return;
    };
    // What the listener itself does emits nothing; it would be called without end.
    LISTENING.set(false);
    let _resume = ResumeListening;
    catch_and_report(|| listener(event));
}

/// Turns listening on again when it is dropped, also when the listener panics.
struct ResumeListening;

impl Drop for ResumeListening {
    fn drop(&mut self) {
        LISTENING.set(true);
    }
}

/// Whether this thread has a listener. Checked first by code that has to prepare something before it
/// can emit an event.
#[inline]
pub(crate) fn has_listener() -> bool {
    cfg!(not(popleft_bare)) && LISTENING.get()
}

/// Installs `listener` on this thread and returns the one before it.
pub(crate) fn listen(listener: Option<Listener>) -> Option<Listener> {
    LISTENING.set(listener.is_some());
    ManuallyDrop::into_inner(LISTENER.replace(ManuallyDrop::new(listener)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_listener_does_emits_nothing() {
        let heard = Rc::new(Cell::new(0));
        let count = heard.clone();
        listen(Some(Rc::new(move |_| {
            count.set(count.get() + 1);
            emit(|| Event::LookOutside);
        })));
        emit(|| Event::LookOutside);
        emit(|| Event::LookOutside);
        listen(None);
        emit(|| Event::LookOutside);
        assert_eq!(heard.get(), 2);
    }
}
