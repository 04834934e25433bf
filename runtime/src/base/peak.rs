//! Giving memory back after a peak.
//!
//! Tables grow with what a program does at once and would keep that memory for ever. Before the
//! loop sleeps, when there is time, a table that is nearly empty is shrunk.

use std::cell::Cell;

use slab::Slab;

/// Capacity for this many entries is never given back.
pub(crate) const KEPT: usize = 4096;

/// Whether a table of this capacity has grown for a peak that is over.
pub(crate) fn is_over(len: usize, capacity: usize) -> bool {
    capacity > KEPT && len < capacity / 4
}

/// Shrinks one slab after its peaks.
///
/// Rows cannot move, so only what is behind the last used row can be given back, and finding that
/// row takes time. After a try that gained nothing, the next one waits until half of the rows that
/// were used then are free.
#[derive(Default)]
pub(crate) struct PeakOfSlab {
    /// Used rows and capacity after the last try.
    last_try: Cell<(usize, usize)>,
}

impl PeakOfSlab {
    /// Gives back the memory of a peak that is over.
    pub(crate) fn give_back<T>(&self, slab: &mut Slab<T>) {
        if !is_over(slab.len(), slab.capacity()) {
            return;
        }
        let (used, capacity) = self.last_try.get();
        if slab.capacity() == capacity && slab.len() > used / 2 {
            return;
        }
        slab.shrink_to_fit();
        let missing = KEPT.saturating_sub(slab.capacity());
        slab.reserve_exact(slab.capacity() - slab.len() + missing);
        self.last_try.set((slab.len(), slab.capacity()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_gives_back_what_lies_behind_its_last_used_row() {
        let (mut slab, peak) = (Slab::new(), PeakOfSlab::default());
        for row in 0..100_000 {
            slab.insert(row);
        }
        peak.give_back(&mut slab);
        assert!(slab.capacity() >= 100_000, "it is full");
        slab.retain(|row, _| row < 10 || row == 50_000);
        peak.give_back(&mut slab);
        assert!((50_001..60_000).contains(&slab.capacity()), "{}", slab.capacity());
        assert_eq!(slab[50_000], 50_000);
        slab.remove(50_000);
        slab.retain(|row, _| row < 5);
        peak.give_back(&mut slab);
        assert!(slab.capacity() <= 2 * KEPT, "{}", slab.capacity());
        assert_eq!(slab.len(), 5);
    }

    #[test]
    fn a_small_slab_is_left_alone() {
        let (mut slab, peak) = (Slab::<u8>::with_capacity(KEPT), PeakOfSlab::default());
        peak.give_back(&mut slab);
        assert!(slab.capacity() >= KEPT);
    }
}
