//! Entries in little memory.
//!
//! An [`Entry`] has room for whatever can happen, 80 bytes, and a run has millions of them. What
//! costs most in keeping them is memory that is touched for the first time, so the less the better.
//! But nearly every event is a few small numbers, and comes right after the one before it. So it is
//! packed into words of 32 bits when it is emitted: one for its kind and whatever is small about it, one
//! for the nanoseconds since the event before, and one for each of its numbers; about 16 bytes.
//!
//! What does not fit (a task's name, a pause of a second) is kept as an entry, and two words stand for
//! it.

use std::time::{Duration, Instant};

use super::kinds::pack;
use super::words::{LONGEST, Packing, Unpacking};
use super::{Entry, Event};
use crate::base::event::Event as Emitted;

/// The most words in a block: 16 KiB.
const WORDS: usize = 4 * 1024;

/// Stands for a kind where an entry is kept whole.
const WHOLE: u8 = u8::MAX;

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

// ===== in =======================================================================================

impl Block {
    /// An empty block, in memory that is taken now.
    pub(super) fn new() -> Block {
        let (before, last) = Default::default();
        let words = Vec::with_capacity(WORDS);
        Block { words, whole: Vec::new(), length: 0, before, last }
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

    /// Adds an event that was emitted. There must be room.
    #[inline]
    pub(super) fn push(&mut self, seq: u64, t: Duration, event: &Emitted, start: Instant) {
        let after = self.last.until(seq, t);
        match after.and_then(|after| pack(event, after, start)) {
            Some(packing) => {
                self.count(seq, t);
                self.put(&packing);
            }
            None => self.push_whole(Entry { seq, t, event: Event::keep(event, start) }),
        }
    }

    /// Adds an entry as it is. There must be room.
    #[cold]
    pub(super) fn push_whole(&mut self, entry: Entry) {
        self.count(entry.seq, entry.t);
        self.put(&Packing::new(WHOLE, 0));
        self.whole.push(entry);
    }

    fn count(&mut self, seq: u64, t: Duration) {
        self.length += 1;
        self.last = Moment { seq, t };
    }

    /// Adds all the words that there may be, and takes back those that are not used: that is faster
    /// than to copy as many as there are.
    #[inline]
    fn put(&mut self, packing: &Packing) {
        let used = self.words.len() + packing.length();
        self.words.extend_from_slice(&packing.words());
        self.words.truncate(used);
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

// ===== out ======================================================================================

impl Block {
    /// The entries as they were.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut words = Unpacking::new(&self.words);
        let mut whole = self.whole.iter();
        let mut last = self.before;
        (0..self.length).map(move |_| {
            let (kind, after) = words.begin();
            let entry = if kind == WHOLE {
                whole.next().expect("there is one for each such kind").clone()
            } else {
                let event = Event::unpack(kind, &mut words);
                Entry { seq: last.seq + 1, t: last.t + Duration::from_nanos(after.into()), event }
            };
            last = Moment { seq: entry.seq, t: entry.t };
            entry
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{self, End, Found};
    use crate::base::place::Why;
    use crate::event::Place as At;
    use crate::task::Id;
    use proptest::prelude::*;
    use std::panic::Location;

    const MANY: usize = 1 << 40;

    fn id(number: u32) -> Id {
        Id { index: 3, number }
    }

    /// One of each kind, with and without what may be missing; the last few do not fit.
    fn emitted(start: Instant) -> Vec<Emitted> {
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
        let mut emitted = vec![
            Emitted::Poll { task },
            Emitted::Pending { task, why: Why::Join, on: Some(u32::MAX), at: At::UNKNOWN },
            Emitted::Register { source: 1, task: some },
            Emitted::Deregister { source: 1, task: None },
            Emitted::LookOutside,
            Emitted::Wait { at_most: None },
            Emitted::Wait { at_most: Some(Duration::ZERO) },
            Emitted::Wait { at_most: Some(long) },
            Emitted::Woke { ready: 12 },
            Emitted::TimerSet { timer: 1, task: some, deadline: start + long, at },
            Emitted::TimerSet { timer: 1, task: None, deadline: start, at: At::VIA_ASYNC_READ },
            Emitted::TimerFired { timer: 2, task: some, deadline: start + long },
            Emitted::TimerCancelled { timer: u32::MAX, task: None },
            Emitted::JobSubmit { task, at },
            Emitted::JobStart { task },
            Emitted::JobDone { task },
        ];
        for by in causes {
            emitted.push(Emitted::Wake { task, by });
            emitted.push(Emitted::Spawn { task, by, name: None, at });
        }
        for how in [End::Ok, End::Panic, End::Cancelled] {
            emitted.push(Emitted::Done { task, how });
        }
        for why in Why::ALL {
            emitted.push(Emitted::Pending { task, why, on: None, at });
        }
        for found in [Found::Done, Found::WouldBlock, Found::Error] {
            for way in [Why::Read, Why::Write] {
                emitted.push(Emitted::Io { source: 5, task: some, way, found, at });
            }
        }
        emitted.extend([
            Emitted::Spawn { task, by: event::Cause::Job, name: Some("named".into()), at },
            Emitted::Wake { task, by: event::Cause::Source(MANY) },
            Emitted::Register { source: MANY, task: None },
            Emitted::Deregister { source: MANY, task: some },
            Emitted::Woke { ready: MANY },
            Emitted::Wait { at_most: Some(Duration::MAX) },
        ]);
        emitted
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_packed_is_unpacked_as_it_was(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3_000_000_000u64, 0..20u64), 1..2000),
        ) {
            let start = Instant::now();
            let all = emitted(start);
            let (mut block, mut seq, mut t) = (Block::new(), 0, Duration::ZERO);
            let mut entries = vec![];
            for (which, pause, skipped) in steps {
                if block.is_full() {
                    prop_assert_eq!(block.entries().collect::<Vec<_>>(), &*entries);
                    entries.clear();
                    let before = block;
                    block = Block::new().begin_after(&before);
                }
                let emitted = which.get(&all);
                seq += if skipped == 0 { 5 } else { 1 };
                // Most events follow each other at once.
                t += Duration::from_nanos(if pause % 4 == 0 { pause } else { pause % 1000 });
                entries.push(Entry { seq, t, event: Event::keep(emitted, start) });
                block.push(seq, t, emitted, start);
                prop_assert_eq!(block.len(), entries.len());
            }
            prop_assert_eq!(block.entries().collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn only_what_does_not_fit_is_kept_whole() {
        let start = Instant::now();
        let all = emitted(start);
        let mut block = Block::new();
        for (seq, emitted) in (1..).zip(&all) {
            block.push(seq, Duration::ZERO, emitted, start);
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
        let task = Some(id(1));
        let emitted = Emitted::TimerSet { timer: 1, task, deadline: start, at: At::UNKNOWN };
        let mut seq = 0;
        while !block.is_full() {
            seq += 1;
            block.push(seq, Duration::ZERO, &emitted, start);
        }
        assert_eq!(block.words.len(), 7 * block.len());
        assert_eq!(block.words.capacity(), WORDS);
    }
}
