//! One item: it waits, and computes on its bytes, and keeps a record of when it did.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How many steps are computed between two looks at the clocks: some ten microseconds' worth.
const STEPS_BETWEEN_LOOKS: u32 = 16;

/// How many bytes one step works on.
const BYTES_A_STEP: usize = 256;

/// What is computed on where there are no bytes.
const NO_BYTES: [u8; BYTES_A_STEP] = [0; BYTES_A_STEP];

/// A thread that had no processor for longer than this between two looks did not compute.
pub(super) const AWAY: Duration = Duration::from_micros(100);

/// One item.
#[derive(Debug)]
pub struct Item {
    pub(super) io: Duration,
    pub(super) cpu: Duration,
    pub(super) bytes: Arc<[u8]>,
    pub(super) record: Record,
}

/// What an item did, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) waited: Option<Span>,
    /// When it had a processor: several times, if it had to give it up in between.
    pub(super) computed: Vec<Span>,
    /// The processor time that it used.
    pub(super) used: Duration,
}

/// From when to when, by [`now`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

impl Item {
    /// Waits as for a network or a disk. The thread blocks: it sleeps, and holds no processor.
    pub fn wait(&mut self) {
        if !self.io.is_zero() {
            let from = now();
            thread::sleep(self.io);
            self.record.waited = Some(Span { from, to: now() });
        }
    }

    /// Waits by the runtime's timer: the task is parked, and the loop goes on.
    pub async fn wait_as_a_task(&mut self) {
        if !self.io.is_zero() {
            let from = now();
            popleft::time::sleep(self.io).await;
            self.record.waited = Some(Span { from, to: now() });
        }
    }

    /// Computes on the bytes until this thread has used the item's processor time.
    pub fn compute(&mut self) {
        self.compute_and(|| {});
    }

    /// Computes, and calls `tick` at every step, as an interpreter looks up between its steps.
    ///
    /// The clock is the one that counts how long this thread has had a processor. So an item costs
    /// the same however many others want one, and only takes longer.
    pub fn compute_and(&mut self, mut tick: impl FnMut()) {
        let mut pieces = self.bytes.chunks(BYTES_A_STEP).cycle();
        let mut sum = 0;
        let mut watch = Watch::start();
        while watch.used() < self.cpu {
            for _ in 0..STEPS_BETWEEN_LOOKS {
                sum = step(sum, pieces.next().unwrap_or(&NO_BYTES));
                tick();
            }
            watch.look();
        }
        black_box(sum);
        self.record.used = watch.used();
        self.record.computed = watch.stop();
    }
}

/// A checksum, one step further.
fn step(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

/// Records when this thread has had a processor since it was started.
struct Watch {
    begin: Look,
    /// Since here it has had one without a break that was seen.
    from: Look,
    last: Look,
    before: Vec<Span>,
}

/// The time, and how much of it this thread has had a processor.
#[derive(Clone, Copy)]
struct Look {
    at: Duration,
    used: Duration,
}

impl Watch {
    fn start() -> Watch {
        let begin = Look::now();
        Watch { begin, from: begin, last: begin, before: vec![] }
    }

    fn used(&self) -> Duration {
        self.last.used - self.begin.used
    }

    fn look(&mut self) {
        let look = Look::now();
        if look.at - self.last.at > look.used - self.last.used + AWAY {
            self.note();
            self.from = look;
        }
        self.last = look;
    }

    fn note(&mut self) {
        if self.from.at < self.last.at {
            self.before.push(Span { from: self.from.at, to: self.last.at });
        }
    }

    fn stop(mut self) -> Vec<Span> {
        self.note();
        self.before
    }
}

impl Look {
    fn now() -> Look {
        Look { at: now(), used: read(ClockId::ThreadCPUTime) }
    }
}

/// The time since some moment that is the same for all processes of this machine.
pub(super) fn now() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    // Neither clock is ever before its beginning.
    clock_gettime(clock).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::workload::Workload;

    fn item(io: Duration, cpu: Duration) -> Item {
        Workload { io, cpu, bytes: 1000, items: 1, ..Workload::of_nothing() }
            .items()
            .next()
            .unwrap()
    }

    #[test]
    fn it_uses_the_processor_time_that_it_is_to_use_and_tells_when() {
        let mut item = item(Duration::ZERO, Duration::from_millis(3));
        let before = now();
        item.compute();
        assert!(item.record.used >= item.cpu);
        assert!(!item.record.computed.is_empty());
        assert!(item.record.computed.iter().all(|span| span.from >= before && span.to <= now()));
        assert_eq!(item.record.waited, None);
    }

    #[test]
    fn it_waits_at_least_as_long_as_it_is_to_wait() {
        let io = Duration::from_millis(2);
        for wait_as_a_task in [false, true] {
            let mut item = item(io, Duration::ZERO);
            if wait_as_a_task {
                popleft::run(item.wait_as_a_task());
            } else {
                item.wait();
            }
            let waited = item.record.waited.unwrap();
            assert!(waited.to - waited.from >= io);
        }
    }

    #[test]
    fn nothing_to_wait_for_and_nothing_to_compute_leaves_no_trace() {
        let mut item = item(Duration::ZERO, Duration::ZERO);
        item.wait();
        popleft::run(item.wait_as_a_task());
        item.compute();
        assert_eq!(item.record, Record::default());
    }

    #[test]
    fn an_item_that_is_interrupted_has_computed_in_several_pieces() {
        let mut item = item(Duration::ZERO, Duration::from_millis(3));
        let mut steps = 0;
        item.compute_and(|| {
            steps += 1;
            if steps == 40 {
                thread::sleep(AWAY * 2);
            }
        });
        assert!(item.record.computed.len() >= 2);
        let computed = &item.record.computed;
        assert!(computed.windows(2).all(|two| two[1].from - two[0].to > AWAY));
    }
}
