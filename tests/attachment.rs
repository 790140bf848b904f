//! Attachments by the public API: what goes in comes out, and nothing that was altered does.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use std::{
    io::{self, Cursor, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use subrosa::{
    AttachmentDescriptor, AttachmentError, AttachmentOpener, AttachmentReader, AttachmentSealer,
    AttachmentWriter, MAX_ATTACHMENT_LEN,
};

/// The chunks' contents end here, and every 65,520 bytes after it.
const FIRST: usize = 65_488;
const CHUNK: usize = 65_536;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * i / 7 + i / 251) as u8).collect()
}

fn sealed(content: &[u8]) -> (Vec<u8>, AttachmentDescriptor) {
    let mut file = Vec::new();
    let mut writer = AttachmentWriter::new(&mut file, content.len() as u64).unwrap();
    writer.write_all(content).unwrap();
    let descriptor = writer.finish().unwrap();
    (file, descriptor)
}

/// What is read until the end or an error, and the error.
fn read(file: &[u8], descriptor: &AttachmentDescriptor) -> (Vec<u8>, Option<AttachmentError>) {
    let mut read = Vec::new();
    let result = AttachmentReader::new(file, descriptor).and_then(|mut reader| reader.read_to_end(&mut read));
    (read, result.err().map(|error| AttachmentError::of(&error).unwrap()))
}

#[test]
fn what_goes_in_comes_out() {
    let sizes = [
        0,
        1,
        4096,
        4097,
        FIRST - 1,
        FIRST,
        FIRST + 1,
        FIRST + CHUNK - 16,
        FIRST + CHUNK - 15,
        600_000,
        1 << 20,
    ];
    for size in sizes {
        let content = content(size);
        let (file, descriptor) = sealed(&content);
        assert_eq!(descriptor.size(), size as u64);
        assert_eq!(descriptor.file_len(), file.len() as u64);
        assert_eq!(descriptor.digest(), blake3::hash(&file).as_bytes(), "what b3sum prints");
        let (read, error) = read(&file, &descriptor);
        assert!(read == content && error.is_none(), "{size}: {error:?}");
        let descriptor = AttachmentDescriptor::from_bytes(&descriptor.to_bytes()).unwrap();
        assert!(self::read(&file, &descriptor).0 == content);
    }
}

/// It is the STREAM construction: the crate `aead-stream`, given the same keys, gives the same chunks.
#[test]
fn chunks_are_those_of_aead_stream() {
    use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit};

    let content = content(200_000);
    let (file, descriptor) = sealed(&content);
    let key = &descriptor.to_bytes()[1..33];
    let info =
        [&b"Subrosa/1 attachment\0"[..], &200_000_u64.to_be_bytes(), &65_536_u32.to_be_bytes()].concat();
    let mut derived = [0; 71];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(&[0; 32]), key).expand(&info, &mut derived).unwrap();
    assert_eq!(file[..32], derived[39..]);
    let cipher = ChaCha20Poly1305::new_from_slice(&derived[..32]).unwrap();
    let stream = StreamBE32::from_aead(cipher, derived[32..39].try_into().unwrap());
    for chunk in 0..descriptor.chunks() {
        let (place, of) = (descriptor.file_range(chunk), descriptor.content_range(chunk));
        let mut expected = content[of.start as usize..of.end as usize].to_vec();
        expected.resize((place.end - place.start) as usize - 16, 0);
        let last = chunk + 1 == descriptor.chunks();
        stream.encrypt_in_place(chunk as u32, last, b"", &mut expected).unwrap();
        assert!(expected == file[place.start as usize..place.end as usize], "{chunk}");
    }
}

/// Content that compresses well gives files as long as content that does not, and both hide what is within a bucket.
#[test]
fn a24_length_says_nothing_but_the_bucket() {
    for size in [1000, 100_000, 1_000_000] {
        let (zeros, _) = sealed(&vec![0; size]);
        let (noise, _) = sealed(&content(size));
        assert_eq!(zeros.len(), noise.len());
        assert_ne!(zeros[32..64], [0; 32]);
    }
    let lens: Vec<_> = [0, 1, 100, 4096].map(|size| sealed(&content(size)).0.len()).to_vec();
    assert_eq!(lens, [4144; 4]);
    assert_eq!(sealed(&content(1_000_001)).0.len(), sealed(&content(1_015_808)).0.len());
    // Nothing in two files of the same content is the same.
    let (one, other) = (sealed(&content(5000)).0, sealed(&content(5000)).0);
    assert!(one.chunks(16).zip(other.chunks(16)).all(|(one, other)| one != other));
}

#[test]
fn a23_cut_extended_reordered_and_swapped() {
    let content = content(400_000);
    let (file, descriptor) = sealed(&content);
    let (other, other_descriptor) = sealed(&content);
    assert_eq!(descriptor.chunks(), 7);
    let ends: Vec<_> = (0..7).map(|chunk| descriptor.file_range(chunk).end as usize).collect();
    let contents: Vec<_> = (0..7).map(|chunk| descriptor.content_range(chunk).end as usize).collect();
    assert!(contents[5] < content.len(), "the last chunk has content");
    // What is given is the content of the chunks before, no byte more.
    let fails = |file: &[u8], error: AttachmentError, chunk: usize| {
        let (read, failed) = read(file, &descriptor);
        assert_eq!(failed, Some(error));
        let before = if chunk == 0 { 0 } else { contents[chunk - 1] };
        assert!(read == content[..before], "{error:?}: {} bytes", read.len());
    };
    for (chunk, end) in ends.iter().enumerate() {
        let truncated = AttachmentError::Truncated { chunk: chunk as u64 };
        let begins = if chunk == 0 { 32 } else { ends[chunk - 1] };
        for cut in [begins, begins + 1, (begins + end) / 2, end - 16, end - 1] {
            fails(&file[..cut], truncated, chunk);
        }
    }
    for cut in 0..32 {
        fails(&file[..cut], AttachmentError::Truncated { chunk: 0 }, 0);
    }
    // Extended: by a byte, by one of its own chunks, by another file. All is read before that shows: the last chunk is kept.
    let last = &file[ends[5]..];
    for more in [&[0][..], last, &other] {
        fails(&[&file[..], more].concat(), AttachmentError::Extended { chunk: 7 }, 6);
    }
    let chunk = |i: usize| file[if i == 0 { 32 } else { ends[i - 1] }..ends[i]].to_vec();
    // Two in each other's place, one twice, one left out, the last one earlier.
    for (order, wrong) in [
        (&[0, 2, 1, 3, 4, 5, 6][..], 1),
        (&[0, 1, 2, 3, 5, 4, 6], 4),
        (&[0, 1, 1, 2, 3, 4, 5, 6], 2),
        (&[0, 1, 3, 4, 5, 6], 2),
        (&[0, 1, 2, 6], 3),
    ] {
        let chunks: Vec<_> = order.iter().map(|i| chunk(*i)).collect();
        let (_, failed) = read(&[&file[..32], &chunks.concat()].concat(), &descriptor);
        let chunk = wrong as u64;
        // A last chunk that comes early may also end the file too soon.
        let truncated = AttachmentError::Truncated { chunk };
        assert!(
            failed == Some(AttachmentError::Altered { chunk }) || failed == Some(truncated),
            "{failed:?}"
        );
    }
    // A chunk of another file, at the same place: of the same content, of the same size.
    for i in 0..7 {
        let begins = if i == 0 { 32 } else { ends[i - 1] };
        let swapped = [&file[..begins], &other[begins..ends[i]], &file[ends[i]..]].concat();
        fails(&swapped, AttachmentError::Altered { chunk: i as u64 }, i);
    }
    // The whole other file, or its descriptor.
    fails(&other, AttachmentError::WrongKey, 0);
    assert_eq!(read(&file, &other_descriptor).1, Some(AttachmentError::WrongKey));
    fails(&[], AttachmentError::Truncated { chunk: 0 }, 0);
}

/// A descriptor that was altered is of no file.
#[test]
fn a22_the_descriptor_names_one_file() {
    let (file, descriptor) = sealed(&content(100_000));
    let bytes = descriptor.to_bytes();
    let altered = |position: usize| {
        let mut bytes = bytes.clone();
        bytes[position] ^= 1;
        read(&file, &AttachmentDescriptor::from_bytes(&bytes).unwrap())
    };
    for position in [1, 32, 40] {
        // The key, and the size (also if the file is as long as before): before anything is read.
        assert_eq!(altered(position), (vec![], Some(AttachmentError::WrongKey)));
    }
    for position in [41, 72] {
        // The digest: everything but the last chunk was given.
        let (read, error) = altered(position);
        assert_eq!((read.len(), error), (FIRST, Some(AttachmentError::WrongDigest)));
    }
}

/// Who knows the key makes a second file under it, every chunk of which is authentic.
#[test]
fn a22_two_files_under_one_key() {
    let content = content(300_000);
    let (file, descriptor) = sealed(&content);
    let key: [u8; 32] = descriptor.to_bytes()[1..33].try_into().unwrap();
    let mut lie = content.clone();
    lie[290_000] ^= 1;
    let mut fixed = Fixed(key);
    let mut sealer = AttachmentSealer::new_with_rng(&mut fixed, 300_000).unwrap();
    let mut other = sealer.commitment().to_vec();
    let mut rest = &lie[..];
    while let Some(len) = sealer.next_len() {
        let mut chunk = rest[..len].to_vec();
        rest = &rest[len..];
        sealer.seal(&mut chunk).unwrap();
        other.extend(chunk);
    }
    assert_eq!(file[..65_536], other[..65_536], "the same key");
    assert!(read(&other, &sealer.finish().unwrap()) == (lie, None));
    let last = (descriptor.chunk_at(299_999), AttachmentError::WrongDigest);
    let (given, error) = read(&other, &descriptor);
    assert_eq!((given.len() as u64, error), (descriptor.content_range(last.0).start, Some(last.1)));
    // Chunk by chunk, too.
    let mut opener = AttachmentOpener::new(&descriptor, &other[..32]).unwrap();
    for number in 0..descriptor.chunks() {
        let place = descriptor.file_range(number);
        let mut chunk = other[place.start as usize..place.end as usize].to_vec();
        let result = opener.open(&mut chunk);
        if number + 1 == descriptor.chunks() {
            assert_eq!((result, chunk.len()), (Err(AttachmentError::WrongDigest), 0));
        } else {
            assert_eq!(result, Ok(()));
        }
    }
}

/// Always the same bytes.
struct Fixed([u8; 32]);

impl rand::TryRng for Fixed {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.0[..out.len()]);
        Ok(())
    }
}

impl rand::TryCryptoRng for Fixed {}

/// Chunks of which a padding byte is not zero do not open: else the size that a descriptor says would choose the content.
#[test]
fn a22_nothing_is_hidden_in_the_padding() {
    use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

    let (mut file, descriptor) = sealed(&content(100));
    let info = [&b"Subrosa/1 attachment\0"[..], &100_u64.to_be_bytes(), &65_536_u32.to_be_bytes()].concat();
    let mut derived = [0; 71];
    let key = &descriptor.to_bytes()[1..33];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(&[0; 32]), key).expand(&info, &mut derived).unwrap();
    let nonce: [u8; 12] = [&derived[32..39], &[0, 0, 0, 0, 1]].concat().try_into().unwrap();
    let cipher = ChaCha20Poly1305::new_from_slice(&derived[..32]).unwrap();
    let mut hidden = content(100);
    hidden.resize(4096, 0);
    hidden[4000] = 1;
    let tag = cipher.encrypt_inout_detached(&nonce.into(), b"", hidden.as_mut_slice().into()).unwrap();
    file.truncate(32);
    file.extend(hidden.into_iter().chain(tag));
    let mut bytes = descriptor.to_bytes();
    bytes[41..73].copy_from_slice(blake3::hash(&file).as_bytes());
    let lie = AttachmentDescriptor::from_bytes(&bytes).unwrap();
    assert_eq!(read(&file, &lie), (vec![], Some(AttachmentError::Altered { chunk: 0 })));
}

#[test]
fn chunk_by_chunk_in_any_order() {
    let content = content(250_000);
    let (file, descriptor) = sealed(&content);
    let place = |chunk: u64| {
        let place = descriptor.file_range(chunk);
        file[place.start as usize..place.end as usize].to_vec()
    };
    assert_eq!(AttachmentOpener::new(&descriptor, &file[1..33]).unwrap_err(), AttachmentError::WrongKey);
    assert_eq!(AttachmentOpener::new(&descriptor, &file[..31]).unwrap_err(), AttachmentError::WrongKey);
    let mut opener = AttachmentOpener::new(&descriptor, &file[..32]).unwrap();
    for number in (0..descriptor.chunks()).rev() {
        let mut chunk = place(number);
        let of = descriptor.content_range(number);
        opener.open_at(number, &mut chunk).unwrap();
        assert!(chunk == content[of.start as usize..of.end as usize]);
        let mut elsewhere = place(number);
        let wrong = (number + 1) % descriptor.chunks();
        assert!(opener.open_at(wrong, &mut elsewhere).is_err());
        assert!(elsewhere == place(number), "unchanged");
    }
    // Refused, then the right one.
    for mut wrong in [vec![], vec![0; 65_504], vec![0; 65_503], vec![0; 1 << 20], place(1)] {
        let before = wrong.clone();
        assert!(opener.open(&mut wrong).is_err());
        assert!(wrong == before);
    }
    for number in 0..descriptor.chunks() {
        opener.open(&mut place(number)).unwrap();
    }
    let extended = AttachmentError::Extended { chunk: descriptor.chunks() };
    assert_eq!(opener.open(&mut place(0)), Err(extended));
    assert_eq!(opener.open_at(u64::MAX, &mut place(0)), Err(AttachmentError::Extended { chunk: u64::MAX }));
}

struct NoGenerator;

impl rand::TryRng for NoGenerator {
    type Error = std::fmt::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Err(std::fmt::Error)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Err(std::fmt::Error)
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(std::fmt::Error)
    }
}

impl rand::TryCryptoRng for NoGenerator {}

#[test]
fn without_randomness_there_is_no_key() {
    let refused = AttachmentSealer::new_with_rng(&mut NoGenerator, 100);
    assert_eq!(refused.err(), Some(AttachmentError::NoRandomness));
}

#[test]
fn sealing_takes_what_was_said() {
    assert_eq!(AttachmentSealer::new(MAX_ATTACHMENT_LEN + 1).unwrap_err(), AttachmentError::TooLarge);
    assert_eq!(AttachmentSealer::new(u64::MAX).unwrap_err(), AttachmentError::TooLarge);
    let mut sealer = AttachmentSealer::new(70_000).unwrap();
    for len in [0, FIRST - 1, FIRST + 1, 1 << 20] {
        assert_eq!(sealer.seal(&mut vec![1; len]), Err(AttachmentError::WrongSize));
    }
    sealer.seal(&mut vec![1; FIRST]).unwrap();
    assert_eq!(sealer.finish().unwrap_err(), AttachmentError::WrongSize);

    let of = |result: io::Result<AttachmentDescriptor>| AttachmentError::of(&result.unwrap_err());
    for (size, written) in [(100_000, 99_999), (100_000, 0), (FIRST, FIRST - 1), (1, 0), (1 << 17, 1 << 16)] {
        let mut writer = AttachmentWriter::new(io::sink(), size as u64).unwrap();
        writer.write_all(&content(written)).unwrap();
        assert_eq!(of(writer.finish()), Some(AttachmentError::WrongSize));
    }
    for size in [0, 1, FIRST, FIRST + 1, 1 << 17] {
        let mut writer = AttachmentWriter::new(io::sink(), size as u64).unwrap();
        let error = writer.write_all(&content(size + 1)).unwrap_err();
        assert_eq!(AttachmentError::of(&error), Some(AttachmentError::WrongSize), "{size}");
        // What is too much was not taken.
        assert_eq!(writer.finish().unwrap().size(), size as u64);
    }
}

#[test]
fn a_part_costs_its_chunks() {
    let content = content(5_000_000);
    let (file, descriptor) = sealed(&content);
    let counted = Arc::new(Mutex::new(0));
    // It need not stand at the beginning of the source.
    let mut source = Counting { inner: Cursor::new([&[9; 1000][..], &file].concat()), read: counted.clone() };
    source.seek(SeekFrom::Start(1000)).unwrap();
    let mut reader = AttachmentReader::new(&mut source, &descriptor).unwrap();
    assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), 5_000_000);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::Start(6_000_000)).unwrap(), 6_000_000);
    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
    for begin in [4_999_000, 0, 70_000, 65_487, 3_000_000, 2_999_000, 4_999_999, 65_488] {
        *counted.lock().unwrap() = 0;
        reader.seek(SeekFrom::Start(begin)).unwrap();
        let mut part = Vec::new();
        reader.by_ref().take(900).read_to_end(&mut part).unwrap();
        let begin = begin as usize;
        assert!(part == content[begin..(begin + 900).min(content.len())], "{begin}");
        // The chunks that it is in; several more if they are worked on together. No padding.
        let chunks = if cfg!(feature = "rayon") { 12 } else { 2 };
        assert!(*counted.lock().unwrap() <= chunks * CHUNK, "{begin}: {}", counted.lock().unwrap());
    }
    assert!(reader.seek(SeekFrom::Current(-9_000_000)).is_err());
    // From the beginning again: then the digest counts again.
    reader.rewind().unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    assert!(all == content);
}

/// A file altered in the middle: the parts beside it can be read; what is read there fails, and again.
#[test]
fn a23_damage_stays_where_it_is() {
    let content = content(1_000_000);
    let (mut file, descriptor) = sealed(&content);
    file[500_000] ^= 0x80;
    let chunk = 7;
    assert!(descriptor.file_range(chunk).contains(&500_000));
    let mut reader = AttachmentReader::new(Cursor::new(&file), &descriptor).unwrap();
    let mut read = Vec::new();
    for _ in 0..3 {
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert_eq!(AttachmentError::of(&error), Some(AttachmentError::Altered { chunk }));
        assert_eq!(read.len() as u64, descriptor.content_range(chunk).start);
    }
    let behind = descriptor.content_range(chunk).end;
    reader.seek(SeekFrom::Start(behind)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == content[behind as usize..]);
    reader.seek(SeekFrom::Start(behind - 1)).unwrap();
    assert!(reader.read(&mut [0]).is_err());
}

struct Counting<S> {
    inner: S,
    read: Arc<Mutex<usize>>,
}

impl<S: Read> Read for Counting<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        *self.read.lock().unwrap() += read;
        Ok(read)
    }
}

impl<S: Seek> Seek for Counting<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn uploads_and_downloads_are_taken_up_again() {
    for size in [0, 100, FIRST, 131_072, 1_000_000, 1_040_000] {
        let content = content(size);
        let (file, descriptor) = sealed(&content);
        for chunk in 0..descriptor.chunks() {
            let place = descriptor.file_range(chunk);
            let mut again = Vec::new();
            let mut kept = Cursor::new([&b"before"[..], &content].concat());
            kept.set_position(6);
            descriptor.reseal(&mut kept, chunk, &mut again).unwrap();
            let from = if chunk == 0 { 0 } else { place.start as usize };
            assert!(again == file[from..], "{size} {chunk}");

            let have = &content[..descriptor.content_range(chunk).start as usize];
            let source = &file[place.start as usize..];
            let mut rest = Vec::new();
            let mut reader = AttachmentReader::resume(source, &descriptor, chunk, &content[..]).unwrap();
            reader.read_to_end(&mut rest).unwrap();
            assert!(rest == content[have.len()..], "{size} {chunk}");
            if !have.is_empty() && !rest.is_empty() {
                // What is kept is not what was read; or not all of it.
                let mut kept = have.to_vec();
                kept[have.len() / 2] ^= 1;
                let mut reader = AttachmentReader::resume(source, &descriptor, chunk, &kept[..]).unwrap();
                let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
                assert_eq!(AttachmentError::of(&error), Some(AttachmentError::WrongDigest));
                let error = AttachmentReader::resume(source, &descriptor, chunk, &have[1..]).unwrap_err();
                assert_eq!(AttachmentError::of(&error), Some(AttachmentError::WrongSize));
            }
        }
        let beyond = descriptor.chunks();
        assert!(descriptor.reseal(Cursor::new(&content), beyond, io::sink()).is_err());
        assert!(AttachmentReader::resume(&[][..], &descriptor, beyond, &content[..]).is_err());
    }
}

/// Sealing other content under the same key would reveal both: nothing is written.
#[test]
fn changed_content_is_not_sealed_again() {
    let content = content(200_000);
    let (_, descriptor) = sealed(&content);
    let mut changed = content.clone();
    changed[199_999] ^= 1;
    for other in [&changed[..], &content[1..], &content[..199_999], &[&content[..], &[0]].concat(), &[]] {
        for chunk in [0, 1, descriptor.chunks() - 1] {
            let mut written = Vec::new();
            let error = descriptor.reseal(Cursor::new(other), chunk, &mut written).unwrap_err();
            assert_eq!(AttachmentError::of(&error), Some(AttachmentError::ContentChanged));
            assert!(written.is_empty());
        }
    }
}

#[test]
fn errors_of_source_and_destination_stay() {
    struct Failing(usize);
    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(AttachmentWriter::new(Failing(0), 1).is_err());
    let mut writer = AttachmentWriter::new(Failing(1), 2_000_000).unwrap();
    assert_eq!(writer.write_all(&content(2_000_000)).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(writer.write_all(&[0]).is_err());
    assert!(writer.finish().is_err());

    let (file, descriptor) = sealed(&content(100_000));
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    let source = file[..70_000].chain(Broken(Some(broken)));
    let mut reader = AttachmentReader::new(source, &descriptor).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!((error.kind(), AttachmentError::of(&error)), (io::ErrorKind::ConnectionReset, None));
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
}

/// A source that fails once, in the middle of a chunk: it can be sought and read on from.
#[test]
fn a_source_that_failed_is_sought_again() {
    struct Once<S>(S, usize);
    impl<S: Read> Read for Once<S> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                self.1 = usize::MAX;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let len = out.len().min(self.1);
            let read = self.0.read(&mut out[..len])?;
            self.1 -= read;
            Ok(read)
        }
    }
    impl<S: Seek> Seek for Once<S> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let content = content(1_000_000);
    let (file, descriptor) = sealed(&content);
    let mut reader = AttachmentReader::new(Once(Cursor::new(&file), 300_000), &descriptor).unwrap();
    let mut read = Vec::new();
    assert_eq!(reader.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(reader.read(&mut [0]).is_err(), "until it is sought");
    reader.seek(SeekFrom::Start(read.len() as u64)).unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == content);
}

struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// What is done never exceeds what there is, grows, and ends there.
#[test]
fn progress() {
    let content = content(1_000_000);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |seen: &Arc<Mutex<Vec<(u64, u64)>>>| {
        let seen = Arc::clone(seen);
        move |done, of| seen.lock().unwrap().push((done, of))
    };
    let check = |seen: &Mutex<Vec<(u64, u64)>>| {
        let mut seen = seen.lock().unwrap();
        assert!(seen.len() > 1 && seen.iter().all(|(_, of)| *of == 1_000_000));
        assert!(seen.windows(2).all(|two| two[0].0 <= two[1].0));
        assert_eq!(seen.last(), Some(&(1_000_000, 1_000_000)));
        seen.clear();
    };
    let mut file = Vec::new();
    let mut writer = AttachmentWriter::new(&mut file, 1_000_000).unwrap().on_progress(note(&seen));
    assert_eq!(writer.file_len(), 1_015_808 + 32 + 16 * 16);
    writer.write_all(&content).unwrap();
    let descriptor = writer.finish().unwrap();
    check(&seen);
    let mut reader = AttachmentReader::new(&file[..], &descriptor).unwrap().on_progress(note(&seen));
    io::copy(&mut reader, &mut io::sink()).unwrap();
    check(&seen);
}

#[test]
fn a26_nothing_of_the_key_is_shown() {
    let (file, descriptor) = sealed(b"secret");
    let reader = AttachmentReader::new(&file[..], &descriptor).unwrap();
    let writer = AttachmentWriter::new(io::sink(), 7).unwrap();
    let opener = AttachmentOpener::new(&descriptor, &file[..32]).unwrap();
    let sealer = AttachmentSealer::new(5).unwrap();
    let shown = format!("{descriptor:?} {reader:?} {writer:?} {opener:?} {sealer:?}");
    let expected = "AttachmentDescriptor { 6 bytes } AttachmentReader { opener: AttachmentOpener { chunk 0 of 1 }, .. } \
                    AttachmentWriter { sealer: AttachmentSealer { chunk 0 of 1 }, .. } \
                    AttachmentOpener { chunk 0 of 1 } AttachmentSealer { chunk 0 of 1 }";
    assert_eq!(shown, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However it is written and read.
    #[test]
    fn any_pieces(
        size in prop_oneof![0..10_000_usize, 0..400_000_usize],
        pieces in prop::collection::vec(1..100_000_usize, 1..8),
    ) {
        let content = content(size);
        let mut file = Vec::new();
        let mut writer = AttachmentWriter::new(&mut file, size as u64).unwrap();
        let (mut rest, mut lens) = (&content[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let len = rest.len().min(*lens.next().unwrap());
            writer.write_all(&rest[..len]).unwrap();
            rest = &rest[len..];
        }
        let descriptor = writer.finish().unwrap();
        let mut reader = AttachmentReader::new(Dribble(&file, false), &descriptor).unwrap();
        let mut read = vec![0; size];
        let mut rest = &mut read[..];
        while !rest.is_empty() {
            let len = rest.len().min(*lens.next().unwrap());
            let (head, behind) = rest.split_at_mut(len);
            reader.read_exact(head).unwrap();
            rest = behind;
        }
        prop_assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        prop_assert!(read == content);
    }

    /// One altered byte: nothing of its chunk is given, nor of any behind it.
    #[test]
    fn a23_altered_byte(size in 0..300_000_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let content = content(size);
        let (mut file, descriptor) = sealed(&content);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        let (read, error) = read(&file, &descriptor);
        if at < 32 {
            prop_assert_eq!((read.len(), error), (0, Some(AttachmentError::WrongKey)));
        } else {
            let chunk = (at / CHUNK) as u64;
            prop_assert_eq!(error, Some(AttachmentError::Altered { chunk }));
            // If it is padding that was altered, the last chunk with content is held back.
            let shown = chunk.min(descriptor.chunk_at(size.saturating_sub(1) as u64));
            prop_assert!(read == content[..descriptor.content_range(shown).start as usize]);
        }
    }
}

/// Gives a few bytes at a time, and is interrupted.
struct Dribble<'a>(&'a [u8], bool);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = out.len().min(30_011);
        self.0.read(&mut out[..len])
    }
}

/// What was written so far is for the destination to keep; the file is none the other for it.
#[test]
fn flushing_reaches_the_destination() {
    #[derive(Default)]
    struct Flushed(Vec<u8>, usize);
    impl Write for Flushed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1 += 1;
            if self.1 == 3 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
    let (content, mut file) = (content(100_000), Flushed::default());
    let mut writer = AttachmentWriter::new(&mut file, 100_000).unwrap();
    let mut flushed = Vec::new();
    for part in content.chunks(40_000) {
        writer.write_all(part).unwrap();
        flushed.push(writer.flush().err().map(|error| error.kind()));
    }
    assert_eq!(flushed, [None, None, Some(io::ErrorKind::StorageFull)]);
    let descriptor = writer.finish().unwrap();
    assert!(read(&file.0, &descriptor).0 == content);
}

/// To seal again reads all of the content first: if that fails, it is said how, and nothing is written.
#[test]
fn content_that_cannot_be_read_is_not_sealed_again() {
    struct Fails(Cursor<Vec<u8>>);
    impl Read for Fails {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = out.len().min(10_000);
            if self.0.position() > 50_000 {
                Err(io::ErrorKind::TimedOut.into())
            } else {
                self.0.read(&mut out[..len])
            }
        }
    }
    impl Seek for Fails {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let content = content(100_000);
    let (_, descriptor) = sealed(&content);
    let mut written = Vec::new();
    let error = descriptor.reseal(Fails(Cursor::new(content)), 1, &mut written).unwrap_err();
    assert_eq!((error.kind(), AttachmentError::of(&error)), (io::ErrorKind::TimedOut, None));
    assert!(written.is_empty());
}

/// As an error of reading and writing it has a kind that says so much, and is there to be had back.
#[test]
fn errors_have_kinds() {
    use AttachmentError as A;
    use io::ErrorKind as K;
    for (error, kind) in [
        (A::WrongKey, K::InvalidData),
        (A::Truncated { chunk: 7 }, K::UnexpectedEof),
        (A::Extended { chunk: 7 }, K::InvalidData),
        (A::Altered { chunk: 7 }, K::InvalidData),
        (A::WrongDigest, K::InvalidData),
        (A::WrongSize, K::InvalidInput),
        (A::TooLarge, K::InvalidInput),
        (A::ContentChanged, K::InvalidInput),
        (A::NoRandomness, K::Other),
    ] {
        let text = error.to_string();
        assert_eq!(
            text.contains('7'),
            matches!(error, A::Truncated { .. } | A::Extended { .. } | A::Altered { .. })
        );
        let error_of_io = io::Error::from(error);
        assert_eq!((error_of_io.kind(), AttachmentError::of(&error_of_io)), (kind, Some(error)));
        assert_eq!(error_of_io.to_string(), text);
    }
}
