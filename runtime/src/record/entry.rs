//! What a recording is made of.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::event;

/// The first line of a recording: what it is, and what is needed to read it.
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

/// What happened: [`event::Event`](crate::event::Event), as it can be kept. A `task` is the running
/// number that the task's [`Id`](crate::task::Id) prints as, a `deadline` counts from the beginning
/// of the recording, and `at` is the text of a place, or `None` if it is unknown. Of a task's name
/// that is longer than 4096 bytes only the beginning is kept.
///
/// A reader finds all of it that it knows; fields that it does not know it ignores.
pub type Event = event::Event<u32, Duration, Option<Place>, Box<Unknown>>;

/// What put a task into the deque: [`event::Cause`](crate::event::Cause) with a task's number.
pub type Cause = event::Cause<u32>;

/// An event of a kind that this library does not know, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unknown {
    /// The name of the kind.
    pub kind: String,
    /// All else that the line held.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

// ===== places ===================================================================================

/// A line of the program, `file:line`; or where none can be seen, what stands in its stead
/// (`via AsyncRead`). Two are equal when they print the same.
#[derive(Clone)]
pub struct Place(Repr);

#[derive(Clone)]
enum Repr {
    /// A line of this program. Its text is made when it is printed.
    Live(event::Place),
    /// It was read. Behind a thin pointer, since every entry has room for it.
    Text(Arc<Box<str>>),
}

impl Place {
    pub(super) fn of(place: event::Place) -> Option<Place> {
        (place != event::Place::UNKNOWN).then_some(Place(Repr::Live(place)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Live(place) => place.fmt(f),
            Repr::Text(text) => text.fmt(f),
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
            (Repr::Live(a), Repr::Live(b)) if a == b => true,
            (Repr::Text(a), Repr::Text(b)) => a == b,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl Eq for Place {}

impl From<&str> for Place {
    fn from(text: &str) -> Place {
        Place(Repr::Text(Arc::new(text.into())))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Live(place) => serializer.collect_str(place),
            Repr::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Place(Repr::Text(Arc::deserialize(deserializer)?)))
    }
}

/// A time as a recording counts it, from its beginning on.
pub(super) fn since(start: Instant, instant: Instant) -> Duration {
    instant.saturating_duration_since(start)
}

/// The beginning of a name: a line of a recording has its limits, and a name has none.
pub(super) fn cut(name: &str) -> &str {
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
        struct Line<'a> {
            seq: u64,
            #[serde(serialize_with = "as_nanoseconds")]
            t_ns: &'a Duration,
            #[serde(flatten)]
            event: &'a Event,
        }
        Line { seq: self.seq, t_ns: &self.t, event: &self.event }.serialize(serializer)
    }
}

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
        let event = Event::from_fields(fields).map_err(D::Error::custom)?;
        Ok(Entry { seq, t, event })
    }
}

/// Whole nanoseconds: 584 years fit.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn as_nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(nanoseconds(*duration))
}
