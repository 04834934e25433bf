//! The listener that records.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::entry::since;
use super::sink::{Sink, Target, warn};
use super::{Entry, Event, Header, Memory, trace};
use crate::base::event::{Event as Emitted, Listener};
use crate::base::panics::catch_and_report;
use crate::event_loop::EventLoop;
use crate::task::Id;

/// One runtime's recording.
struct Recorder {
    event_loop: Rc<EventLoop>,
    start: Instant,
    next: Cell<u64>,
    /// The time of the last event.
    last: Cell<Duration>,
    /// The task whose turn ended with the last event, if one did.
    parked: Cell<Option<Id>>,
    memories: Vec<Memory>,
    /// Taken out while one of them is called.
    sinks: Cell<Vec<Box<dyn Sink>>>,
    /// Whether one of them still takes entries.
    has_sinks: Cell<bool>,
}

/// The listener of a runtime: `other` if it was given one, the targets, and a trace if the whole
/// program is traced.
pub(crate) fn listener(
    other: Option<Listener>,
    mut targets: Vec<Target>,
    polls_between_looks: u32,
    event_loop: &Rc<EventLoop>,
) -> Option<Listener> {
    targets.extend(trace::next());
    if targets.is_empty() {
        return other;
    }
    let header = Header::new(&event_loop.name, polls_between_looks);
    let (mut memories, mut sinks) = (Vec::new(), Vec::new());
    for target in targets {
        match target {
            Target::Memory(memory) => {
                memory.begin_with(&header);
                memories.push(memory);
            }
            Target::Sink(mut sink) => {
                if call_sink(|| sink.begin(&header)) {
                    sinks.push(sink);
                } else {
                    catch_and_report(|| drop(sink));
                }
            }
        }
    }
    let recorder = Recorder {
        event_loop: event_loop.clone(),
        start: event_loop.clock.now(),
        next: Cell::new(0),
        last: Cell::default(),
        parked: Cell::default(),
        memories,
        has_sinks: Cell::new(!sinks.is_empty()),
        sinks: Cell::new(sinks),
    };
    Some(match other {
        None => Rc::new(move |event| recorder.record(event)),
        Some(other) => Rc::new(move |event| {
            recorder.record(event);
            other(event);
        }),
    })
}

impl Recorder {
    /// The one place where an event gets its number and its time.
    fn record(&self, event: &Emitted) {
        if self.memories.is_empty() && !self.has_sinks.get() {
            return;
        }
        let seq = self.next.replace(self.next.get() + 1);
        let t = self.time_of(event);
        for memory in &self.memories {
            memory.keep(seq, t, event, self.start);
        }
        if self.has_sinks.get() {
            self.give(seq, t, event);
        }
    }

    #[inline(never)]
    fn give(&self, seq: u64, t: Duration, event: &Emitted) {
        let mut sinks = self.sinks.take();
        let mut entry = Some(Entry { seq, t, event: Event::keep(event, self.start) });
        let mut at = 0;
        while at < sinks.len() {
            // The last one, nearly always the only one, is given the entry itself.
            let is_last = at + 1 == sinks.len();
            let given = if is_last { entry.take() } else { entry.clone() };
            let Some(given) = given else { break };
            if call_sink(|| sinks[at].record(given)) {
                at += 1;
            } else {
                let broken = sinks.remove(at);
                catch_and_report(|| drop(broken));
            }
        }
        self.has_sinks.set(!sinks.is_empty());
        self.sinks.set(sinks);
    }

    /// Reads the clock, unless the event is one step with the one before: a task that yields parks
    /// and is woken, and nothing lies between.
    fn time_of(&self, event: &Emitted) -> Duration {
        let parked = self.parked.take();
        match *event {
            Emitted::Wake { task, .. } if parked == Some(task) => return self.last.get(),
            Emitted::Pending { task, .. } => self.parked.set(Some(task)),
            _ => {}
        }
        let t = since(self.start, self.event_loop.clock.now());
        self.last.set(t);
        t
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for mut sink in self.sinks.take() {
            call_sink(|| sink.end());
            catch_and_report(|| drop(sink));
        }
    }
}

/// Calls a sink, which is foreign code. False when its recording has ended with that.
#[inline]
fn call_sink(call: impl FnOnce() -> io::Result<()>) -> bool {
    let mut goes_on = false;
    // A foreign error may panic as well, while it is printed.
    catch_and_report(|| goes_on = call().map_err(report_sink_error).is_ok());
    goes_on
}

#[cold]
fn report_sink_error(error: io::Error) {
    warn(&format!("the recording has ended: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;
    use crate::base::world::tests::CLOCK_READS;
    use crate::yield_now;

    const YIELDS: usize = 100;

    /// How often the clock is read while a task yields.
    fn reads(builder: crate::Builder) -> usize {
        let runtime = builder.build().unwrap();
        let before = CLOCK_READS.get();
        runtime.block_on(async {
            for _ in 0..YIELDS {
                yield_now().await;
            }
        });
        CLOCK_READS.get() - before
    }

    #[test]
    fn the_clock_is_read_for_every_event_but_the_wake_of_a_yield() {
        let memory = Memory::all();
        let for_events =
            reads(Runtime::builder().record(memory.clone())) - reads(Runtime::builder());
        assert_eq!(for_events, memory.entries().len() - YIELDS);
    }
}
