//! A run as a thing: every event of it with its number and its time, kept in memory or in a file,
//! and read back.
//!
//! What the machine emits ([`event`](crate::event)) is for this moment and this thread: its places
//! point into the program, its times come from a clock that means nothing elsewhere. An [`Entry`]
//! holds the same event with types that last: tasks are numbers, times count from the beginning of the
//! recording, places are files and lines. A recording is a [`Header`] and then entries, whether a
//! [`Sink`] has just been given them or [`read`] has found them in a file.
//!
//! Three ways to record:
//!
//! - [`Builder::record`](crate::Builder::record) gives a runtime a sink: [`Memory`], [`JsonLines`],
//!   or one of your own.
//! - The environment variable `POPLEFT_TRACE=FILE` records every runtime of any program, unchanged.
//!   `%p` in FILE becomes the number of the process, so that a program and those that it starts have
//!   a file each. Without it a child does not write over what its parent records: it says so, and
//!   takes FILE.1234, where 1234 is its number.
//! - [`record_all`] does the same from inside a program; the demos' `--trace FILE` is this.
//!
//! A recording that cannot be written any further (the disk is full, the pipe is closed) ends with
//! one line on standard error. The program goes on.
//!
//! # Recording into a pipe
//!
//! A recording may go into a named pipe (`mkfifo`), to a program that reads along. A pipe is opened
//! when both sides are there: the program that records waits for the reader when its first runtime is
//! made, before it listens or prints anything. And a reader that stalls stops the loop, once the pipe
//! is full: what is recorded is not thrown away, so a program can record no faster than the reader reads. A
//! reader that goes away ends the recording, and the program goes on.
//!
//! Nothing of this exists in a program that was built with `--cfg popleft_bare`: a sink is given
//! its header, and then nothing.
//!
//! ```
//! use popleft::record::{Event, Memory};
//!
//! let memory = Memory::all();
//! let runtime = popleft::Runtime::builder().record(memory.clone()).build().unwrap();
//! runtime.block_on(popleft::yield_now());
//! drop(runtime);
//!
//! let polls = memory.entries().iter().filter(|entry| matches!(entry.event, Event::Poll { .. })).count();
//! assert_eq!(polls, 2);
//! ```

mod entry;
mod json_lines;
mod kinds;
mod memory;
mod packed;
mod read;
mod recorder;
mod sink;
mod trace;
mod words;

pub use entry::{Cause, Entry, Event, Header, Place, Unknown};
pub use json_lines::JsonLines;
pub use memory::Memory;
pub use read::{ReadError, Reader, read};
pub use sink::Sink;
pub use trace::record_all;

pub(crate) use recorder::listener;
pub(crate) use sink::Target;

/// The JSON Schema of the lines of a recording, the header's as well as the entries'.
pub const SCHEMA: &str = include_str!("schema.json");
