//! A recording as JSON Lines.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{Entry, Event, Header, Sink};

/// How many bytes are gathered before they are written.
const BLOCK: usize = 64 * 1024;

/// Writes one JSON object a line: the header, then the entries.
///
/// Lines are gathered and written in blocks, and before each sleep of the loop: a program that reads
/// along has everything while the loop sleeps. A program that is killed loses what it gathered since.
///
/// ```no_run
/// use popleft::record::JsonLines;
///
/// let file = JsonLines::create("run.jsonl")?;
/// popleft::Runtime::builder().record(file).build()?.block_on(async {});
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    gathered: Vec<u8>,
    writer: W,
}

impl JsonLines<File> {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    ///
    /// When it cannot be opened for writing.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        File::create(path).map(JsonLines::new)
    }
}

impl<W: Write> JsonLines<W> {
    /// Writes to `writer`, which need not be buffered.
    pub fn new(writer: W) -> Self {
        JsonLines { gathered: Vec::with_capacity(BLOCK), writer }
    }

    fn add_line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.gathered, line)?;
        self.gathered.push(b'\n');
        if self.gathered.len() < BLOCK { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.writer.write_all(&self.gathered);
        self.gathered.clear();
        written?;
        self.writer.flush()
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.add_line(header)?;
        self.write()
    }

    fn record(&mut self, entry: Entry) -> io::Result<()> {
        self.add_line(&entry)?;
        match entry.event {
            Event::Wait { at_most } if at_most != Some(Duration::ZERO) => self.write(),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.write()
    }
}
