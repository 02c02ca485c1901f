//! Large buffers.

/// `len` zeros, written and not asked of the system. `vec![0; len]` asks for zeroed memory, for which jemalloc gives large
/// buffers back and takes fresh pages: a page fault for every 4 KiB of every read.
#[allow(clippy::slow_vector_initialization, reason = "what it suggests is what this avoids")]
pub fn zeroed(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    // Or the compiler makes the two one again.
    std::hint::black_box(&mut bytes);
    bytes.resize(len, 0);
    bytes
}
