//! The kinds of events, and what a recording does with each kind of field.
//!
//! The table below names every kind with its fields. All that a recording does with an event is made
//! from it: keeping it, packing and unpacking it, writing it as JSON and reading it. What there is to
//! do for one field depends on its type alone, and stands in [`Field`], for the types of the runtime's
//! events, and in [`Kept`], for those of a recording.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Error, Map, Value};

use super::entry::{Cause, Event, Place, Unknown, cut, nanoseconds, since};
use super::words::{Packing, Unpacking};
use crate::base::event::{self, End, Event as Emitted, Found};
use crate::base::place::Why;
use crate::task::Id;

macro_rules! kinds {
    ($($name:literal $kind:ident { $($field:ident $(as $key:literal)?),* })*) => {
        /// A kind of event that this library knows.
        #[derive(Clone, Copy)]
        #[repr(u8)]
        pub(super) enum Kind {
            $($kind,)*
        }

        impl Kind {
            const ALL: &[(Kind, &str)] = &[$((Kind::$kind, $name)),*];
        }

        impl Event {
            /// The same event as it can be kept. Nothing is allocated and nothing formatted here,
            /// unless a name is too long.
            pub(super) fn keep(event: &Emitted, start: Instant) -> Event {
                match event {
                    $(Emitted::$kind { $($field),* } => {
                        Event::$kind { $($field: $field.keep(start)),* }
                    })*
                    Emitted::Unknown(never) => match *never {},
                }
            }

            /// The event that was packed as this kind.
            pub(super) fn unpack(kind: u8, fields: &mut Unpacking<'_>) -> Event {
                match Kind::ALL[usize::from(kind)].0 {
                    // Fields are evaluated in the order in which they were packed.
                    $(Kind::$kind => Event::$kind { $($field: Kept::unpack(fields)),* },)*
                }
            }

            fn read(kind: Kind, fields: &mut Map<String, Value>) -> Result<Event, Error> {
                Ok(match kind {
                    $(Kind::$kind => Event::$kind {
                        $($field: Kept::read(key!($field $($key)?), fields)?),*
                    },)*
                })
            }
        }

        /// `None` if the event does not fit into so few words.
        #[inline(always)]
        pub(super) fn pack(event: &Emitted, after: u32, start: Instant) -> Option<Packing> {
            match event {
                $(Emitted::$kind { $($field),* } => {
                    #[allow(unused_mut, reason = "one kind has no fields")]
                    let mut packing = Packing::new(Kind::$kind as u8, after);
                    $($field.pack(&mut packing, start)?;)*
                    Some(packing)
                })*
                Emitted::Unknown(never) => match *never {},
            }
        }

        impl Serialize for Event {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Event::$kind { $($field),* } => {
                        let mut map = serializer.serialize_map(None)?;
                        map.serialize_entry("kind", $name)?;
                        $($field.write(key!($field $($key)?), &mut map)?;)*
                        map.end()
                    })*
                    Event::Unknown(unknown) => unknown.serialize(serializer),
                }
            }
        }
    };
}

macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

kinds! {
    "spawn" Spawn { task, by, name, at }
    "poll" Poll { task }
    "pending" Pending { task, why, on, at }
    "done" Done { task, how }
    "wake" Wake { task, by }
    "register" Register { source, task }
    "deregister" Deregister { source, task }
    "io" Io { source, task, way, found, at }
    "look_outside" LookOutside {}
    "wait" Wait { at_most as "at_most_ns" }
    "woke" Woke { ready }
    "timer_set" TimerSet { timer, task, deadline as "deadline_ns", at }
    "timer_fired" TimerFired { timer, task, deadline as "deadline_ns" }
    "timer_cancelled" TimerCancelled { timer, task }
    "job_submit" JobSubmit { task, at }
    "job_start" JobStart { task }
    "job_done" JobDone { task }
}

impl Event {
    /// Reads an event from the fields of its line. A kind that is not known is kept as it is; one
    /// that is known must be understood.
    pub(super) fn from_fields(mut fields: Map<String, Value>) -> Result<Event, Error> {
        let kind = match fields.get("kind") {
            None => return Err(Error::missing_field("kind")),
            Some(kind) => kind.as_str().ok_or_else(|| Error::custom("kind must be a word"))?,
        };
        match Kind::ALL.iter().find(|(_, name)| *name == kind) {
            Some(&(kind, name)) => Event::read(kind, &mut fields)
                .map_err(|error| Error::custom(format_args!("{name}: {error}"))),
            None => {
                let unknown = Unknown::deserialize(Value::Object(fields))?;
                Ok(Event::Unknown(Box::new(unknown)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Event::from_fields(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

// ===== fields ===================================================================================

/// A field of an event as the runtime emits it.
trait Field {
    type Kept;

    /// The same as it can be kept.
    fn keep(&self, start: Instant) -> Self::Kept;

    /// Adds it to the words of its event; `None` if it does not fit.
    fn pack(&self, words: &mut Packing, start: Instant) -> Option<()>;
}

/// A field of an event as it is kept.
trait Kept: Sized {
    /// Takes it from the words of its event, as [`Field::pack`] put it there.
    fn unpack(words: &mut Unpacking<'_>) -> Self;

    /// Writes it, unless it is one that is left out.
    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error>;

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error>;
}

fn take<T: DeserializeOwned>(
    key: &'static str,
    fields: &mut Map<String, Value>,
) -> Result<T, Error> {
    serde_json::from_value(fields.remove(key).ok_or_else(|| Error::missing_field(key))?)
}

fn take_optional<T: DeserializeOwned>(
    key: &'static str,
    fields: &mut Map<String, Value>,
) -> Result<Option<T>, Error> {
    fields.remove(key).map_or(Ok(None), serde_json::from_value)
}

impl Field for u32 {
    type Kept = u32;

    #[inline]
    fn keep(&self, _: Instant) -> u32 {
        *self
    }

    #[inline]
    fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
        words.put(*self);
        Some(())
    }
}

impl Kept for u32 {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        words.word()
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, self)
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take(key, fields)
    }
}

impl Field for Id {
    type Kept = u32;

    #[inline]
    fn keep(&self, _: Instant) -> u32 {
        self.number()
    }

    #[inline]
    fn pack(&self, words: &mut Packing, start: Instant) -> Option<()> {
        self.number().pack(words, start)
    }
}

/// Something of a task that may not be there.
impl<T: Field<Kept = u32>> Field for Option<T> {
    type Kept = Option<u32>;

    #[inline]
    fn keep(&self, start: Instant) -> Option<u32> {
        self.as_ref().map(|value| value.keep(start))
    }

    #[inline]
    fn pack(&self, words: &mut Packing, start: Instant) -> Option<()> {
        words.put_small(self.is_some().into());
        match self {
            Some(value) => value.pack(words, start),
            None => Some(()),
        }
    }
}

impl Kept for Option<u32> {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        (words.small() != 0).then(|| words.word())
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        self.iter().try_for_each(|value| map.serialize_entry(key, value))
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take_optional(key, fields)
    }
}

impl Field for usize {
    type Kept = usize;

    #[inline]
    fn keep(&self, _: Instant) -> usize {
        *self
    }

    #[inline]
    fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
        words.put(u32::try_from(*self).ok()?);
        Some(())
    }
}

impl Kept for usize {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        words.word() as usize
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, self)
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take(key, fields)
    }
}

impl Field for Option<Arc<str>> {
    type Kept = Option<Arc<str>>;

    fn keep(&self, _: Instant) -> Option<Arc<str>> {
        let name = self.as_ref()?;
        let beginning = cut(name);
        if beginning.len() == name.len() { Some(name.clone()) } else { Some(beginning.into()) }
    }

    #[inline]
    fn pack(&self, _: &mut Packing, _: Instant) -> Option<()> {
        self.is_none().then_some(())
    }
}

impl Kept for Option<Arc<str>> {
    fn unpack(_: &mut Unpacking<'_>) -> Self {
        None
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        self.iter().try_for_each(|name| map.serialize_entry(key, name))
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take_optional(key, fields)
    }
}

impl Field for event::Place {
    type Kept = Option<Place>;

    #[inline]
    fn keep(&self, _: Instant) -> Option<Place> {
        Place::of(*self)
    }

    #[inline]
    fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
        words.put(self.number());
        Some(())
    }
}

impl Kept for Option<Place> {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        Place::of(event::Place::from_number(words.word()))
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        self.iter().try_for_each(|place| map.serialize_entry(key, place))
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take_optional(key, fields)
    }
}

impl Field for event::Cause {
    type Kept = Cause;

    #[inline]
    fn keep(&self, _: Instant) -> Cause {
        match *self {
            event::Cause::Task(task) => Cause::Task(task.number()),
            event::Cause::Source(source) => Cause::Source(source),
            event::Cause::Timer(timer) => Cause::Timer(timer),
            event::Cause::Job => Cause::Job,
            event::Cause::Thread => Cause::Thread,
            event::Cause::Outside => Cause::Outside,
        }
    }

    #[inline]
    fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
        let (code, number) = match *self {
            event::Cause::Task(task) => (0, task.number()),
            event::Cause::Source(source) => (1, u32::try_from(source).ok()?),
            event::Cause::Timer(timer) => (2, timer),
            event::Cause::Job => (3, 0),
            event::Cause::Thread => (4, 0),
            event::Cause::Outside => (5, 0),
        };
        words.put_small(code);
        words.put(number);
        Some(())
    }
}

impl Kept for Cause {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        let number = words.word();
        match words.small() {
            0 => Cause::Task(number),
            1 => Cause::Source(number as usize),
            2 => Cause::Timer(number),
            3 => Cause::Job,
            4 => Cause::Thread,
            5 => Cause::Outside,
            other => unreachable!("no cause is packed as {other}"),
        }
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, self)
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take(key, fields)
    }
}

// ===== times ====================================================================================

/// A deadline, as whole nanoseconds since the beginning of the recording.
impl Field for Instant {
    type Kept = Duration;

    #[inline]
    fn keep(&self, start: Instant) -> Duration {
        since(start, *self)
    }

    #[inline]
    fn pack(&self, words: &mut Packing, start: Instant) -> Option<()> {
        pack_duration(since(start, *self), words)
    }
}

impl Kept for Duration {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        Duration::new(words.word().into(), words.word())
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, &nanoseconds(*self))
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        take(key, fields).map(Duration::from_nanos)
    }
}

/// How long the loop may sleep; `null` is for ever.
impl Field for Option<Duration> {
    type Kept = Option<Duration>;

    #[inline]
    fn keep(&self, _: Instant) -> Option<Duration> {
        *self
    }

    #[inline]
    fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
        words.put_small(self.is_some().into());
        match self {
            Some(duration) => pack_duration(*duration, words),
            None => Some(()),
        }
    }
}

impl Kept for Option<Duration> {
    fn unpack(words: &mut Unpacking<'_>) -> Self {
        (words.small() != 0).then(|| Kept::unpack(words))
    }

    fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(key, &self.map(nanoseconds))
    }

    fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
        Ok(take_optional(key, fields)?.map(Duration::from_nanos))
    }
}

#[inline]
fn pack_duration(duration: Duration, words: &mut Packing) -> Option<()> {
    words.put(u32::try_from(duration.as_secs()).ok()?);
    words.put(duration.subsec_nanos());
    Some(())
}

// ===== words ====================================================================================

/// A small enum, which is written as a word and packed as its position in the list of all.
trait Word: Copy + PartialEq + 'static {
    const ALL: &[(Self, &str)];
}

impl Word for Why {
    const ALL: &[(Why, &str)] = &[
        (Why::Unknown, "unknown"),
        (Why::Read, "read"),
        (Why::Write, "write"),
        (Why::Timer, "timer"),
        (Why::Join, "join"),
        (Why::Offload, "offload"),
        (Why::Yield, "yield"),
        (Why::Lock, "lock"),
    ];
}

impl Word for End {
    const ALL: &[(End, &str)] =
        &[(End::Ok, "ok"), (End::Panic, "panic"), (End::Cancelled, "cancelled")];
}

impl Word for Found {
    const ALL: &[(Found, &str)] =
        &[(Found::Done, "done"), (Found::WouldBlock, "would_block"), (Found::Error, "error")];
}

macro_rules! words {
    ($($word:ty)*) => {$(
        impl Field for $word {
            type Kept = $word;

            #[inline]
            fn keep(&self, _: Instant) -> $word {
                *self
            }

            #[inline]
            fn pack(&self, words: &mut Packing, _: Instant) -> Option<()> {
                words.put_small(*self as u8);
                Some(())
            }
        }

        impl Kept for $word {
            fn unpack(words: &mut Unpacking<'_>) -> Self {
                <$word as Word>::ALL[usize::from(words.small())].0
            }

            fn write<M: SerializeMap>(&self, key: &'static str, map: &mut M) -> Result<(), M::Error> {
                map.serialize_entry(key, <$word as Word>::ALL[usize::from(*self as u8)].1)
            }

            fn read(key: &'static str, fields: &mut Map<String, Value>) -> Result<Self, Error> {
                let word: String = take(key, fields)?;
                word_from(&word)
            }
        }
    )*};
}

words! { Why End Found }

fn word_from<T: Word>(word: &str) -> Result<T, Error> {
    let known = T::ALL.iter().find(|(_, name)| *name == word);
    known.map(|(value, _)| *value).ok_or_else(|| {
        let all: Vec<_> = T::ALL.iter().map(|(_, name)| *name).collect();
        Error::custom(format_args!("{word:?} is none of {}", all.join(", ")))
    })
}
