//! Two contents in one file: a chunk that the AEAD opens under two keys (Dodis, Grubbs, Ristenpart, Woodage: "Fast Message
//! Franking", 2018, where the content is a picture of a salamander that nobody but one recipient sees).

use alloc::vec::Vec;
use std::io::{self, Read};

use super::{
    AttachmentDescriptor, AttachmentError, AttachmentOpener, AttachmentReader, chunks::Keys, layout::Layout,
};
use crate::crypto::{aead::collision, digest::Tree, secret::Secret};

/// As long as its padding makes it: there are no zeros that would have to come out under both keys.
const SIZE: usize = 4096;

fn read(file: &[u8], descriptor: &AttachmentDescriptor) -> Result<Vec<u8>, AttachmentError> {
    let to_error = |error: io::Error| *error.get_ref().unwrap().downcast_ref::<AttachmentError>().unwrap();
    let mut content = Vec::new();
    let mut reader = AttachmentReader::new(file, descriptor).map_err(to_error)?;
    reader.read_to_end(&mut content).map_err(to_error)?;
    Ok(content)
}

/// The chunk is authentic under both keys and the digest is that of the file. The commitment is what names one of them.
#[test]
fn a22_a_chunk_that_opens_under_two_keys() {
    let layout = Layout::new(SIZE as u64).unwrap();
    let secrets = [[1; 32], [2; 32]];
    let keys = secrets.map(|key| Keys::new(&Secret::new(key), layout));
    let mut chunk = vec![0x5a; SIZE + 16];
    let tag = (0_u64..).find_map(|attempt| {
        assert!(attempt < 1_000);
        chunk[..8].copy_from_slice(&attempt.to_be_bytes());
        let [a, b] = keys.each_ref().map(|keys| keys.for_chunk(0));
        collision::under_two_keys([(a.0, &a.1), (b.0, &b.1)], &[], &mut chunk[..SIZE], SIZE - 16)
    });
    chunk[SIZE..].copy_from_slice(&tag.unwrap());
    let contents = keys.each_ref().map(|keys| {
        let mut content = chunk.clone();
        keys.open(0, &mut content).unwrap();
        content.truncate(SIZE);
        content
    });
    assert_ne!(contents[0], contents[1], "two contents of one chunk");

    // The file with the commitment to the one key, with that to the other: each descriptor reads one of them.
    for (commits, keys) in keys.iter().enumerate() {
        let file = [&keys.commitment()[..], &chunk].concat();
        let mut digest = Tree::default();
        digest.push(keys.hash(0, &chunk));
        let digest = digest.finish();
        assert_eq!(&digest, blake3::hash(&file).as_bytes());
        for (reads, secret) in secrets.iter().enumerate() {
            let descriptor = AttachmentDescriptor::new(Secret::boxed(secret), layout, digest);
            let result = read(&file, &descriptor);
            let opener = AttachmentOpener::new(&descriptor, &file[..32]);
            if reads == commits {
                assert_eq!(result.as_deref(), Ok(&contents[reads][..]));
                assert!(opener.is_ok());
            } else {
                assert_eq!(result, Err(AttachmentError::WrongKey));
                assert_eq!(opener.err(), Some(AttachmentError::WrongKey));
            }
        }
    }
}
