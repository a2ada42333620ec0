//! How much memory is in use: the system's allocator, with a count of the bytes that were asked
//! of it and not given back. What the allocator adds to round up is not in the count; what other
//! parts of the process free meanwhile does not blur it, as it blurs the resident size.
//!
//! Each thread counts for itself, and only around what is measured: no other row pays for it, and
//! what other threads allocate or free meanwhile is not in the count.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// The bytes in use on this thread's account, while it counts.
    static IN_USE: Cell<Option<i64>> = const { Cell::new(None) };
}

struct Counting;

fn count(bytes: usize, sign: i64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    IN_USE.set(IN_USE.get().map(|in_use| in_use + sign * bytes));
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

/// How many more bytes are in use after `work` than before, with what it returned. What `work` has
/// other threads do is not counted.
pub(crate) fn growth<T>(work: impl FnOnce() -> T) -> (T, i64) {
    IN_USE.set(Some(0));
    let returned = work();
    let in_use = IN_USE.take();
    (returned, in_use.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    #[test]
    fn what_is_kept_is_counted_and_what_is_freed_is_not() {
        let (kept, bytes) = growth(|| {
            drop(vec![1_u8; 4096]);
            vec![1_u8; 1000]
        });
        assert!(kept.len() == 1000);
        assert_eq!(bytes, 1000);
    }

    #[test]
    fn what_another_thread_frees_is_not_counted() {
        let both = Arc::new(Barrier::new(2));
        let (held, theirs) = (vec![1_u8; 4096], Arc::clone(&both));
        let other = thread::spawn(move || {
            theirs.wait();
            drop(held);
            theirs.wait();
        });
        let (kept, bytes) = growth(|| {
            both.wait();
            both.wait();
            vec![1_u8; 1000]
        });
        other.join().expect("ended");
        assert!(kept.len() == 1000);
        assert_eq!(bytes, 1000);
    }
}
