//! A recording in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::{Entry, Header, JsonLines, Sink};

/// Keeps entries in memory: all of them, or the last so many. Clones share what they keep, so that
/// one can be given to a runtime and the other asked.
///
/// ```
/// use popleft::record::Memory;
///
/// let memory = Memory::last(3);
/// let runtime = popleft::Runtime::builder().record(memory.clone()).build().unwrap();
/// runtime.block_on(async {});
/// assert_eq!(memory.entries().len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    kept: Rc<RefCell<Kept>>,
}

#[derive(Debug)]
struct Kept {
    header: Option<Header>,
    entries: VecDeque<Entry>,
    most: usize,
}

impl Memory {
    /// Keeps everything, as long as there is memory.
    pub fn all() -> Memory {
        Memory::with(VecDeque::new(), usize::MAX)
    }

    /// Keeps the last `most` entries, in memory that is taken now. 0 counts as 1.
    pub fn last(most: usize) -> Memory {
        let most = most.max(1);
        Memory::with(VecDeque::with_capacity(most), most)
    }

    fn with(entries: VecDeque<Entry>, most: usize) -> Memory {
        Memory { kept: Rc::new(RefCell::new(Kept { header: None, entries, most })) }
    }

    /// What has been recorded so far, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept.borrow().entries.iter().cloned().collect()
    }

    /// The header; `None` before a runtime has been built with this.
    pub fn header(&self) -> Option<Header> {
        self.kept.borrow().header.clone()
    }

    /// Forgets all entries, not the header.
    pub fn clear(&self) {
        self.kept.borrow_mut().entries.clear();
    }

    /// Writes what has been recorded so far, as the file that [`JsonLines`] would have written.
    ///
    /// # Errors
    ///
    /// When `writer` fails, and when there is no header yet.
    pub fn write_to(&self, writer: impl io::Write) -> io::Result<()> {
        let Some(header) = self.header() else {
            return Err(io::Error::other("nothing has been recorded: there is no header"));
        };
        let mut lines = JsonLines::new(writer);
        lines.begin(&header)?;
        for entry in self.entries() {
            lines.record(entry)?;
        }
        lines.end()
    }
}

impl Sink for Memory {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.kept.borrow_mut().header = Some(header.clone());
        Ok(())
    }

    fn record(&mut self, entry: Entry) -> io::Result<()> {
        let kept = &mut *self.kept.borrow_mut();
        if kept.entries.len() == kept.most {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
        Ok(())
    }
}
