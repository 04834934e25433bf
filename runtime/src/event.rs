//! What happens in a run, and the one function through which every room tells it.
//!
//! The machine tells its events; whoever installed a listener hears them: a recording, the live
//! monitor, a test. Nobody listens most of the time, so `tell` takes a closure and, when nobody
//! listens, does nothing but look at one flag.
//!
//! The same words name what a parked task waits for ([`Why`]) and where in the program its `await`
//! stands ([`Place`]). Both fit in eight bytes, so that a task can keep them in atomics that
//! another thread may read while the loop is stuck.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::access::{self, Object};
use crate::locks;
use crate::task::Id;
use crate::task::body::catching;

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A task was made. It stands at the right end of the deque, or waits for the job that it was
    /// made for.
    Spawn {
        /// The new task.
        task: Id,
        /// What spawned it: another task, another thread, or code outside any turn.
        by: Cause,
        /// The name that it was given.
        name: Option<Arc<str>>,
        /// The line that spawned it.
        at: Place,
    },
    /// A task was taken from the left end of the deque and is polled.
    Poll {
        /// The task whose turn it is.
        task: Id,
    },
    /// The task's turn is over and it is not finished.
    Pending {
        /// The task that parks, or that only yielded.
        task: Id,
        /// What it waits for.
        why: Why,
        /// The number of the task whose end, or whose lock, it waits for, if that is what it waits
        /// for and the runtime knows whose it is.
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
    /// A task that was not in the deque is put at its right end.
    Wake {
        /// The task that will have a turn.
        task: Id,
        /// What woke it.
        by: Cause,
    },
    /// A file descriptor is watched from now on.
    Register {
        /// Its number among all that this loop has watched.
        source: usize,
        /// The task whose turn it is.
        task: Option<Id>,
    },
    /// A file descriptor is no longer watched.
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
        /// [`Why::Read`] or [`Why::Write`]: what it will wait for if this would have blocked.
        way: Why,
        /// What came of it.
        found: Found,
        /// The line of the `await`.
        at: Place,
    },
    /// The loop looks outside: at what is ready, the inbox and the clock.
    LookOutside,
    /// The loop asks the system what is ready, and sleeps if it may.
    Wait {
        /// How long it may sleep; `None` is for ever.
        at_most: Option<Duration>,
    },
    /// The loop is back from asking.
    Woke {
        /// How many sources were ready.
        ready: usize,
    },
    /// A deadline was put among the timers.
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
    /// A deadline has come.
    TimerFired {
        /// Its number, as it was set.
        timer: u32,
        /// The task that it wakes; `None` when that is for a waker that is not the runtime's.
        task: Option<Id>,
        /// When it was due.
        deadline: Instant,
    },
    /// A deadline was taken back before it came.
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
        /// The line that wants it done.
        at: Place,
    },
    /// A thread of the pool has begun with a job. The loop has it told to it like a wake: this
    /// comes a little later than the beginning itself.
    JobStart {
        /// The task that waits for it.
        task: Id,
    },
    /// The result of a job, or word of its panic, has reached its task.
    JobDone {
        /// The task that waited for it.
        task: Id,
    },
}

impl Event {
    /// A task that waits for another's end, or for its lock, is recorded with that one's number for
    /// a place.
    pub(crate) fn pending(task: Id, why: Why, at: Place) -> Event {
        let (on, at) = match why {
            Why::Join => (Some(at.number()), Place::UNKNOWN),
            Why::Lock => match locks::awaited_by(task) {
                Some((holder, at)) => (holder.map(Id::number), at),
                None => (None, Place::UNKNOWN),
            },
            _ => (None, at),
        };
        Event::Pending { task, why, on, at }
    }
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

/// What put a task into the deque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Another task, or itself, in its turn.
    Task(Id),
    /// A file descriptor that became ready.
    Source(usize),
    /// A deadline that came: the number of its timer.
    Timer(u32),
    /// The end of the job that the task waits for.
    Job,
    /// Another thread, through the inbox.
    Thread,
    /// Code on the loop's own thread, outside any turn.
    Outside,
}

/// What came of one try to read or to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// It is done; a part counts, and so does the end of the stream.
    Done,
    /// It would have blocked.
    WouldBlock,
    /// The system refused.
    Error,
}

/// What a parked task waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Why {
    /// Nothing that the runtime knows of: a foreign future did not say.
    #[default]
    Unknown,
    /// A source to become readable.
    Read,
    /// A source to become writable.
    Write,
    /// A deadline.
    Timer,
    /// Another task to end.
    Join,
    /// A job on the thread pool.
    Offload,
    /// Its next turn only.
    Yield,
    /// A lock that another task holds.
    Lock,
}

impl Why {
    pub(crate) const ALL: [Why; 8] = [
        Why::Unknown,
        Why::Read,
        Why::Write,
        Why::Timer,
        Why::Join,
        Why::Offload,
        Why::Yield,
        Why::Lock,
    ];

    /// The reason whose number is `code`, as `why as u8` made it.
    pub(crate) fn from_code(code: u8) -> Why {
        Why::ALL.get(usize::from(code)).copied().unwrap_or(Why::Unknown)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Unknown => "something of its own",
            Why::Read => "read",
            Why::Write => "write",
            Why::Timer => "timer",
            Why::Join => "join",
            Why::Offload => "offload",
            Why::Yield => "yield",
            Why::Lock => "lock",
        })
    }
}

// ===== places ===================================================================================

/// A line of the program: where a task was spawned, or where it waits.
///
/// A small number, because a task keeps it in an atomic; the line behind it stands in a table that
/// only grows, by one row for each `await` in the program that was ever waited on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place(u32);

/// The rows of the table with their numbers, for the whole process: a [`Place`] may be read on
/// another thread than the one that made it.
struct Places {
    rows: Vec<&'static Location<'static>>,
    /// By the line, not by its address: one line may have several, in several crates.
    numbers: HashMap<&'static Location<'static>, u32>,
}

static PLACES: Mutex<Option<Places>> = Mutex::new(None);

/// How many of a thread's most recent places are found without the table's lock.
const REMEMBERED: usize = 64;

thread_local! {
    /// For each place its address and number, where the address says. A miss costs a lock and a
    /// hash; a hit, which is nearly every time, costs two loads.
    static RECENT: [Cell<(usize, u32)>; REMEMBERED] =
        const { [const { Cell::new((0, 0)) }; REMEMBERED] };
}

impl Place {
    /// A place that nobody recorded.
    pub const UNKNOWN: Place = Place(0);
    /// The `await` stands behind `AsyncRead`, through which no line can be seen.
    pub const VIA_ASYNC_READ: Place = Place(1);
    /// The `await` stands behind `AsyncWrite`, through which no line can be seen.
    pub const VIA_ASYNC_WRITE: Place = Place(2);
    /// The number of the table's first row.
    const FIRST_ROW: u32 = 3;

    /// The place of `location`.
    pub fn of(location: &'static Location<'static>) -> Place {
        let address = std::ptr::from_ref(location).addr();
        // Locations are 8-aligned constants that lie close together.
        let slot = (address >> 3) % REMEMBERED;
        let remembered = RECENT.try_with(|recent| recent[slot].get());
        match remembered {
            Ok((known, number)) if known == address => Place(number),
            _ => Place::look_up(location, address, slot),
        }
    }

    #[cold]
    fn look_up(location: &'static Location<'static>, address: usize, slot: usize) -> Place {
        let mut table = PLACES.lock().unwrap_or_else(|e| e.into_inner());
        let table =
            table.get_or_insert_with(|| Places { rows: Vec::new(), numbers: HashMap::new() });
        let number = *table.numbers.entry(location).or_insert_with(|| {
            table.rows.push(location);
            Place::FIRST_ROW + (table.rows.len() - 1) as u32
        });
        let _ = RECENT.try_with(|recent| recent[slot].set((address, number)));
        Place(number)
    }

    /// The number, to be kept in an atomic.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The place that `number` was made from.
    pub(crate) fn from_number(number: u32) -> Place {
        Place(number)
    }

    /// The file and line, when the place is one.
    pub fn location(self) -> Option<&'static Location<'static>> {
        let row = self.0.checked_sub(Place::FIRST_ROW)? as usize;
        let table = PLACES.lock().unwrap_or_else(|e| e.into_inner());
        table.as_ref()?.rows.get(row).copied()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Place::VIA_ASYNC_READ => f.write_str("via AsyncRead"),
            Place::VIA_ASYNC_WRITE => f.write_str("via AsyncWrite"),
            place => match place.location() {
                Some(location) => write!(f, "{}:{}", short(location.file()), location.line()),
                None => f.write_str("an unknown place"),
            },
        }
    }
}

/// A source path as a reader knows it: relative to the workspace, and for a dependency from the
/// crate's own folder on, never through the machine's registry.
pub(crate) fn short(file: &str) -> &str {
    for marker in ["/registry/src/", "/git/checkouts/", "/library/"] {
        if let Some(at) = file.find(marker) {
            let inside = &file[at + marker.len()..];
            return match (marker, inside.split_once('/')) {
                ("/library/", _) | (_, None) => inside,
                (_, Some((_, from_the_crate_on))) => from_the_crate_on,
            };
        }
    }
    file
}

// ===== telling ==================================================================================

/// Who hears the events.
pub(crate) type Listener = Rc<dyn Fn(&Event)>;

thread_local! {
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// It is never dropped, so that it is there until the thread is gone; whoever installs a
    /// listener takes it out again.
    static LISTENER: RefCell<ManuallyDrop<Option<Listener>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Tells `event` to this thread's listener, if there is one.
///
/// The listener is foreign code: nothing may be borrowed where this stands.
#[inline(always)]
pub(crate) fn tell(event: impl FnOnce() -> Event) {
    if cfg!(not(popleft_bare)) && LISTENING.get() {
        deliver(&event());
    }
}

#[cold]
fn deliver(event: &Event) {
    let Some(listener) = LISTENER.with(|listener| Option::clone(&listener.borrow())) else {
        return;
    };
    // What the listener does itself is not told: it would never end.
    LISTENING.set(false);
    let _again = ListenAgain;
    catching(|| listener(event));
}

/// Turns listening on again, also when the listener panics.
struct ListenAgain;

impl Drop for ListenAgain {
    fn drop(&mut self) {
        LISTENING.set(true);
    }
}

/// Whether anybody listens on this thread: whoever has to prepare something so that there is an
/// event to tell asks this first.
#[inline]
pub(crate) fn is_heard() -> bool {
    cfg!(not(popleft_bare)) && LISTENING.get()
}

/// Installs `listener` on this thread and returns the one before it.
pub(crate) fn listen(listener: Option<Listener>) -> Option<Listener> {
    LISTENING.set(listener.is_some());
    ManuallyDrop::into_inner(LISTENER.replace(ManuallyDrop::new(listener)))
}

// ===== warning ==================================================================================

/// What a person should know, though nothing in the program asks. Each holds its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A task panicked and nobody joined it, or something did that is no task: a drop, a waker.
    Panic(String),
    /// Tasks wait in a circle for each other's locks.
    Locks(String),
    /// Every task is parked.
    Stall(String),
}

thread_local! {
    static COLLECTED: RefCell<Option<Vec<Warning>>> = const { RefCell::new(None) };
}

/// Prints the warning to standard error, unless somebody collects them on this thread.
#[cold]
pub(crate) fn warn(warning: Warning) {
    if !is_collected(&warning) {
        let (Warning::Panic(text) | Warning::Locks(text) | Warning::Stall(text)) = warning;
        // If standard error is gone there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// A panic ends here, because there is nobody to whom it could go. The panic hook has printed it;
/// only who collects warnings hears of it.
#[cold]
pub(crate) fn panic_goes_no_further(payload: &dyn Any) {
    access::touch(Object::Anything);
    is_collected(&Warning::Panic(format!("popleft: {}\n", text_of(payload).unwrap_or(NO_TEXT))));
}

fn is_collected(warning: &Warning) -> bool {
    let collect = |list: &mut Vec<_>| list.push(warning.clone());
    COLLECTED.try_with(|list| list.borrow_mut().as_mut().map(collect)) == Ok(Some(()))
}

/// What to say of a panic that carries something else.
pub(crate) const NO_TEXT: &str = "a panic without a text";

/// The text that a panic carries, if it is one.
pub(crate) fn text_of(payload: &dyn Any) -> Option<&str> {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// From now on warnings are collected in `list`, or printed if there is none. Returns the list
/// before.
pub(crate) fn collect_warnings(list: Option<Vec<Warning>>) -> Option<Vec<Warning>> {
    COLLECTED.replace(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_one_place_and_two_lines_are_two() {
        let first = Location::caller();
        let second = Location::caller();
        assert_eq!(Place::of(first), Place::of(first));
        assert_ne!(Place::of(first), Place::of(second));
        assert_eq!(Place::of(first).location(), Some(first));
    }

    #[test]
    fn a_place_made_on_one_thread_is_read_on_another() {
        let place = Place::of(Location::caller());
        let read = std::thread::spawn(move || place.to_string()).join().unwrap();
        assert_eq!(read, place.to_string());
        assert!(read.contains("event.rs:"), "{read}");
    }

    #[test]
    fn a_path_never_names_the_registry() {
        let registry =
            "/home/x/.cargo/registry/src/index.crates.io-1949cf8c/slab-0.4.12/src/lib.rs";
        assert_eq!(short(registry), "slab-0.4.12/src/lib.rs");
        assert_eq!(short("/rustc/abc/library/core/src/x.rs"), "core/src/x.rs");
        assert_eq!(short("demos/src/fib.rs"), "demos/src/fib.rs");
    }

    #[test]
    fn every_reason_survives_its_number() {
        for why in Why::ALL {
            assert_eq!(Why::from_code(why as u8), why);
        }
        assert_eq!(Why::from_code(255), Why::Unknown);
    }

    #[test]
    fn what_a_listener_does_is_not_told_to_it() {
        let heard = Rc::new(Cell::new(0));
        let count = heard.clone();
        listen(Some(Rc::new(move |_| {
            count.set(count.get() + 1);
            tell(|| Event::LookOutside);
        })));
        tell(|| Event::LookOutside);
        tell(|| Event::LookOutside);
        listen(None);
        tell(|| Event::LookOutside);
        assert_eq!(heard.get(), 2);
    }
}
