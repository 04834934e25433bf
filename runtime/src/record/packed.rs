//! Entries in little memory.
//!
//! An [`Entry`] has room for whatever can happen, 80 bytes, and a run has millions of them. What
//! costs most in keeping them is memory that is touched for the first time, so the less the better.
//! But nearly every event is a few small numbers, and comes right after the one before it. So it is
//! packed into words of 32 bits as it is told: one for its kind and whatever is small about it, one
//! for the nanoseconds since the event before, and one for each of its numbers; about 16 bytes.
//!
//! What does not fit (a task's name, a pause of a second) is kept as an entry, and one word says
//! so.

use std::time::{Duration, Instant};

use super::entry::words::Word as _;
use super::entry::{Cause, Entry, Event, Place, since};
use crate::base::event::{self, End, Event as Told, Found};
use crate::base::place::Why;
use crate::task::Id;

/// So many words are in a block at most. They are 16 KiB.
const WORDS: usize = 4 * 1024;

/// The most words that one entry takes.
const LONGEST: usize = 7;

/// Stands for a number that is not there. An event that has this very number is kept whole.
const NONE: u32 = u32::MAX;

/// Entries that follow each other, oldest first.
#[derive(Debug)]
pub(super) struct Block {
    words: Vec<u32>,
    /// Those that are not packed.
    whole: Vec<Entry>,
    length: usize,
    /// The entry before the first one.
    before: Moment,
    last: Moment,
}

/// An entry's number and its time.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    seq: u64,
    t: Duration,
}

/// The kinds as they are packed.
mod kind {
    pub(super) const WHOLE: u8 = 0;
    pub(super) const SPAWN: u8 = 1;
    pub(super) const POLL: u8 = 2;
    pub(super) const PENDING: u8 = 3;
    pub(super) const PENDING_ON: u8 = 4;
    pub(super) const DONE: u8 = 5;
    pub(super) const WAKE: u8 = 6;
    pub(super) const REGISTER: u8 = 7;
    pub(super) const DEREGISTER: u8 = 8;
    pub(super) const IO: u8 = 9;
    pub(super) const LOOK_OUTSIDE: u8 = 10;
    pub(super) const WAIT: u8 = 11;
    pub(super) const WAIT_FOR_EVER: u8 = 12;
    pub(super) const WOKE: u8 = 13;
    pub(super) const TIMER_SET: u8 = 14;
    pub(super) const TIMER_FIRED: u8 = 15;
    pub(super) const TIMER_CANCELLED: u8 = 16;
    pub(super) const JOB_SUBMIT: u8 = 17;
    pub(super) const JOB_START: u8 = 18;
    pub(super) const JOB_DONE: u8 = 19;
}

/// What wakes and spawns, as it is packed.
mod cause {
    pub(super) const TASK: u8 = 0;
    pub(super) const SOURCE: u8 = 1;
    pub(super) const TIMER: u8 = 2;
    pub(super) const JOB: u8 = 3;
    pub(super) const THREAD: u8 = 4;
    pub(super) const OUTSIDE: u8 = 5;
}

// ===== in =======================================================================================

impl Block {
    /// An empty block, in memory that is taken now.
    pub(super) fn new() -> Block {
        let (before, last) = Default::default();
        Block { words: Vec::with_capacity(WORDS), whole: Vec::new(), length: 0, before, last }
    }

    /// Empties it, to be used again for what comes after `before`.
    pub(super) fn begin_after(mut self, before: &Block) -> Block {
        self.words.clear();
        self.whole.clear();
        self.length = 0;
        self.before = before.last;
        self.last = before.last;
        self
    }

    /// How many entries it holds.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether there may be no room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.words.len() > WORDS - LONGEST
    }

    /// Adds an event that was told. There must be room.
    #[inline]
    pub(super) fn push(&mut self, seq: u64, t: Duration, told: &Told, start: Instant) {
        let after = self.last.until(seq, t);
        match after.and_then(|after| self.pack(after, told, start)) {
            Some(()) => self.count(seq, t),
            None => self.push_whole(Entry { seq, t, event: Event::keep(told, start) }),
        }
    }

    /// Adds an entry as it is. There must be room.
    #[cold]
    pub(super) fn push_whole(&mut self, entry: Entry) {
        self.count(entry.seq, entry.t);
        self.put([head(kind::WHOLE, 0, 0)]);
        self.whole.push(entry);
    }

    fn count(&mut self, seq: u64, t: Duration) {
        self.length += 1;
        self.last = Moment { seq, t };
    }

    /// `None`, and nothing is done, if the event does not fit.
    #[inline]
    fn pack(&mut self, after: u32, told: &Told, start: Instant) -> Option<()> {
        match *told {
            Told::Spawn { task, by, name: None, at } => {
                let (cause, number) = packed_cause(by)?;
                let head = head(kind::SPAWN, cause, 0);
                self.put([head, after, task.number(), number, at.number()]);
            }
            Told::Spawn { name: Some(_), .. } => return None,
            Told::Poll { task } => self.put([head(kind::POLL, 0, 0), after, task.number()]),
            Told::Pending { task, why, on: None, at } => {
                let head = head(kind::PENDING, why as u8, 0);
                self.put([head, after, task.number(), at.number()]);
            }
            Told::Pending { task, why, on: Some(on), at } => {
                let head = head(kind::PENDING_ON, why as u8, 0);
                self.put([head, after, task.number(), on, at.number()]);
            }
            Told::Done { task, how } => {
                self.put([head(kind::DONE, how as u8, 0), after, task.number()]);
            }
            Told::Wake { task, by } => {
                let (cause, number) = packed_cause(by)?;
                self.put([head(kind::WAKE, cause, 0), after, task.number(), number]);
            }
            Told::Register { source, task } => {
                let (source, task) = (u32::try_from(source).ok()?, packed_task(task)?);
                self.put([head(kind::REGISTER, 0, 0), after, source, task]);
            }
            Told::Deregister { source, task } => {
                let (source, task) = (u32::try_from(source).ok()?, packed_task(task)?);
                self.put([head(kind::DEREGISTER, 0, 0), after, source, task]);
            }
            Told::Io { source, task, way, found, at } => {
                let (source, task) = (u32::try_from(source).ok()?, packed_task(task)?);
                let head = head(kind::IO, way as u8, found as u8);
                self.put([head, after, source, task, at.number()]);
            }
            Told::LookOutside => self.put([head(kind::LOOK_OUTSIDE, 0, 0), after]),
            Told::Wait { at_most: None } => self.put([head(kind::WAIT_FOR_EVER, 0, 0), after]),
            Told::Wait { at_most: Some(at_most) } => {
                let [seconds, nanoseconds] = packed_duration(at_most)?;
                self.put([head(kind::WAIT, 0, 0), after, seconds, nanoseconds]);
            }
            Told::Woke { ready } => {
                self.put([head(kind::WOKE, 0, 0), after, u32::try_from(ready).ok()?]);
            }
            Told::TimerSet { timer, task, deadline, at } => {
                let [seconds, nanoseconds] = packed_duration(since(start, deadline))?;
                let (head, task) = (head(kind::TIMER_SET, 0, 0), packed_task(task)?);
                self.put([head, after, timer, task, seconds, nanoseconds, at.number()]);
            }
            Told::TimerFired { timer, task, deadline } => {
                let [seconds, nanoseconds] = packed_duration(since(start, deadline))?;
                let (head, task) = (head(kind::TIMER_FIRED, 0, 0), packed_task(task)?);
                self.put([head, after, timer, task, seconds, nanoseconds]);
            }
            Told::TimerCancelled { timer, task } => {
                self.put([head(kind::TIMER_CANCELLED, 0, 0), after, timer, packed_task(task)?]);
            }
            Told::JobSubmit { task, at } => {
                self.put([head(kind::JOB_SUBMIT, 0, 0), after, task.number(), at.number()]);
            }
            Told::JobStart { task } => {
                self.put([head(kind::JOB_START, 0, 0), after, task.number()]);
            }
            Told::JobDone { task } => self.put([head(kind::JOB_DONE, 0, 0), after, task.number()]),
        }
        Some(())
    }

    #[inline]
    fn put<const N: usize>(&mut self, words: [u32; N]) {
        self.words.extend_from_slice(&words);
    }
}

impl Moment {
    /// How many nanoseconds lie between this entry and the one with `seq`, if that is the next one
    /// and they are few enough.
    #[inline]
    fn until(self, seq: u64, t: Duration) -> Option<u32> {
        let passed = t.checked_sub(self.t)?;
        let is_next = seq.checked_sub(self.seq) == Some(1);
        (is_next && passed.as_secs() == 0).then_some(passed.subsec_nanos())
    }
}

fn head(kind: u8, first: u8, second: u8) -> u32 {
    u32::from_le_bytes([kind, first, second, 0])
}

fn packed_task(task: Option<Id>) -> Option<u32> {
    match task.map(Id::number) {
        None => Some(NONE),
        Some(number) => (number != NONE).then_some(number),
    }
}

fn packed_duration(duration: Duration) -> Option<[u32; 2]> {
    Some([u32::try_from(duration.as_secs()).ok()?, duration.subsec_nanos()])
}

fn packed_cause(cause: event::Cause) -> Option<(u8, u32)> {
    Some(match cause {
        event::Cause::Task(task) => (cause::TASK, task.number()),
        event::Cause::Source(source) => (cause::SOURCE, u32::try_from(source).ok()?),
        event::Cause::Timer(timer) => (cause::TIMER, timer),
        event::Cause::Job => (cause::JOB, 0),
        event::Cause::Thread => (cause::THREAD, 0),
        event::Cause::Outside => (cause::OUTSIDE, 0),
    })
}

// ===== out ======================================================================================

impl Block {
    /// The entries as they were.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut unpacking = Unpacking { words: self.words.iter(), whole: self.whole.iter() };
        let mut last = self.before;
        (0..self.length).map(move |_| {
            let entry = unpacking.next_entry(last);
            last = Moment { seq: entry.seq, t: entry.t };
            entry
        })
    }
}

/// What is still to be unpacked.
struct Unpacking<'a> {
    words: std::slice::Iter<'a, u32>,
    whole: std::slice::Iter<'a, Entry>,
}

impl Unpacking<'_> {
    fn next_entry(&mut self, last: Moment) -> Entry {
        let [kind, first, second, _] = self.word().to_le_bytes();
        if kind == kind::WHOLE {
            return self.whole.next().expect("there is one for each such word").clone();
        }
        let after = Duration::from_nanos(self.word().into());
        let event = self.event(kind, first, second);
        Entry { seq: last.seq + 1, t: last.t + after, event }
    }

    /// Fields are read in the order in which they were packed.
    fn event(&mut self, kind: u8, first: u8, second: u8) -> Event {
        match kind {
            kind::SPAWN => {
                let (task, by) = (self.word(), self.cause(first));
                Event::Spawn { task, by, name: None, at: self.place() }
            }
            kind::POLL => Event::Poll { task: self.word() },
            kind::PENDING => {
                let (task, why) = (self.word(), Why::from_code(first));
                Event::Pending { task, why, on: None, at: self.place() }
            }
            kind::PENDING_ON => Event::Pending {
                task: self.word(),
                why: Why::from_code(first),
                on: Some(self.word()),
                at: self.place(),
            },
            kind::DONE => Event::Done { task: self.word(), how: End::ALL[usize::from(first)] },
            kind::WAKE => Event::Wake { task: self.word(), by: self.cause(first) },
            kind::REGISTER => Event::Register { source: self.word().into(), task: self.task() },
            kind::DEREGISTER => Event::Deregister { source: self.word().into(), task: self.task() },
            kind::IO => Event::Io {
                source: self.word().into(),
                task: self.task(),
                way: Why::from_code(first),
                found: Found::ALL[usize::from(second)],
                at: self.place(),
            },
            kind::LOOK_OUTSIDE => Event::LookOutside,
            kind::WAIT => Event::Wait { at_most: Some(self.duration()) },
            kind::WAIT_FOR_EVER => Event::Wait { at_most: None },
            kind::WOKE => Event::Woke { ready: self.word().into() },
            kind::TIMER_SET => Event::TimerSet {
                timer: self.word(),
                task: self.task(),
                deadline: self.duration(),
                at: self.place(),
            },
            kind::TIMER_FIRED => Event::TimerFired {
                timer: self.word(),
                task: self.task(),
                deadline: self.duration(),
            },
            kind::TIMER_CANCELLED => {
                Event::TimerCancelled { timer: self.word(), task: self.task() }
            }
            kind::JOB_SUBMIT => Event::JobSubmit { task: self.word(), at: self.place() },
            kind::JOB_START => Event::JobStart { task: self.word() },
            kind::JOB_DONE => Event::JobDone { task: self.word() },
            other => unreachable!("no entry is packed as {other}"),
        }
    }

    fn word(&mut self) -> u32 {
        *self.words.next().expect("an entry is packed whole or not at all")
    }

    fn task(&mut self) -> Option<u32> {
        Some(self.word()).filter(|&task| task != NONE)
    }

    fn place(&mut self) -> Option<Place> {
        Place::of(event::Place::from_number(self.word()))
    }

    fn duration(&mut self) -> Duration {
        let (seconds, nanoseconds) = (self.word(), self.word());
        Duration::new(seconds.into(), nanoseconds)
    }

    fn cause(&mut self, code: u8) -> Cause {
        let number = self.word();
        match code {
            cause::TASK => Cause::Task(number),
            cause::SOURCE => Cause::Source(number.into()),
            cause::TIMER => Cause::Timer(number),
            cause::JOB => Cause::Job,
            cause::THREAD => Cause::Thread,
            cause::OUTSIDE => Cause::Outside,
            other => unreachable!("no cause is packed as {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Place as At;
    use proptest::prelude::*;
    use std::panic::Location;

    const MANY: usize = 1 << 40;

    fn id(number: u32) -> Id {
        Id { index: 3, number }
    }

    /// One of each kind, with and without what may be missing; the last few do not fit.
    fn told(start: Instant) -> Vec<Told> {
        let (task, some) = (id(7), Some(id(u32::MAX - 1)));
        let at = At::of(Location::caller());
        let long = Duration::new(1 << 31, 999_999_999);
        let causes = [
            event::Cause::Task(id(u32::MAX)),
            event::Cause::Source(8),
            event::Cause::Timer(9),
            event::Cause::Job,
            event::Cause::Thread,
            event::Cause::Outside,
        ];
        let mut told = vec![
            Told::Poll { task },
            Told::Pending { task, why: Why::Join, on: Some(u32::MAX), at: At::UNKNOWN },
            Told::Register { source: 1, task: some },
            Told::Deregister { source: 1, task: None },
            Told::LookOutside,
            Told::Wait { at_most: None },
            Told::Wait { at_most: Some(Duration::ZERO) },
            Told::Wait { at_most: Some(long) },
            Told::Woke { ready: 12 },
            Told::TimerSet { timer: 1, task: some, deadline: start + long, at },
            Told::TimerSet { timer: 1, task: None, deadline: start, at: At::VIA_ASYNC_READ },
            Told::TimerFired { timer: 2, task: some, deadline: start + long },
            Told::TimerCancelled { timer: u32::MAX, task: None },
            Told::JobSubmit { task, at },
            Told::JobStart { task },
            Told::JobDone { task },
        ];
        for by in causes {
            told.push(Told::Wake { task, by });
            told.push(Told::Spawn { task, by, name: None, at });
        }
        for how in [End::Ok, End::Panic, End::Cancelled] {
            told.push(Told::Done { task, how });
        }
        for why in Why::ALL {
            told.push(Told::Pending { task, why, on: None, at });
        }
        for found in [Found::Done, Found::WouldBlock, Found::Error] {
            for way in [Why::Read, Why::Write] {
                told.push(Told::Io { source: 5, task: some, way, found, at });
            }
        }
        told.extend([
            Told::Spawn { task, by: event::Cause::Job, name: Some("named".into()), at },
            Told::Wake { task, by: event::Cause::Source(MANY) },
            Told::Register { source: MANY, task: None },
            Told::Deregister { source: 1, task: Some(id(NONE)) },
            Told::Woke { ready: MANY },
            Told::Wait { at_most: Some(Duration::MAX) },
        ]);
        told
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_packed_is_unpacked_as_it_was(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3_000_000_000u64, 0..20u64), 1..2000),
        ) {
            let start = Instant::now();
            let all = told(start);
            let (mut block, mut seq, mut t) = (Block::new(), 0, Duration::ZERO);
            let mut entries = vec![];
            for (which, pause, skipped) in steps {
                if block.is_full() {
                    prop_assert_eq!(block.entries().collect::<Vec<_>>(), &*entries);
                    entries.clear();
                    let before = block;
                    block = Block::new().begin_after(&before);
                }
                let told = which.get(&all);
                seq += if skipped == 0 { 5 } else { 1 };
                // Most events follow each other at once.
                t += Duration::from_nanos(if pause % 4 == 0 { pause } else { pause % 1000 });
                entries.push(Entry { seq, t, event: Event::keep(told, start) });
                block.push(seq, t, told, start);
                prop_assert_eq!(block.len(), entries.len());
            }
            prop_assert_eq!(block.entries().collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn only_what_does_not_fit_is_kept_whole() {
        let start = Instant::now();
        let all = told(start);
        let mut block = Block::new();
        for (seq, told) in (1..).zip(&all) {
            block.push(seq, Duration::ZERO, told, start);
        }
        assert_eq!(block.whole.len(), 6);
        assert!(
            block.whole.iter().map(|entry| entry.seq).eq(all.len() as u64 - 5..=all.len() as u64)
        );
    }

    #[test]
    fn a_block_keeps_the_memory_that_it_was_made_with() {
        let start = Instant::now();
        let mut block = Block::new();
        let told = Told::TimerSet { timer: 1, task: None, deadline: start, at: At::UNKNOWN };
        let mut seq = 0;
        while !block.is_full() {
            seq += 1;
            block.push(seq, Duration::ZERO, &told, start);
        }
        assert_eq!(block.words.len(), LONGEST * block.len());
        assert_eq!(block.words.capacity(), WORDS);
    }
}
