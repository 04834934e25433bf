//! The words of 32 bits into which an event is packed, and from which it is unpacked.

/// The most words that one event takes.
pub(super) const LONGEST: usize = 8;

/// The words of one event. The first one holds its kind and up to three small numbers.
pub(super) struct Packing {
    head: [u8; 4],
    smalls: usize,
    words: [u32; LONGEST],
    length: usize,
}

impl Packing {
    #[inline]
    pub(super) fn new(kind: u8, after: u32) -> Packing {
        let mut words = [0; LONGEST];
        words[1] = after;
        Packing { head: [kind, 0, 0, 0], smalls: 0, words, length: 2 }
    }

    /// Adds a word.
    #[inline]
    pub(super) fn put(&mut self, word: u32) {
        self.words[self.length] = word;
        self.length += 1;
    }

    /// Adds a number of at most eight bits to the first word.
    #[inline]
    pub(super) fn put_small(&mut self, small: u8) {
        self.smalls += 1;
        self.head[self.smalls] = small;
    }

    /// How many words there are.
    #[inline]
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// All of them, and whatever is behind them.
    #[inline]
    pub(super) fn words(&self) -> [u32; LONGEST] {
        let mut words = self.words;
        words[0] = u32::from_le_bytes(self.head);
        words
    }
}

/// The words that are still to be unpacked.
pub(super) struct Unpacking<'a> {
    words: std::slice::Iter<'a, u32>,
    /// The small numbers of the event that is being unpacked.
    smalls: std::array::IntoIter<u8, 3>,
}

impl<'a> Unpacking<'a> {
    pub(super) fn new(words: &'a [u32]) -> Self {
        Unpacking { words: words.iter(), smalls: [0; 3].into_iter() }
    }

    /// Begins the next event: its kind, and the nanoseconds since the event before it.
    pub(super) fn begin(&mut self) -> (u8, u32) {
        let [kind, smalls @ ..] = self.word().to_le_bytes();
        self.smalls = smalls.into_iter();
        (kind, self.word())
    }

    /// The next word of this event.
    pub(super) fn word(&mut self) -> u32 {
        *self.words.next().expect("an entry is packed whole or not at all")
    }

    /// The next small number of this event.
    pub(super) fn small(&mut self) -> u8 {
        self.smalls.next().expect("an entry is packed whole or not at all")
    }
}
