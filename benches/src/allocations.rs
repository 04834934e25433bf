//! Counts allocations, on request.
//!
//! While nothing is counted, an allocation costs one load and one branch more than the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, with counters.
pub struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[inline]
fn count(allocations: u64, bytes: i64) {
    if COUNTING.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        BYTES.fetch_add(bytes, Relaxed);
    }
}

/// What has been allocated since counting began, by all threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocated {
    /// How often something was allocated or grown.
    pub times: u64,
    /// How many bytes are in use more than when counting began.
    pub bytes: i64,
}

/// Counts from now on.
pub fn start_counting() {
    COUNTING.store(true, Relaxed);
}

/// What has been counted so far.
pub fn allocated() -> Allocated {
    Allocated { times: ALLOCATIONS.load(Relaxed), bytes: BYTES.load(Relaxed) }
}
