//! The transcript of attachments: `tests/vectors/attachment.json`.

use alloc::vec::Vec;

use serde_json::json;

use super::{AttachmentDescriptor, AttachmentSealer};
use crate::vectors::Script;

impl Script {
    /// Content is the pattern of BLAKE3's test vectors: byte i is i mod 251.
    fn attachment(&mut self, size: u64, describe: impl FnOnce(AttachmentDescriptor) -> AttachmentDescriptor) {
        self.step("attachment", "alice", |script| {
            let mut sealer = AttachmentSealer::new_with_rng(&mut script.rng, size).unwrap();
            let mut file = sealer.commitment().to_vec();
            let mut content = (0..size).map(|i| (i % 251) as u8);
            while let Some(len) = sealer.next_len() {
                let mut chunk: Vec<u8> = content.by_ref().take(len).collect();
                sealer.seal(&mut chunk).unwrap();
                file.extend(chunk);
            }
            let descriptor = describe(sealer.finish().unwrap());
            assert_eq!(descriptor.digest(), blake3::hash(&file).as_bytes());
            let whole = if file.len() < 10_000 { json!(hex::encode(&file)) } else { json!(null) };
            Vec::from([
                ("size", json!(size)),
                ("media_type", json!(descriptor.media_type())),
                ("file_name", json!(descriptor.file_name().unwrap_or_default())),
                ("thumbnail", json!(hex::encode(descriptor.thumbnail()))),
                ("descriptor", json!(hex::encode(descriptor.to_bytes()))),
                ("file_len", json!(file.len())),
                ("file", whole),
            ])
        });
    }
}

#[test]
fn attachments() {
    let mut script = Script::new(9);
    script.attachment(0, |descriptor| descriptor);
    script.attachment(5000, |descriptor| {
        let typed = descriptor.with_media_type("image/jpeg").unwrap().with_file_name("роза.jpg");
        typed.with_thumbnail(&[0xff, 0xd8]).unwrap()
    });
    // The first chunk full, and one byte more; a last chunk of padding alone; many chunks.
    for size in [65_488, 65_489, 130_000, 131_072, 1_000_000] {
        script.attachment(size, |descriptor| descriptor);
    }
    script.check("attachment", "Attachments from nothing to 16 chunks, with the descriptors that name them.");
}
