//! What a recording is made of.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::event::{self, End, Found};
use crate::base::place::Why;
use crate::task::Id;

/// The first line of a recording: what it is, and what one has to know to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Header {
    /// Always [`Header::FORMAT`].
    pub format: String,
    /// How the lines are to be read. It grows when what was written before would be misread.
    pub version: u64,
    /// The version of the library that recorded.
    pub popleft: String,
    /// The name of the runtime, which is that of its main task.
    pub runtime: String,
    /// How many turns its loop takes before it looks outside though tasks are ready.
    pub polls_between_looks: u32,
}

impl Header {
    /// What a recording calls itself.
    pub const FORMAT: &str = "popleft-record";
    /// The version that this library writes, and the only one that it reads.
    pub const VERSION: u64 = 1;

    pub(super) fn new(runtime: &str, polls_between_looks: u32) -> Self {
        Header {
            format: Header::FORMAT.to_string(),
            version: Header::VERSION,
            popleft: env!("CARGO_PKG_VERSION").to_string(),
            runtime: cut(runtime).to_string(),
            polls_between_looks,
        }
    }
}

/// One event of a run. As JSON it is one object: `seq`, `t_ns`, `kind`, and what the kind has.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number: 0 for the first one, then one more each.
    pub seq: u64,
    /// When it happened, counted from the beginning of the recording. It never goes back. The `wake`
    /// of a task that yields has the time of the `pending` before it: both are one step.
    pub t: Duration,
    /// What happened.
    pub event: Event,
}

/// What happened: [`event::Event`], as it can be kept. A `task` is the running number that the
/// task's [`Id`] prints as.
///
/// A reader finds all of it that it knows; fields that it does not know it ignores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A task was made. It stands at the right end of the deque; if it was made to wait for a job,
    /// `job_submit` follows, and it does not stand there yet.
    Spawn {
        /// The new task.
        task: u32,
        /// What spawned it.
        by: Cause,
        /// The name that it was given; of one that is longer than 4096 bytes, the beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
        /// The line that spawned it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// A task was taken from the deque and is polled.
    Poll {
        /// The task whose turn it is.
        task: u32,
    },
    /// The task's turn is over and it is not finished.
    Pending {
        /// The task that parks, or that only yielded.
        task: u32,
        /// What it waits for.
        #[serde(with = "words")]
        why: Why,
        /// The task whose end it waits for, if that is what it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on: Option<u32>,
        /// The line of the `await`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// The task is finished.
    Done {
        /// The task that ended.
        task: u32,
        /// How it ended.
        #[serde(with = "words")]
        how: End,
    },
    /// A task that was not in the deque is put at its right end.
    Wake {
        /// The task that will have a turn.
        task: u32,
        /// What woke it.
        by: Cause,
    },
    /// A file descriptor is watched from now on.
    Register {
        /// Its number among all that this loop has watched.
        source: u64,
        /// The task whose turn it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
    },
    /// A file descriptor is no longer watched.
    Deregister {
        /// Its number.
        source: u64,
        /// The task whose turn it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
    },
    /// A task tried to read from a file descriptor, or to write to it.
    Io {
        /// The descriptor's number.
        source: u64,
        /// The task that tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
        /// Read or write.
        #[serde(with = "words")]
        way: Why,
        /// What came of it.
        #[serde(with = "words")]
        found: Found,
        /// The line of the `await`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// The loop looks outside: at what is ready, the inbox and the clock.
    LookOutside,
    /// The loop asks the system what is ready, and sleeps if it may.
    Wait {
        /// How long it may sleep; `None` is for ever.
        #[serde(rename = "at_most_ns", default, with = "nanoseconds::or_null")]
        at_most: Option<Duration>,
    },
    /// The loop is back from asking.
    Woke {
        /// How many sources were ready.
        ready: u64,
    },
    /// A deadline was put among the timers.
    TimerSet {
        /// Its number among all timers of this loop.
        timer: u32,
        /// The task that set it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
        /// When it is due, counted from the beginning of the recording.
        #[serde(rename = "deadline_ns", with = "nanoseconds")]
        deadline: Duration,
        /// The line of the `await`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// A deadline has come.
    TimerFired {
        /// Its number, as `timer_set` told it.
        timer: u32,
        /// The task that it wakes, unless it is for a waker that is not the runtime's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
        /// When it was due.
        #[serde(rename = "deadline_ns", with = "nanoseconds")]
        deadline: Duration,
    },
    /// A deadline was taken back before it came.
    TimerCancelled {
        /// Its number, as `timer_set` told it.
        timer: u32,
        /// The task that it would have woken, unless it was for a foreign waker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
    },
    /// A job was handed to the thread pool.
    JobSubmit {
        /// The task that waits for it.
        task: u32,
        /// The line that wants it done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Place>,
    },
    /// A thread of the pool has begun with a job, as far as the loop has heard.
    JobStart {
        /// The task that waits for it.
        task: u32,
    },
    /// The result of a job, or word of its panic, has reached its task.
    JobDone {
        /// The task that waited for it.
        task: u32,
    },
    /// A kind that this library does not know: a later one has written it.
    #[serde(skip)]
    Unknown(Box<Unknown>),
}

/// An event of a kind that this library does not know, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unknown {
    /// The name of the kind.
    pub kind: String,
    /// All else that the line held.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// What put a task into the deque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Another task, or itself, in its turn.
    Task(u32),
    /// A file descriptor that became ready: its number.
    Source(u64),
    /// A deadline that came: the number of its timer.
    Timer(u32),
    /// The end of the job that the task waits for.
    Job,
    /// Another thread, through the inbox.
    Thread,
    /// Code on the loop's own thread, outside any turn.
    Outside,
}

// ===== places ===================================================================================

/// A line of the program, `file:line`; or where none can be seen, what stands in its stead
/// (`via AsyncRead`). Two are equal when they print the same.
#[derive(Clone)]
pub struct Place(Known);

#[derive(Clone)]
enum Known {
    /// A line of this program. Its text is made when somebody wants to see it.
    Live(event::Place),
    /// It was read. Behind a thin pointer, since every entry has room for it.
    Text(Arc<Box<str>>),
}

impl Place {
    pub(super) fn of(place: event::Place) -> Option<Place> {
        (place != event::Place::UNKNOWN).then_some(Place(Known::Live(place)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Known::Live(place) => place.fmt(f),
            Known::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Known::Live(a), Known::Live(b)) if a == b => true,
            (Known::Text(a), Known::Text(b)) => a == b,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl Eq for Place {}

impl From<&str> for Place {
    fn from(text: &str) -> Place {
        Place(Known::Text(Arc::new(text.into())))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Known::Live(place) => serializer.collect_str(place),
            Known::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Place(Known::Text(Arc::deserialize(deserializer)?)))
    }
}

// ===== from the machine's events ================================================================

impl Event {
    /// The same event as it can be kept. Nothing is allocated and nothing formatted here.
    pub(super) fn keep(event: &event::Event, start: Instant) -> Event {
        use event::Event as Told;
        let number = |task: Id| task.number();
        match *event {
            Told::Spawn { task, by, ref name, at } => Event::Spawn {
                task: number(task),
                by: Cause::keep(by),
                name: name.as_ref().map(|name| match cut(name) {
                    whole if whole.len() == name.len() => name.clone(),
                    beginning => beginning.into(),
                }),
                at: Place::of(at),
            },
            Told::Poll { task } => Event::Poll { task: number(task) },
            Told::Pending { task, why, on, at } => {
                Event::Pending { task: number(task), why, on, at: Place::of(at) }
            }
            Told::Done { task, how } => Event::Done { task: number(task), how },
            Told::Wake { task, by } => Event::Wake { task: number(task), by: Cause::keep(by) },
            Told::Register { source, task } => {
                Event::Register { source: source as u64, task: task.map(number) }
            }
            Told::Deregister { source, task } => {
                Event::Deregister { source: source as u64, task: task.map(number) }
            }
            Told::Io { source, task, way, found, at } => Event::Io {
                source: source as u64,
                task: task.map(number),
                way,
                found,
                at: Place::of(at),
            },
            Told::LookOutside => Event::LookOutside,
            Told::Wait { at_most } => Event::Wait { at_most },
            Told::Woke { ready } => Event::Woke { ready: ready as u64 },
            Told::TimerSet { timer, task, deadline, at } => Event::TimerSet {
                timer,
                task: task.map(number),
                deadline: since(start, deadline),
                at: Place::of(at),
            },
            Told::TimerFired { timer, task, deadline } => Event::TimerFired {
                timer,
                task: task.map(number),
                deadline: since(start, deadline),
            },
            Told::TimerCancelled { timer, task } => {
                Event::TimerCancelled { timer, task: task.map(number) }
            }
            Told::JobSubmit { task, at } => {
                Event::JobSubmit { task: number(task), at: Place::of(at) }
            }
            Told::JobStart { task } => Event::JobStart { task: number(task) },
            Told::JobDone { task } => Event::JobDone { task: number(task) },
        }
    }
}

impl Cause {
    fn keep(cause: event::Cause) -> Cause {
        match cause {
            event::Cause::Task(task) => Cause::Task(task.number()),
            event::Cause::Source(source) => Cause::Source(source as u64),
            event::Cause::Timer(timer) => Cause::Timer(timer),
            event::Cause::Job => Cause::Job,
            event::Cause::Thread => Cause::Thread,
            event::Cause::Outside => Cause::Outside,
        }
    }
}

/// A time as a recording counts it, from its beginning on.
pub(super) fn since(start: Instant, instant: Instant) -> Duration {
    instant.saturating_duration_since(start)
}

/// The beginning of a name: a line of a recording has its limits, and a name has none.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(4096);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

// ===== to JSON and from it ======================================================================

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a, E> {
            seq: u64,
            #[serde(serialize_with = "nanoseconds::serialize")]
            t_ns: &'a Duration,
            #[serde(flatten)]
            event: &'a E,
        }
        let (seq, t_ns) = (self.seq, &self.t);
        match &self.event {
            Event::Unknown(event) => Line { seq, t_ns, event }.serialize(serializer),
            event => Line { seq, t_ns, event }.serialize(serializer),
        }
    }
}

/// The kinds that are known. A line of another one is `Unknown`; one of these must be understood.
const KINDS: [&str; 17] = [
    "spawn",
    "poll",
    "pending",
    "done",
    "wake",
    "register",
    "deregister",
    "io",
    "look_outside",
    "wait",
    "woke",
    "timer_set",
    "timer_fired",
    "timer_cancelled",
    "job_submit",
    "job_start",
    "job_done",
];

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let mut take_number = |name: &'static str| match fields.remove(name) {
            None => Err(D::Error::missing_field(name)),
            Some(value) => value.as_u64().ok_or_else(|| {
                D::Error::custom(format!("{name} must be a whole number from 0 on, not {value}"))
            }),
        };
        let seq = take_number("seq")?;
        let t = Duration::from_nanos(take_number("t_ns")?);
        let kind = match fields.get("kind") {
            None => return Err(D::Error::missing_field("kind")),
            Some(kind) => kind.as_str().ok_or_else(|| D::Error::custom("kind must be a word"))?,
        };
        let event = match KINDS.iter().find(|known| **known == kind) {
            Some(known) => serde_json::from_value(Value::Object(fields))
                .map_err(|error| D::Error::custom(format!("{known}: {error}")))?,
            None => {
                let unknown = Unknown::deserialize(Value::Object(fields));
                Event::Unknown(Box::new(unknown.map_err(D::Error::custom)?))
            }
        };
        Ok(Entry { seq, t, event })
    }
}

/// Times as whole nanoseconds: 584 years fit.
mod nanoseconds {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }

    pub(super) mod or_null {
        use super::*;

        pub(in super::super) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_nanos))
        }
    }
}

/// The machine's small enums as words.
pub(super) mod words {
    use super::*;
    use std::borrow::Cow;

    pub(in crate::record) trait Word: Copy + 'static {
        const ALL: &[Self];

        fn word(self) -> &'static str;
    }

    impl Word for Why {
        const ALL: &[Why] = &Why::ALL;

        fn word(self) -> &'static str {
            match self {
                Why::Unknown => "unknown",
                Why::Read => "read",
                Why::Write => "write",
                Why::Timer => "timer",
                Why::Join => "join",
                Why::Offload => "offload",
                Why::Yield => "yield",
                Why::Lock => "lock",
            }
        }
    }

    impl Word for End {
        const ALL: &[End] = &[End::Ok, End::Panic, End::Cancelled];

        fn word(self) -> &'static str {
            match self {
                End::Ok => "ok",
                End::Panic => "panic",
                End::Cancelled => "cancelled",
            }
        }
    }

    impl Word for Found {
        const ALL: &[Found] = &[Found::Done, Found::WouldBlock, Found::Error];

        fn word(self) -> &'static str {
            match self {
                Found::Done => "done",
                Found::WouldBlock => "would_block",
                Found::Error => "error",
            }
        }
    }

    pub(super) fn serialize<T: Word, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.word())
    }

    pub(super) fn deserialize<'de, T: Word, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        let known = T::ALL.iter().find(|value| value.word() == word);
        known.copied().ok_or_else(|| {
            let all: Vec<_> = T::ALL.iter().map(|value| value.word()).collect();
            D::Error::custom(format!("{word:?} is none of {}", all.join(", ")))
        })
    }
}
