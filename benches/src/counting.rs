//! An allocator that counts what is asked of it, for the programs that install it; `time` does
//! not, so that counting is no part of what is timed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static FREED: Cell<u64> = const { Cell::new(0) };
}

/// Counts, and asks the system's allocator.
pub struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator. The counters are plain
// cells without a destructor, so that touching them allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        freed(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        freed(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(size: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    BYTES.set(BYTES.get() + size as u64);
}

fn freed(size: usize) {
    FREED.set(FREED.get() + size as u64);
}

/// What was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// How often.
    pub times: u64,
    /// How much, freed or not.
    pub bytes: u64,
}

/// Counts what this thread allocates in `work`.
pub fn allocated(work: impl FnOnce()) -> Allocated {
    let (times, bytes) = (ALLOCATIONS.get(), BYTES.get());
    work();
    Allocated {
        times: ALLOCATIONS.get() - times,
        bytes: BYTES.get() - bytes,
    }
}

/// Counts the bytes that this thread allocates in `work` and that are still there after it, in what
/// it returns or elsewhere.
pub fn held<R>(work: impl FnOnce() -> R) -> u64 {
    let freed_before = FREED.get();
    let mut kept = None;
    let allocated = allocated(|| kept = Some(work()));
    let held = allocated.bytes - (FREED.get() - freed_before);
    drop(kept);
    held
}
