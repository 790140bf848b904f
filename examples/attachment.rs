//! A file is encrypted, stored anywhere, and decrypted by who has its descriptor.
//!
//! ```text
//! cargo run --release --example attachment                                  a photo there and back
//! cargo run --release --example attachment -- seal PHOTO FILE               prints the descriptor
//! cargo run --release --example attachment -- open FILE DESCRIPTOR PHOTO
//! cargo run --release --example attachment -- measure 10GiB                 speed, and memory
//! ```
//! In an app the descriptor travels inside a message (`Draft::with_attachments`): whoever has it can read the file.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example that shows its results")]

use std::{
    env, error,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use peak_alloc::PeakAlloc;
use subrosa::{AttachmentDescriptor, AttachmentError, AttachmentReader, AttachmentWriter};

/// Only to show how little memory it takes.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => demonstration(),
        ["seal", content, file] => seal(Path::new(content), Path::new(file)).map(|descriptor| {
            println!("{}", hex::encode(descriptor.to_bytes()));
        }),
        ["open", file, descriptor, content] => hex::decode(descriptor)
            .map_err(Into::into)
            .and_then(|bytes| Ok(AttachmentDescriptor::from_bytes(&bytes)?))
            .and_then(|descriptor| open(Path::new(file), &descriptor, Path::new(content))),
        ["measure", size] => measure(size),
        _ => Err("seal CONTENT FILE | open FILE DESCRIPTOR CONTENT | measure SIZE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attachment: {error}");
            ExitCode::FAILURE
        }
    }
}

fn seal(content: &Path, file: &Path) -> Result<AttachmentDescriptor> {
    let mut source = File::open(content)?;
    // How long the content is has to be said first: so is how long the upload will be.
    let size = source.metadata()?.len();
    let bar = bar(size, "sealing");
    let mut writer = AttachmentWriter::new(File::create_new(file)?, size)?
        .on_progress(move |done, of| show(&bar, done, of));
    io::copy(&mut source, &mut writer)?;
    let mut descriptor = writer.finish()?;
    if let Some(name) = content.file_name().and_then(|name| name.to_str()) {
        descriptor = descriptor.with_file_name(name);
    }
    Ok(descriptor)
}

fn open(file: &Path, descriptor: &AttachmentDescriptor, content: &Path) -> Result<()> {
    let bar = bar(descriptor.size(), "opening");
    // Under another name until all of it has been checked.
    let unfinished = content.with_added_extension("part");
    let mut reader = AttachmentReader::new(File::open(file)?, descriptor)?
        .on_progress(move |done, of| show(&bar, done, of));
    let copied = io::copy(&mut reader, &mut File::create_new(&unfinished)?);
    if let Err(error) = copied {
        fs::remove_file(&unfinished)?;
        return Err(error.into());
    }
    Ok(fs::rename(&unfinished, content)?)
}

fn demonstration() -> Result<()> {
    let dir = env::temp_dir().join(format!("subrosa-attachment-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let (photo, file, copy) = (dir.join("rose.jpg"), dir.join("on-a-server"), dir.join("copy.jpg"));
    fs::write(&photo, vec![0xd8; 10_000_001])?;

    let descriptor = seal(&photo, &file)?.with_media_type("image/jpeg")?;
    println!("{} bytes are {} on the server", descriptor.size(), fs::metadata(&file)?.len());
    println!("whoever gets {} bytes of descriptor can read them", descriptor.to_bytes().len());

    open(&file, &descriptor, &copy)?;
    assert!(fs::read(&copy)? == fs::read(&photo)?);
    println!("{} is back", descriptor.file_name().unwrap_or("it"));

    // The server alters one bit.
    let mut altered = fs::read(&file)?;
    if let Some(byte) = altered.get_mut(5_000_000) {
        *byte ^= 1;
    }
    let mut reader = AttachmentReader::new(&altered[..], &descriptor)?;
    match io::copy(&mut reader, &mut io::sink()).map_err(|error| AttachmentError::of(&error)) {
        Err(Some(error @ AttachmentError::Altered { .. })) => println!("altered: {error}"),
        other => return Err(format!("an altered file gives {other:?}").into()),
    }
    Ok(fs::remove_dir_all(&dir)?)
}

/// A generated stream, never in memory or on a disk.
fn measure(size: &str) -> Result<()> {
    let (number, shift) = match size.strip_suffix("GiB") {
        Some(number) => (number, 30),
        None => (size.strip_suffix("MiB").ok_or("a size is as 10GiB or 256MiB")?, 20),
    };
    let size = number.parse::<u64>()? << shift;
    let bar = bar(size, "sealing");
    let (before, began) = (HEAP.current_usage(), Instant::now());
    HEAP.reset_peak_usage();
    let mut writer =
        AttachmentWriter::new(io::sink(), size)?.on_progress(move |done, of| show(&bar, done, of));
    let mut content = BufReader::with_capacity(64 * 1024, io::repeat(0x5a).take(size));
    io::copy(&mut content, &mut writer)?;
    let descriptor = writer.finish()?;
    let seconds = began.elapsed().as_secs_f64();
    let peak = HEAP.peak_usage().saturating_sub(before) / 1024;
    println!(
        "{} bytes: {:.0} MB/s, at most {peak} KiB of heap",
        descriptor.size(),
        size as f64 / seconds / 1e6
    );
    Ok(())
}

fn bar(size: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(size).with_style(style.unwrap_or(ProgressStyle::default_bar())).with_message(what)
}

fn show(bar: &ProgressBar, done: u64, of: u64) {
    bar.set_position(done);
    if done == of {
        bar.finish();
    }
}
