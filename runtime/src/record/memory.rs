//! A recording in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::packed::Block;
use super::{Entry, Header, JsonLines, Sink};
use crate::base::event::Event as Emitted;

/// Keeps entries in memory: all of them, or only the last ones. Clones share their entries, so that
/// one can be given to a runtime and the other read.
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
    buffer: Rc<RefCell<Buffer>>,
}

#[derive(Debug)]
struct Buffer {
    header: Option<Header>,
    /// The blocks that are full, oldest first.
    full: VecDeque<Block>,
    /// How many entries are in the full blocks.
    in_full: usize,
    newest: Block,
    most: usize,
}

impl Memory {
    /// Keeps everything, as long as there is memory. An entry takes about 16 bytes.
    pub fn all() -> Memory {
        Memory::with(usize::MAX)
    }

    /// Keeps the last `most` entries, in memory that is used again and again. 0 counts as 1.
    pub fn last(most: usize) -> Memory {
        Memory::with(most.max(1))
    }

    fn with(most: usize) -> Memory {
        let (header, full, in_full) = Default::default();
        let buffer = Buffer { header, full, in_full, newest: Block::new(), most };
        Memory { buffer: Rc::new(RefCell::new(buffer)) }
    }

    /// What has been recorded so far, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let buffer = self.buffer.borrow();
        let all = buffer.in_full + buffer.newest.len();
        let blocks = buffer.full.iter().chain([&buffer.newest]);
        blocks.flat_map(Block::entries).skip(all.saturating_sub(buffer.most)).collect()
    }

    /// The header; `None` before a runtime has been built with this.
    pub fn header(&self) -> Option<Header> {
        self.buffer.borrow().header.clone()
    }

    /// Forgets all entries, not the header.
    pub fn clear(&self) {
        let buffer = &mut *self.buffer.borrow_mut();
        buffer.full.clear();
        buffer.in_full = 0;
        buffer.newest = Block::new();
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

impl Memory {
    pub(super) fn begin_with(&self, header: &Header) {
        self.buffer.borrow_mut().header = Some(header.clone());
    }

    /// As [`Sink::record`], but the entry is never made.
    pub(super) fn keep(&self, seq: u64, t: Duration, event: &Emitted, start: Instant) {
        self.buffer.borrow_mut().block().push(seq, t, event, start);
    }
}

impl Sink for Memory {
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        self.begin_with(header);
        Ok(())
    }

    fn record(&mut self, entry: Entry) -> io::Result<()> {
        self.buffer.borrow_mut().block().push_whole(entry);
        Ok(())
    }
}

impl Buffer {
    /// A block in which there is room.
    #[inline]
    fn block(&mut self) -> &mut Block {
        if self.newest.is_full() {
            self.begin_block();
        }
        &mut self.newest
    }

    /// The next block is the oldest one again, if enough entries are kept without it.
    #[cold]
    fn begin_block(&mut self) {
        self.in_full += self.newest.len();
        let can_reuse = |oldest: &Block| self.in_full - oldest.len() >= self.most;
        let oldest =
            if self.full.front().is_some_and(can_reuse) { self.full.pop_front() } else { None };
        let next = match oldest {
            Some(oldest) => {
                self.in_full -= oldest.len();
                oldest
            }
            None => Block::new(),
        };
        let next = next.begin_after(&self.newest);
        self.full.push_back(std::mem::replace(&mut self.newest, next));
    }
}
