//! Attachments against the bare AEAD over the same bytes, in one run: `cargo bench --bench attachment`, and once more
//! with `--features rayon`, which spreads the writer and the reader over the cores.
//!
//! Measured in turn, many times, and the least of each is shown: on a machine that does other things as well, the one that
//! was disturbed least.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that panics is a bench that fails"
)]

use std::{
    hint::black_box,
    io::{self, Read, Write},
    time::Instant,
};

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use subrosa::{AttachmentDescriptor, AttachmentOpener, AttachmentReader, AttachmentSealer, AttachmentWriter};

const SIZE: usize = 16 << 20;
const CHUNK: usize = 64 * 1024;
const ROUNDS: usize = 40;

/// The floor: no padding, no digest, no copy.
fn bare(content: &mut [u8]) {
    let cipher = ChaCha20Poly1305::new(&[7; 32].into());
    for (number, chunk) in (0_u32..).zip(content.chunks_mut(CHUNK)) {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        black_box(cipher.encrypt_inout_detached(&nonce.into(), b"", chunk.into()).unwrap());
    }
}

/// The same, and what everything does that has a source and a destination: the content is copied into a buffer.
fn bare_stream(content: &[u8], buffer: &mut Vec<u8>) {
    for chunk in content.chunks(CHUNK) {
        buffer.clear();
        buffer.extend_from_slice(chunk);
        bare(black_box(buffer));
    }
}

/// Chunk by chunk, in place.
fn seal(content: &[u8], chunk: &mut Vec<u8>) -> AttachmentDescriptor {
    let mut sealer = AttachmentSealer::new(content.len() as u64).unwrap();
    while let Some(len) = sealer.next_len() {
        chunk.resize(len, 0x5a);
        sealer.seal(black_box(chunk)).unwrap();
    }
    sealer.finish().unwrap()
}

fn write(content: &[u8], file: impl Write) -> AttachmentDescriptor {
    let mut writer = AttachmentWriter::new(file, content.len() as u64).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn open(file: &[u8], descriptor: &AttachmentDescriptor, chunk: &mut Vec<u8>) {
    let mut opener = AttachmentOpener::new(descriptor, &file[..32]).unwrap();
    for number in 0..descriptor.chunks() {
        let place = descriptor.file_range(number);
        chunk.clear();
        chunk.extend_from_slice(&file[place.start as usize..place.end as usize]);
        opener.open(black_box(chunk)).unwrap();
    }
}

fn read(file: &[u8], descriptor: &AttachmentDescriptor) {
    let mut piece = vec![0; CHUNK];
    let mut reader = AttachmentReader::new(file, descriptor).unwrap();
    while reader.read(&mut piece).unwrap() > 0 {
        black_box(&piece);
    }
}

fn ratios() {
    let content = vec![0x5a; SIZE];
    let (mut file, mut floor, mut chunk) = (Vec::new(), content.clone(), Vec::new());
    let descriptor = write(&content, &mut file);
    let names = [
        "bare AEAD in place",
        "bare AEAD, stream",
        "sealer, in place",
        "writer, to a sink",
        "opener",
        "reader",
    ];
    let mut least = [f64::MAX; 6];
    for _ in 0..ROUNDS {
        let mut next = least.iter_mut();
        let mut time = |work: &mut dyn FnMut()| {
            let began = Instant::now();
            work();
            let least = next.next().unwrap();
            *least = least.min(began.elapsed().as_secs_f64());
        };
        time(&mut || bare(&mut floor));
        time(&mut || bare_stream(&content, &mut chunk));
        time(&mut || drop(seal(&content, &mut chunk)));
        time(&mut || drop(write(&content, io::sink())));
        time(&mut || open(&file, &descriptor, &mut chunk));
        time(&mut || read(&file, &descriptor));
    }
    println!("\n16 MiB, least of {ROUNDS} |  MB/s | of the AEAD in place | of the AEAD on a stream");
    for (name, seconds) in names.iter().zip(least) {
        let speed = SIZE as f64 / seconds / 1e6;
        println!("{name:24} | {speed:5.0} | {:.2} | {:.2}", least[0] / seconds, least[1] / seconds);
    }
}

fn throughput(c: &mut Criterion) {
    let mut group = c.benchmark_group("attachment");
    for size in [10_000, 1 << 20] {
        let content = vec![0x5a; size];
        let mut file = Vec::new();
        let descriptor = write(&content, &mut file);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("write", size), |b| b.iter(|| write(&content, io::sink())));
        group.bench_function(BenchmarkId::new("read", size), |b| b.iter(|| read(&file, &descriptor)));
    }
}

criterion_group!(benches, throughput);

fn main() {
    benches();
    if std::env::args().any(|argument| argument == "--bench") {
        ratios();
    }
}
