//! How much memory is in use: the system's allocator, with a count of the bytes that were asked
//! of it and not given back. What the allocator adds to round up is not in the count; what other
//! parts of the process free meanwhile does not blur it, as it blurs the resident size.
//!
//! Counting is on only around what is measured, so that no other row pays for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static IN_USE: AtomicI64 = AtomicI64::new(0);

struct Counting;

fn count(bytes: usize, sign: i64) {
    if ON.load(Ordering::Relaxed) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        IN_USE.fetch_add(sign * bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator as it came; counting touches no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How many more bytes are in use after `work` than before, with what it returned.
pub(crate) fn growth<T>(work: impl FnOnce() -> T) -> (T, i64) {
    IN_USE.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
    let returned = work();
    ON.store(false, Ordering::Relaxed);
    (returned, IN_USE.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_and_what_is_freed_is_not() {
        let (kept, bytes) = growth(|| {
            drop(vec![1_u8; 4096]);
            vec![1_u8; 1000]
        });
        assert!(kept.len() == 1000);
        // Other tests of this process may allocate at the same time.
        assert!((1000..1000 + 64 * 1024).contains(&bytes), "{bytes}");
    }
}
