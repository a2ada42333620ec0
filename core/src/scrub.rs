//! Wiping of what calls leave on the stack.
//!
//! What is in a heap's block is wiped by its type. A function's locals are not: ciphers, hashes and
//! other people's types copy keys there, and the bytes stay until a later call happens to cover
//! them. So work that copies a secret runs one frame down, and what lies below is overwritten when
//! it is back.
//!
//! It does not reach registers, nor what other threads did; and it is of use only where the work's
//! result holds no secret by itself.

/// How much of the stack is overwritten: more than the ciphers, hashes and handshakes that are
/// wrapped take, in a build without optimisations too. It costs about a microsecond.
const DEPTH: usize = 32 * 1024;

/// Does some work, and wipes what it left on the stack.
pub(crate) fn wiping<T>(work: impl FnOnce() -> T) -> T {
    let done = below(work);
    wipe();
    done
}

/// The work's locals are in this frame or deeper, never in the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    let mut room = [0_u8; DEPTH];
    // As if they were read, so that the compiler writes the zeroes.
    std::hint::black_box(&mut room);
}
