//! What happens in a run, and the one function that emits it.
//!
//! Events go to the listener that is installed on the thread: a recording, a simulation, a test.
//! Most of the time there is none, so `emit` takes a closure and, without a listener, only checks a
//! flag.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::id::Id;
use super::panics::catch_and_report;

pub use super::place::{Place, Why};

/// One thing that happened in a run.
///
/// As the runtime emits it, it is for this moment and this thread: a task is an [`Id`], a time an
/// [`Instant`], a place a line of this program. In a recording the same event has types that last:
/// [`record::Event`](crate::record::Event).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<Task = Id, Time = Instant, At = Place, Other = Infallible> {
    /// A task was made. It stands at the right end of the deque, or waits for the job that it was
    /// made for.
    #[non_exhaustive]
    Spawn {
        /// The new task.
        task: Task,
        /// What spawned it: another task, another thread, or code outside any turn.
        by: Cause<Task>,
        /// The name that it was given.
        name: Option<Arc<str>>,
        /// The line that spawned it.
        at: At,
    },
    /// A task was taken from the left end of the deque and is polled.
    #[non_exhaustive]
    Poll {
        /// The task whose turn it is.
        task: Task,
    },
    /// The task's turn is over and it is not finished.
    #[non_exhaustive]
    Pending {
        /// The task that parks, or that only yielded.
        task: Task,
        /// What it waits for.
        why: Why,
        /// The task whose end, or whose lock, it waits for, if the runtime knows which. Only its
        /// number: a lock does not keep more of its holder.
        on: Option<u32>,
        /// The line of the `await`.
        at: At,
    },
    /// The task is finished.
    #[non_exhaustive]
    Done {
        /// The task that ended.
        task: Task,
        /// How it ended.
        how: End,
    },
    /// A task that was not in the deque is put at its right end.
    #[non_exhaustive]
    Wake {
        /// The task that will have a turn.
        task: Task,
        /// What woke it.
        by: Cause<Task>,
    },
    /// A file descriptor is watched from now on.
    #[non_exhaustive]
    Register {
        /// Its number among all that this loop has watched.
        source: usize,
        /// The task whose turn it is.
        task: Option<Task>,
    },
    /// A file descriptor is no longer watched.
    #[non_exhaustive]
    Deregister {
        /// Its number among all that this loop has watched.
        source: usize,
        /// The task whose turn it is.
        task: Option<Task>,
    },
    /// A task tried to read from a file descriptor, or to write to it.
    #[non_exhaustive]
    Io {
        /// The descriptor's number.
        source: usize,
        /// The task that tried.
        task: Option<Task>,
        /// [`Why::Read`] or [`Why::Write`]: what it will wait for if this would have blocked.
        way: Why,
        /// The outcome.
        found: Found,
        /// The line of the `await`.
        at: At,
    },
    /// The loop looks outside: at I/O, the inbox and the timers.
    LookOutside,
    /// The loop asks the system what is ready, and sleeps if it may.
    #[non_exhaustive]
    Wait {
        /// How long it may sleep; `None` means without limit.
        at_most: Option<Duration>,
    },
    /// The loop is back from asking.
    #[non_exhaustive]
    Woke {
        /// How many sources were ready.
        ready: usize,
    },
    /// A deadline was put among the timers.
    #[non_exhaustive]
    TimerSet {
        /// Its number among all timers of this loop.
        timer: u32,
        /// The task that set it.
        task: Option<Task>,
        /// When it is due.
        deadline: Time,
        /// The line of the `await`.
        at: At,
    },
    /// A deadline has come.
    #[non_exhaustive]
    TimerFired {
        /// Its number, as it was set.
        timer: u32,
        /// The task that it wakes; `None` when that is for a waker that is not the runtime's.
        task: Option<Task>,
        /// When it was due.
        deadline: Time,
    },
    /// A deadline was taken back before it came.
    #[non_exhaustive]
    TimerCancelled {
        /// Its number, as it was set.
        timer: u32,
        /// The task that it would have woken; `None` as above.
        task: Option<Task>,
    },
    /// A job was handed to the thread pool.
    #[non_exhaustive]
    JobSubmit {
        /// The task that waits for it.
        task: Task,
        /// The line that wants it done.
        at: At,
    },
    /// A thread of the pool has begun a job. Reported through the inbox, so slightly after the job
    /// began.
    #[non_exhaustive]
    JobStart {
        /// The task that waits for it.
        task: Task,
    },
    /// The result or the panic of a job has been delivered to its task.
    #[non_exhaustive]
    JobDone {
        /// The task that waited for it.
        task: Task,
    },
    /// An event of a kind that this library does not know. Only a recording that a later version
    /// wrote has such events; the runtime never emits one.
    Unknown(Other),
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
#[cfg_attr(
    feature = "record",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Cause<Task = Id> {
    /// Another task, or itself, in its turn.
    Task(Task),
    /// A file descriptor that became ready.
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
#[non_exhaustive]
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

/// Whether this thread has a listener. Checked first by code that has to prepare something before
/// it can emit an event.
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
