//! A recording read back.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::{Entry, Header};

/// No line of a recording is longer: what is longer is something else, and is not read to its end.
const LONGEST_LINE: u64 = 1024 * 1024;

/// How many characters of what is wrong with a line are reported.
const LONGEST_REASON: usize = 160;

/// Opens a recording.
///
/// # Errors
///
/// When the file cannot be read, and when it is not a recording of the version that this library
/// knows.
///
/// ```no_run
/// for entry in popleft::record::read("run.jsonl")? {
///     let entry = entry?;
///     println!("{} {:?} {:?}", entry.seq, entry.t, entry.event);
/// }
/// # Ok::<(), popleft::record::ReadError>(())
/// ```
pub fn read(path: impl AsRef<Path>) -> Result<Reader<BufReader<File>>, ReadError> {
    let file = File::open(path).map_err(ReadError::Io)?;
    Reader::new(BufReader::new(file))
}

/// The entries of a recording, one line at a time: a recording may be larger than memory.
///
/// Its last line may be incomplete, if the program was killed while it wrote: then the entries
/// before it are all there are, and [`is_cut`](Reader::is_cut) says so. A line in between that is
/// not an entry is an error, the last thing that comes out.
#[derive(Debug)]
pub struct Reader<R> {
    lines: R,
    header: Header,
    line: Vec<u8>,
    /// How many lines have been read.
    number: u64,
    is_cut: bool,
    is_over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads a recording's header; the entries follow.
    ///
    /// # Errors
    ///
    /// As [`read`].
    pub fn new(mut lines: R) -> Result<Self, ReadError> {
        let mut line = Vec::new();
        next_line(&mut lines, &mut line, 1)?;
        let header = header(&line)?;
        Ok(Reader { lines, header, line, number: 1, is_cut: false, is_over: false })
    }

    /// What the recording says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the last line was incomplete, and has been left out. Known when the entries are
    /// over.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        self.line.clear();
        self.number += 1;
        next_line(&mut self.lines, &mut self.line, self.number)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&self.line) {
            Ok(entry) => Ok(Some(entry)),
            Err(_) if !self.line.ends_with(b"\n") => {
                self.is_cut = true;
                Ok(None)
            }
            Err(error) => Err(ReadError::NotAnEntry { line: self.number, why: reason(&error) }),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_entry().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The next line with its end, if it has one; nothing at the end of the file.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<(), ReadError> {
    let length = lines.take(LONGEST_LINE).read_until(b'\n', line).map_err(ReadError::Io)?;
    if length as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
        let why = format!("it is longer than {LONGEST_LINE} bytes");
        return Err(ReadError::NotAnEntry { line: number, why });
    }
    Ok(())
}

fn header(line: &[u8]) -> Result<Header, ReadError> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
        return Err(ReadError::NotARecording);
    };
    if fields.get("format").and_then(Value::as_str) != Some(Header::FORMAT) {
        return Err(ReadError::NotARecording);
    }
    // The version first: a header of another one may look different otherwise too.
    match fields.get("version").and_then(Value::as_u64) {
        Some(Header::VERSION) => serde_json::from_value(Value::Object(fields))
            .map_err(|error| ReadError::NotAnEntry { line: 1, why: reason(&error) }),
        Some(found) => Err(ReadError::Version { found }),
        None => Err(ReadError::NotARecording),
    }
}

/// What the parser says, without its own count of lines, of which it always sees one. It quotes
/// what it found, which may be as long as the line: the beginning is enough to find it by.
fn reason(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    if let Some((end, _)) = text.char_indices().nth(LONGEST_REASON) {
        text.truncate(end);
        text.push_str("..");
    }
    text
}

/// Why a recording, or the rest of one, cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be read.
    Io(io::Error),
    /// The first line is not the header of a recording.
    NotARecording,
    /// It was recorded by another version of the library, in a format that this one does not know.
    Version {
        /// The version of the format.
        found: u64,
    },
    /// A line is not an entry.
    NotAnEntry {
        /// Its number in the file; the header is line 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "cannot read the recording: {error}"),
            ReadError::NotARecording => write!(
                f,
                "this is not a recording: its first line must be a header with \
                 \"format\":\"{}\" and a \"version\"",
                Header::FORMAT
            ),
            ReadError::Version { found } => write!(
                f,
                "this recording has version {found}, and only version {} can be read here",
                Header::VERSION
            ),
            ReadError::NotAnEntry { line, why } => write!(f, "line {line}: {why}"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ReadError::Io(error) => Some(error),
            _ => None,
        }
    }
}
