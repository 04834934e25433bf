//! What a recording goes to.

use std::any::Any;
use std::io;
use std::io::Write as _;

use super::{Entry, Header, Memory};

/// Where a recording goes: [`Memory`](super::Memory), [`JsonLines`](super::JsonLines), or whatever
/// implements this.
///
/// All calls come on the loop's own thread. What a sink does itself is not recorded. An error ends
/// this recording: it is printed on standard error and the sink is dropped, without
/// [`end`](Sink::end). The program and other sinks go on. The same holds for a panic in any of these
/// calls, also in the one that drops the sink: it goes no further.
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

/// What a recording goes to.
pub(crate) enum Target {
    /// Called directly: it never fails, it may be called at any time, and here every nanosecond counts.
    Memory(Memory),
    Sink(Box<dyn Sink>),
}

impl Target {
    pub(crate) fn of(sink: impl Sink + 'static) -> Target {
        match (&sink as &dyn Any).downcast_ref::<Memory>() {
            Some(memory) => Target::Memory(memory.clone()),
            None => Target::Sink(Box::new(sink)),
        }
    }
}

#[cold]
pub(super) fn warn(what: &str) {
    // If standard error is gone, there is no place to warn in.
    let _ = io::stderr().write_all(format!("popleft: {what}\n").as_bytes());
}
