//! An end-to-end encrypted chat of two terminals:
//!
//! ```text
//! cargo run --example chat -- listen  127.0.0.1:7000 alice.sqlite
//! cargo run --example chat -- connect 127.0.0.1:7000 bob.sqlite
//! ```
//!
//! The file keeps who one is, the sessions, and what was typed and has not arrived: that goes out the next time that the
//! two are connected. What goes over the wire, both ways, each frame with its length before it (u32, big-endian):
//!
//! ```text
//! device list, prekey bundle                        public, signed
//! then any of: 0 | message                          a line; an empty one says goodbye
//!              1 | message                          a line of an earlier connection, which had not arrived
//!              2                                    acknowledges the oldest message that is not
//! ```
//! Who controls the line can acknowledge what has not arrived, and so can a server of an app. The gap shows with the next
//! message that does arrive, and the device sends again what is missing.

use std::{
    collections::{HashSet, VecDeque},
    env,
    error::Error,
    fmt::Display,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use subrosa::{
    Address, BundleOutcome, Device, DeviceError, DeviceId, DeviceList, OutboxId, PreKeyBundle, Received,
    StorageKey, store::SqliteStore,
};

/// The longest frame that is sent, and that room is made for: 64 KiB.
const MAX_FRAME: u32 = 64 * 1024;
/// The longest line: its message fits into a frame.
const MAX_LINE: usize = 16 * 1024;
/// How many lines are sent before one of them is acknowledged.
const WINDOW: usize = 64;
/// How long the peer may be silent at the beginning, and may not read what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for another line of our own when the peer has said goodbye.
const LAST_LINES: Duration = Duration::from_secs(2);

const LINE: u8 = 0;
const EARLIER_LINE: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 2;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() {
    if let Err(error) = run() {
        let _ = writeln!(io::stderr(), "chat: {error}");
        process::exit(1)
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (mut device, stream) = match arguments.as_slice() {
        [role, address, store] if role == "listen" => {
            let device = open(store)?;
            let listener = TcpListener::bind(address)?;
            writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
            (device, listener.accept()?.0)
        }
        [role, address, store] if role == "connect" => (open(store)?, TcpStream::connect(address)?),
        _ => return Err("usage: chat listen|connect ADDRESS:PORT STORE".into()),
    };
    writeln!(io::stdout(), "you are     {}", device.user())?;
    // What an earlier run had received, and not shown for sure.
    let inbox = device.inbox().collect::<std::result::Result<Vec<_>, _>>()?;
    show(&mut device, &inbox, None)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = greet(&stream, &mut device)?;
    stream.set_read_timeout(None)?;
    let earlier = device.outbox().map(|out| Ok(out?.id)).collect::<Result<_>>()?;
    talk(Chat { device, stream, peer, earlier, unacknowledged: VecDeque::new(), heard_goodbye: false })
}

/// The device in a file, or a new user's. Its key is beside it, where an app has the platform's keychain: who
/// copies both files, has everything.
fn open(path: &str) -> Result<Device<SqliteStore>> {
    let key_path = format!("{path}.key");
    let key = match fs::read(&key_path) {
        Ok(key) => StorageKey::from_bytes(key.as_slice().try_into()?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = StorageKey::generate();
            let mut options = fs::OpenOptions::new();
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.write(true).create_new(true).open(key_path)?;
            file.write_all(&key.to_bytes())?;
            file.sync_all()?;
            key
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Device::open_or_create(SqliteStore::open(path)?, &key)?)
}

/// Tells the peer what it needs to write to this device, and takes in the same of the peer's.
fn greet(stream: &TcpStream, device: &mut Device<SqliteStore>) -> Result<Address> {
    device.maintain()?;
    // There is no server with a stock: one prekey for this peer, and nobody gets it again.
    let mut publication = device.publication(0)?;
    publication.one_time_prekeys.truncate(1);
    device.published(&publication)?;
    let one_time = publication.one_time_prekeys.pop();
    let bundle = PreKeyBundle::new(publication.identity_key, publication.signed_prekey, one_time);
    let told = write_frame(stream, &publication.list.to_bytes())
        .and_then(|()| write_frame(stream, &bundle.to_bytes()));

    let list = read_frame(stream)?;
    let user = *DeviceList::from_bytes(&list).map_err(foreign)?.user_id();
    let bundle = read_frame(stream)?;
    told?; // not before it is clear whether the peer speaks this protocol
    let peer = DeviceId::of(PreKeyBundle::from_bytes(&bundle).map_err(foreign)?.identity_key());
    let met = device.user_info(&user)?.is_some();
    device.provide(&list).map_err(foreign)?;
    let peer = Address { user, device: peer };
    if let BundleOutcome::Unusable(error) = device.provide_bundle(&peer, Some(&bundle)).map_err(foreign)? {
        return Err(foreign(error).into());
    }
    if user == device.user() {
        return Err("the peer has this user's own store".into());
    }
    // Only this user can read what is typed from here on, and "peer:" is before nothing that another one wrote. That it
    // is who you think it is, only people can tell: compare with what the other terminal shows, by telephone, say.
    writeln!(io::stdout(), "the peer is {user}")?;
    let met = if met { "you have met before" } else { "you have not met before: compare who it is" };
    writeln!(io::stdout(), "{met}")?;
    Ok(peer)
}

struct Chat {
    device: Device<SqliteStore>,
    stream: TcpStream,
    peer: Address,
    /// What was in the outbox when this connection began.
    earlier: HashSet<OutboxId>,
    /// What was sent on this connection, oldest first.
    unacknowledged: VecDeque<OutboxId>,
    heard_goodbye: bool,
}

enum Event {
    Typed(String),
    Frame(Vec<u8>),
    Failed(Box<dyn Error + Send + Sync>),
}

/// Sends what is typed and prints what arrives, until both sides have said goodbye, and know that it arrived.
///
/// One thread reads the network, one the input, and this one does everything else. With at most [`WINDOW`] lines under way
/// in each direction the first never waits for this one, so two peers that both send a lot do not block each other.
fn talk(mut chat: Chat) -> Result<()> {
    let (happens, events) = mpsc::sync_channel(4 * WINDOW);
    let (go_on, may_go_on) = mpsc::sync_channel(1);
    let (reading, typing) = (chat.stream.try_clone()?, happens.clone());
    thread::spawn(move || {
        while happens.send(read_frame(&reading).map_or_else(Event::Failed, Event::Frame)).is_ok() {}
    });
    thread::spawn(move || {
        loop {
            // The line with its line end, so that only the end of input is empty.
            let mut line = String::new();
            let typed = io::stdin().read_line(&mut line).map(|_| line);
            let typed = typed.map_or_else(|error| Event::Failed(error.into()), Event::Typed);
            if typing.send(typed).is_err() || may_go_on.recv().is_err() {
                return;
            }
        }
    });

    chat.send_waiting()?;
    let mut said_goodbye = false;
    while !(said_goodbye && chat.heard_goodbye && chat.unacknowledged.is_empty()) {
        let patience = if chat.heard_goodbye && !said_goodbye { LAST_LINES } else { Duration::MAX };
        match events.recv_timeout(patience).unwrap_or(Event::Typed(String::new())) {
            Event::Typed(line) if !said_goodbye => {
                chat.say(&line)?;
                said_goodbye = line.is_empty();
                if !said_goodbye {
                    let _ = go_on.try_send(());
                }
            }
            Event::Typed(_) => {}
            Event::Frame(frame) => chat.take_in(&frame)?,
            Event::Failed(error) => return Err(error),
        }
        chat.send_waiting()?;
    }
    Ok(())
}

impl Chat {
    /// Puts a line into the outbox: from here on it is not lost, whatever happens.
    fn say(&mut self, line: &str) -> Result<()> {
        if line.len() > MAX_LINE {
            return Err("this line is too long to send".into());
        }
        while let Err(error) = self.device.send(&self.peer.user, line.as_bytes()) {
            let DeviceError::Missing(missing) = error else { return Err(error.into()) };
            if !missing.lists.is_empty() {
                return Err("the peer has other devices now: connect again".into());
            }
            // Devices of the peer's that are not the one at the other end.
            for address in &missing.bundles {
                self.device.provide_bundle(address, None)?;
            }
        }
        Ok(())
    }

    /// Sends what is in the outbox for the peer, and was not sent on this connection.
    fn send_waiting(&mut self) -> Result<()> {
        for out in self.device.outbox() {
            let out = out?;
            if self.unacknowledged.len() >= WINDOW {
                break;
            }
            if out.to == self.peer && !self.unacknowledged.contains(&out.id) {
                let kind = if self.earlier.contains(&out.id) { EARLIER_LINE } else { LINE };
                write_frame(&self.stream, &[&[kind], &out.bytes[..]].concat())?;
                self.unacknowledged.push_back(out.id);
            }
        }
        Ok(())
    }

    fn take_in(&mut self, frame: &[u8]) -> Result<()> {
        let (kind, message) = frame.split_first().ok_or_else(|| foreign("an empty frame"))?;
        if *kind == ACKNOWLEDGEMENT {
            let id = self.unacknowledged.pop_front().ok_or_else(|| foreign("acknowledges nothing"))?;
            return Ok(self.device.sent([id])?);
        }
        match self.device.receive(message, Some(&self.peer.user)) {
            Ok(received) => {
                let goodbye = show(&mut self.device, &received, Some(&self.peer))?;
                if goodbye && *kind == LINE {
                    writeln!(io::stdout(), "the peer has left")?;
                    self.heard_goodbye = true;
                }
            }
            // Its acknowledgement was lost with an earlier connection.
            Err(DeviceError::Message(subrosa::Error::Duplicate)) => {}
            // Altered on the way, or for keys that are gone. The peer's device learns that it is missing.
            Err(DeviceError::Message(error)) => {
                writeln!(io::stdout(), "a message cannot be read: {error}")?;
            }
            Err(error) => return Err(error.into()),
        }
        write_frame(&self.stream, &[ACKNOWLEDGEMENT])
    }
}

/// Prints what came in, and who wrote it: the device knows, whoever is at the other end. Then it need not keep it. Whether
/// the peer says goodbye.
fn show(device: &mut Device<SqliteStore>, inbox: &[Received], peer: Option<&Address>) -> Result<bool> {
    let mut goodbye = false;
    for received in inbox {
        let from = received.from;
        let name = if peer == Some(&from) { "peer".into() } else { from.user.to_string() };
        match &received.event {
            subrosa::Event::Message { content, resent, .. } if content.is_empty() => {
                goodbye |= peer == Some(&from) && !resent;
            }
            subrosa::Event::Message { content, .. } => {
                let again = if received.redelivered { " (perhaps shown before)" } else { "" };
                writeln!(io::stdout(), "{name}{again}: {}", printable(&String::from_utf8_lossy(content)))?;
            }
            // Whether the two have met was said when they were connected.
            subrosa::Event::NewUser => {}
            other => writeln!(io::stdout(), "{name}: ({other:?})")?,
        }
    }
    device.acknowledge(inbox.iter().map(|received| received.id))?;
    Ok(goodbye)
}

/// Text of the peer's, without what would move the cursor, colour the screen or turn the direction of writing.
fn printable(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let safe = |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars().map(|c| if safe(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

fn write_frame(mut stream: &TcpStream, message: &[u8]) -> Result<()> {
    let len = u32::try_from(message.len()).ok().filter(|len| *len <= MAX_FRAME);
    let len = len.ok_or("this line is too long to send")?;
    stream.write_all(&[&len.to_be_bytes(), message].concat()).map_err(explain)?;
    Ok(())
}

fn read_frame(mut stream: &TcpStream) -> Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).map_err(explain)?;
    let len = u32::from_be_bytes(len);
    if len > MAX_FRAME {
        return Err(foreign(format!("a frame of {len} bytes")).into());
    }
    let mut frame = vec![0; usize::try_from(len)?];
    stream.read_exact(&mut frame).map_err(explain)?;
    Ok(frame)
}

fn foreign(what: impl Display) -> String {
    format!("the peer does not speak this protocol: {what}")
}

fn explain(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the connection was closed before the peer said goodbye".into(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the peer is silent, or does not read".into(),
        _ => format!("the connection failed: {error}"),
    }
}
