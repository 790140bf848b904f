//! Nothing is added to a file whose descriptor is made.

use std::io::{Result, Write};

use subrosa::{AttachmentDescriptor, AttachmentWriter};

fn send(mut file: AttachmentWriter<Vec<u8>>, content: &[u8]) -> Result<AttachmentDescriptor> {
    #[cfg(test)]
    file.write_all(content)?;
    let descriptor = file.finish()?;
    #[cfg(not(test))]
    file.write_all(content)?;
    Ok(descriptor)
}

fn main() {}
