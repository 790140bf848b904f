//! Files of attachments. A descriptor says how long a file is, up to 2^47 bytes, and its sender may have made a file of
//! which the beginning is genuine.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use subrosa::{
    AttachmentDescriptor, AttachmentOpener, AttachmentReader, AttachmentSealer, MAX_ATTACHMENT_LEN,
};

use crate::{Meter, common::seeded, forgeries::forgeries};

/// The beginning of a file of this size: commitment and so many chunks, and its descriptor, but for the digest.
fn begun(size: u64, chunks: usize) -> (Vec<u8>, AttachmentDescriptor) {
    let mut sealer = AttachmentSealer::new_with_rng(&mut seeded(1), size).unwrap();
    let mut file = sealer.commitment().to_vec();
    for _ in 0..chunks {
        let mut chunk = vec![7; sealer.next_len().unwrap()];
        sealer.seal(&mut chunk).unwrap();
        file.append(&mut chunk);
    }
    let mut key = [0; 32];
    rand::Rng::fill_bytes(&mut seeded(1), &mut key);
    let fields =
        [&[0x71][..], &key, &size.to_be_bytes(), &[8; 32], &65_536_u32.to_be_bytes(), b"\x03a/b", &[0; 5]];
    (file, AttachmentDescriptor::from_bytes(&fields.concat()).unwrap())
}

/// Reads all that there is, through a buffer of the caller's.
fn read(file: impl Read, descriptor: &AttachmentDescriptor) -> io::Result<u64> {
    io::copy(&mut AttachmentReader::new(file, descriptor)?, &mut io::sink())
}

#[test]
fn a25_files_that_are_not_what_they_say() {
    let mut meter = Meter::new("AttachmentReader");
    for size in [0, 1, 70_000, 1 << 30, MAX_ATTACHMENT_LEN] {
        let (file, descriptor) = begun(size, if size > 70_000 { 2 } else { 1 });
        forgeries(&file, &mut |file| meter.check(file.len(), || read(file, &descriptor)));
    }
    let (file, descriptor) = begun(MAX_ATTACHMENT_LEN, 2);
    assert!(read(&file[..], &descriptor).is_err());
    let opened = |chunk: u64| file[descriptor.file_range(chunk).start as usize..][..65_536].to_vec();
    assert_eq!(AttachmentReader::new(&file[..], &descriptor).unwrap().read(&mut [0; 9]).unwrap(), 9);
    let mut meter = Meter::new("AttachmentReader::seek");
    for to in [0, 1, 65_488, 1 << 40, MAX_ATTACHMENT_LEN - 1, MAX_ATTACHMENT_LEN, u64::MAX] {
        meter.check(file.len(), || {
            let mut reader = AttachmentReader::new(Cursor::new(&file), &descriptor)?;
            reader.seek(SeekFrom::Start(to))?;
            reader.read(&mut [0; 100])
        });
    }
    let mut meter = Meter::new("AttachmentReader::resume");
    for chunk in [0, 1, 1 << 20, descriptor.chunks() - 1, descriptor.chunks(), u64::MAX] {
        for content in [&b""[..], &[7; 100_000]] {
            let given = file.len() + content.len();
            meter.check(given, || {
                let mut reader = AttachmentReader::resume(&file[..], &descriptor, chunk, content)?;
                io::copy(&mut reader, &mut io::sink())
            });
        }
    }
    let mut meter = Meter::new("AttachmentDescriptor::reseal");
    meter.check(100_000, || descriptor.reseal(Cursor::new(vec![7; 50_000]), 1, io::sink()));
    let mut meter = Meter::new("AttachmentOpener");
    meter.strangers(&file[..32], |bytes| AttachmentOpener::new(&descriptor, bytes));
    let opener = || AttachmentOpener::new(&descriptor, &file[..32]).unwrap();
    forgeries(&opened(1), &mut |bytes| {
        let mut chunk = bytes.to_vec();
        for number in [0, 1, u64::MAX] {
            meter.check(bytes.len(), || opener().open_at(number, &mut chunk));
        }
        meter.check(bytes.len(), || opener().open(&mut chunk));
    });
}
