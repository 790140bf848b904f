//! Writes the seeds of the fuzz targets: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::{fs, io, path::Path};

use subrosa_fuzz::Seeds;

fn main() -> io::Result<()> {
    for (target, name, bytes) in Seeds::new().0 {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
