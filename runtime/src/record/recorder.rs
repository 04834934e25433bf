//! The listener that records.

use std::cell::Cell;
use std::io;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use super::{Entry, Event, Header, trace};
use crate::event::{self, Listener};
use crate::event_loop::EventLoop;

/// Where a recording goes: [`Memory`](super::Memory), [`JsonLines`](super::JsonLines), or whatever
/// implements this.
///
/// All calls come on the loop's own thread. What a sink does itself is not recorded. An error ends
/// this recording: it is printed on standard error, the sink is dropped, and the program goes on.
/// So does a panic.
pub trait Sink {
    /// The recording begins: this comes before the first entry.
    ///
    /// # Errors
    ///
    /// When the sink can take nothing.
    fn begin(&mut self, header: &Header) -> io::Result<()>;

    /// The next event.
    ///
    /// # Errors
    ///
    /// When the sink can take no more.
    fn record(&mut self, entry: Entry) -> io::Result<()>;

    /// The runtime is gone; nothing follows. Does nothing unless the sink says otherwise.
    ///
    /// # Errors
    ///
    /// When the sink cannot keep what it took.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One runtime's recording.
struct Recorder {
    event_loop: Rc<EventLoop>,
    start: Instant,
    next: Cell<u64>,
    /// Taken out while one of them is called.
    sinks: Cell<Vec<Box<dyn Sink>>>,
}

/// What a runtime is listened to with: `told` if it was given one, the sinks, and a trace if one is
/// wanted of the whole program.
pub(crate) fn listener(
    told: Option<Listener>,
    mut sinks: Vec<Box<dyn Sink>>,
    polls_between_looks: u32,
    event_loop: &Rc<EventLoop>,
) -> Option<Listener> {
    sinks.extend(trace::next());
    if sinks.is_empty() {
        return told;
    }
    let header = Header::new(&event_loop.name, polls_between_looks);
    sinks.retain_mut(|sink| goes_on(sink.begin(&header)));
    let recorder = Recorder {
        event_loop: event_loop.clone(),
        start: event_loop.now(),
        next: Cell::new(0),
        sinks: Cell::new(sinks),
    };
    Some(match told {
        None => Rc::new(move |event| recorder.record(event)),
        Some(told) => Rc::new(move |event| {
            recorder.record(event);
            told(event);
        }),
    })
}

impl Recorder {
    /// The one place where an event gets its number and its time.
    fn record(&self, event: &event::Event) {
        let mut sinks = self.sinks.take();
        if sinks.is_empty() {
            return;
        }
        let seq = self.next.get();
        self.next.set(seq + 1);
        let t = self.event_loop.now().saturating_duration_since(self.start);
        let entry = Entry { seq, t, event: Event::keep(event, self.start) };
        match &mut sinks[..] {
            // Nearly always: it is given the entry itself.
            [only] => {
                if !goes_on(only.record(entry)) {
                    sinks.clear();
                }
            }
            _ => sinks.retain_mut(|sink| goes_on(sink.record(entry.clone()))),
        }
        self.sinks.set(sinks);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for mut sink in self.sinks.take() {
            goes_on(sink.end());
        }
    }
}

#[inline]
fn goes_on(result: io::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            complain(&format!("the recording has ended: {error}"));
            false
        }
    }
}

#[cold]
pub(super) fn complain(what: &str) {
    // If standard error is gone there is nobody to tell.
    let _ = io::stderr().write_all(format!("popleft: {what}\n").as_bytes());
}
