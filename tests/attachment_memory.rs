//! An attachment takes the same memory whatever its size. In a process of its own: the heap is measured.
//!
//! 256 MiB here; 10 GiB by `cargo run --release --example attachment -- measure 10GiB`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use std::io::{self, Read};

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use peak_alloc::PeakAlloc;
use subrosa::{AttachmentReader, AttachmentSealer, AttachmentWriter};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What is written; a quarter of it is read, as that takes three times as long.
const SIZE: u64 = 256 << 20;
const READ: u64 = SIZE / 4;
const MIB: usize = 1 << 20;

/// The file of an attachment, made while it is read.
struct Generated {
    sealer: AttachmentSealer,
    content: io::Take<io::Repeat>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for Generated {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            let Some(len) = self.sealer.next_len() else { return Ok(0) };
            self.chunk.clear();
            self.content.by_ref().take(len as u64).read_to_end(&mut self.chunk)?;
            self.sealer.seal(&mut self.chunk)?;
            self.read = 0;
        }
        let len = (&self.chunk[self.read..]).read(out)?;
        self.read += len;
        Ok(len)
    }
}

#[test]
fn the_same_memory_at_any_size() {
    let content = |size| io::repeat(0x5a).take(size);
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let mut writer = AttachmentWriter::new(io::sink(), SIZE).unwrap();
    io::copy(&mut content(SIZE), &mut writer).unwrap();
    writer.finish().unwrap();
    let writing = HEAP.peak_usage() - before;
    let most = if cfg!(feature = "rayon") { MIB } else { 66 * 1024 };
    assert!(writing < most, "writing: {writing} bytes");
    assert!(writing > 60_000, "it is not measured");

    // Twice with the same key: the descriptor is there after the first time.
    let sealer = || AttachmentSealer::new_with_rng(&mut ChaCha20Rng::from_seed([3; 32]), READ).unwrap();
    let (mut first, again) = (sealer(), sealer());
    let commitment = *again.commitment();
    let mut chunk = Vec::new();
    let mut source = content(READ);
    while let Some(len) = first.next_len() {
        chunk.clear();
        source.by_ref().take(len as u64).read_to_end(&mut chunk).unwrap();
        first.seal(&mut chunk).unwrap();
    }
    let descriptor = first.finish().unwrap();
    let generated = Generated { sealer: again, content: content(READ), chunk: Vec::new(), read: 0 };
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let mut reader = AttachmentReader::new(commitment[..].chain(generated), &descriptor).unwrap();
    assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), READ);
    // Without what makes the file.
    let reading = HEAP.peak_usage() - before - 64 * 1024;
    let most = if cfg!(feature = "rayon") { MIB } else { 128 * 1024 };
    assert!(reading < most, "reading: {reading} bytes");
}
