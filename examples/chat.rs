//! An end-to-end encrypted chat of two terminals:
//!
//! ```text
//! cargo run --example chat -- listen  127.0.0.1:7000
//! cargo run --example chat -- connect 127.0.0.1:7000
//! ```
//!
//! What goes over the wire, each frame with its length before it (u32, big-endian):
//!
//! ```text
//! listener                                connecter
//!     ──────── prekey bundle ────────────────>          checks it, starts a session
//!     <─────── first message ─────────────────          carries the handshake
//!     <─────── messages both ways ───────────>          a line each; an empty one says goodbye
//! ```
//!
//! The chat ends when the input of either side does. Each run makes new identities and keeps nothing; an app
//! seals them and its sessions into storage, as the example `quickstart` shows.

use std::{
    env,
    error::Error,
    fmt::Display,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use subrosa::{IdentityKeyPair, PreKeyBundle, PreKeys, Session, UnixTime};

/// The longest frame that is sent, and that room is made for: 64 KiB.
const MAX_FRAME: u32 = 64 * 1024;
/// How long the peer may be silent during the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for another line of our own when the peer has said goodbye.
const LAST_LINES: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() {
    if let Err(error) = run() {
        fail(&*error);
    }
}

/// Ends the process, whichever thread finds that it cannot go on.
fn fail(error: &dyn Error) -> ! {
    let _ = writeln!(io::stderr(), "chat: {error}");
    process::exit(1)
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let me = IdentityKeyPair::generate();
    let (stream, session) = match arguments.as_slice() {
        [role, address] if role == "listen" => {
            let listener = TcpListener::bind(address)?;
            writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
            accept(listener.accept()?.0, &me)?
        }
        [role, address] if role == "connect" => initiate(TcpStream::connect(address)?, &me)?,
        _ => return Err("usage: chat listen|connect ADDRESS:PORT".into()),
    };
    // Encryption keeps out everybody but the peer. That the peer is who you think it is, only people can tell:
    // compare both texts with what the other terminal shows, by telephone, say.
    writeln!(io::stdout(), "you are     {}", me.identity_key())?;
    writeln!(io::stdout(), "the peer is {}", session.peer_identity())?;
    stream.set_read_timeout(None)?;
    talk(&stream, session)
}

/// The listener's handshake: hands out a prekey bundle, and makes a session from the first message to it.
fn accept(stream: TcpStream, me: &IdentityKeyPair) -> Result<(TcpStream, Session)> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let mut prekeys = PreKeys::generate(me, 1, UnixTime::now());
    write_frame(&stream, &prekeys.bundle().to_bytes())?;
    let first = read_frame(&stream)?;
    let (session, _greeting) = Session::accept(me, &mut prekeys, &first).map_err(foreign)?;
    Ok((stream, session))
}

/// The connecter's handshake: checks the bundle, and sends a first message so that the listener can write, too.
fn initiate(stream: TcpStream, me: &IdentityKeyPair) -> Result<(TcpStream, Session)> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let bundle = PreKeyBundle::from_bytes(&read_frame(&stream)?).map_err(foreign)?;
    let bundle = bundle.verify(UnixTime::now()).map_err(foreign)?;
    let mut session = Session::initiate(me, &bundle).map_err(foreign)?;
    write_frame(&stream, &session.encrypt(b"hello")?)?;
    Ok((stream, session))
}

/// Sends what is typed and prints what arrives, until both sides have said goodbye.
///
/// The session is shared: this thread encrypts with it, another decrypts. Neither holds it while it waits for
/// the network, so two peers that both send a lot do not block each other.
fn talk(stream: &TcpStream, session: Session) -> Result<()> {
    enum Event {
        Typed(String),
        PeerSaidGoodbye,
    }
    let session = Arc::new(Mutex::new(session));
    let (typed, events) = mpsc::sync_channel(16);

    let (receiving, decrypting, goodbye) = (stream.try_clone()?, Arc::clone(&session), typed.clone());
    thread::spawn(move || match receive(&receiving, &decrypting) {
        Ok(()) => goodbye.send(Event::PeerSaidGoodbye),
        Err(error) => fail(&*error),
    });
    thread::spawn(move || {
        loop {
            // The line with its line end, so that only the end of input is empty.
            let mut line = String::new();
            match io::stdin().read_line(&mut line) {
                Ok(0) => return typed.send(Event::Typed(line)),
                Ok(_) => typed.send(Event::Typed(line))?,
                Err(error) => fail(&error),
            }
        }
    });

    let (mut said_goodbye, mut heard_goodbye) = (false, false);
    while !(said_goodbye && heard_goodbye) {
        let patience = if heard_goodbye { LAST_LINES } else { Duration::MAX };
        match events.recv_timeout(patience).unwrap_or(Event::Typed(String::new())) {
            Event::Typed(line) => {
                let message = session.lock().map_err(|_| "a thread panicked")?.encrypt(line.as_bytes())?;
                write_frame(stream, &message)?;
                said_goodbye = line.is_empty();
            }
            Event::PeerSaidGoodbye => {
                writeln!(io::stdout(), "the peer has left")?;
                heard_goodbye = true;
            }
        }
    }
    Ok(())
}

/// Prints what arrives, until the peer says goodbye: encrypted, as a connection may be cut by anybody on the way.
fn receive(stream: &TcpStream, session: &Mutex<Session>) -> Result<()> {
    loop {
        let message = read_frame(stream)?;
        let line = session.lock().map_err(|_| "a thread panicked")?.decrypt(&message);
        // Over a transport that loses or repeats messages, some errors would be no reason to stop.
        let line = line.map_err(|error| format!("a message does not decrypt, so it was altered: {error}"))?;
        if line.is_empty() {
            return Ok(());
        }
        writeln!(io::stdout(), "peer: {}", printable(&String::from_utf8_lossy(&line)))?;
    }
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
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "the peer is silent".into(),
        _ => format!("the connection failed: {error}"),
    }
}
