//! The example `chat`, driven as its users would: two processes, typed lines, and peers that are something else.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]
#![cfg(feature = "std")]

use std::{
    env::{self, consts::EXE_SUFFIX},
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use subrosa::{IdentityKey, IdentityKeyPair, PreKeyBundle, PreKeys, Session, UnixTime};

/// Far more than anything here takes; whatever lasts longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// A port that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

// ---- Two users.

#[test]
fn lines_arrive_both_ways_and_the_end_of_one_input_ends_both() {
    let (mut listener, mut connecter) = Chat::pair();
    for (line, shown) in [
        ("hello", "peer: hello"),
        ("", "peer: "),
        ("Grüße, 日本語, 👩‍🚀, עברית", "peer: Grüße, 日本語, 👩‍🚀, עברית"),
        ("tabs\tand \u{1b}[31mcolours\u{1b}[0m", "peer: tabs\\tand \\u{1b}[31mcolours\\u{1b}[0m"),
        ("evil \u{202e}eb ot", "peer: evil \\u{202e}eb ot"),
        ("carriage\rreturn\r", "peer: carriage\\rreturn"),
    ] {
        // Whoever is asked first: the listener can write before the connecter has typed anything.
        listener.type_line(line);
        assert_eq!(connecter.next_line(), shown);
        connecter.type_line(line);
        assert_eq!(listener.next_line(), shown);
    }
    let long = "ä".repeat(20_000);
    connecter.type_line(&long);
    assert_eq!(listener.next_line(), format!("peer: {long}"));

    // The listener's input stays open.
    let still_open = listener.stdin.take();
    connecter.end_input();
    for chat in [&mut listener, &mut connecter] {
        assert_eq!(chat.next_line(), "the peer has left");
        chat.assert_left_cleanly();
    }
    drop(still_open);
}

#[test]
fn piped_input_loses_no_line() {
    let (mut listener, mut connecter) = Chat::pair();
    let lines = |name: &str, count: usize| -> Vec<String> {
        (0..count).map(|i| format!("{name} {i} {}", ".".repeat(i % 300))).collect()
    };
    let (from_listener, from_connecter) = (lines("listener", 700), lines("connecter", 1500));
    thread::scope(|scope| {
        for (chat, lines) in [(&mut listener, &from_listener), (&mut connecter, &from_connecter)] {
            // The last line has no line end.
            let (mut stdin, input) = (chat.stdin.take().unwrap(), lines.join("\n"));
            scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        }
    });
    for (chat, lines) in [(&mut connecter, &from_listener), (&mut listener, &from_connecter)] {
        for line in lines {
            assert_eq!(chat.next_line(), format!("peer: {line}"));
        }
        assert_eq!(chat.next_line(), "the peer has left");
        chat.assert_left_cleanly();
    }
}

#[test]
fn no_input_at_all_is_a_short_conversation() {
    let (mut listener, mut connecter) = Chat::pair();
    listener.end_input();
    connecter.end_input();
    for chat in [&mut listener, &mut connecter] {
        assert_eq!(chat.next_line(), "the peer has left");
        chat.assert_left_cleanly();
    }
}

// ---- Peers that are something else.

/// What each of these peers sends, and a part of what the user is told.
fn foreign_peers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bundle = PreKeys::generate(&IdentityKeyPair::generate(), 1, UnixTime::now()).bundle().to_bytes();
    let mut forged = bundle.clone();
    *forged.last_mut().unwrap() ^= 1;
    let no_protocol = "the peer does not speak this protocol: ";
    let closed = "the connection was closed";
    vec![
        ("an immediate close", Vec::new(), closed),
        ("half a length", vec![0, 0], closed),
        ("half a frame", framed(&bundle)[..1000].to_vec(), closed),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), no_protocol),
        ("an HTTP response", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), no_protocol),
        ("random bytes", random_bytes(100_000), no_protocol),
        ("a huge length", u32::MAX.to_be_bytes().to_vec(), "a frame of 4294967295 bytes"),
        ("a length just above the limit", 65_537u32.to_be_bytes().to_vec(), "a frame of 65537 bytes"),
        ("an empty frame", framed(&[]), "malformed bytes"),
        ("a frame of garbage", framed(&random_bytes(2000)), no_protocol),
        ("the longest frame, of zeros", framed(&[0; 65_536]), "malformed bytes"),
        ("a truncated bundle", framed(&bundle[..bundle.len() - 1]), "malformed bytes"),
        ("a forged bundle", framed(&forged), no_protocol),
    ]
}

#[test]
fn a_listener_survives_foreign_peers() {
    for (what, bytes, told) in foreign_peers() {
        let (mut chat, mut peer) = Chat::listen_for_test();
        // It may have given up before everything is written.
        let _ = peer.write_all(&bytes);
        let _ = peer.shutdown(Shutdown::Write);
        let _ = peer.read_to_end(&mut Vec::new());
        chat.assert_failed(what, told);
    }
}

#[test]
fn a_connecter_survives_foreign_peers() {
    for (what, bytes, told) in foreign_peers() {
        let (mut chat, mut peer) = Chat::connect_to_test();
        let _ = peer.write_all(&bytes);
        let _ = peer.shutdown(Shutdown::Write);
        let _ = peer.read_to_end(&mut Vec::new());
        chat.assert_failed(what, told);
    }
}

#[test]
fn expired_and_unanswerable_bundles_are_told_apart() {
    let owner = IdentityKeyPair::generate();
    let old = PreKeys::generate(&owner, 0, UnixTime::from_secs(1)).bundle().to_bytes();
    let (mut chat, mut peer) = Chat::connect_to_test();
    peer.write_all(&framed(&old)).unwrap();
    chat.assert_failed("an expired bundle", "signed prekey has expired");

    // A first message for somebody else's prekeys.
    let (mut chat, mut peer) = Chat::listen_for_test();
    read_frame(&mut peer);
    let other = PreKeys::generate(&owner, 1, UnixTime::now()).bundle().verify(UnixTime::now()).unwrap();
    let first = Session::initiate(&owner, &other).unwrap().encrypt(b"hello").unwrap();
    peer.write_all(&framed(&first)).unwrap();
    chat.assert_failed("a message for another", "initial message for an unknown prekey");
}

#[test]
fn two_of_one_role_find_out() {
    let (mut chat, mut peer) = Chat::listen_for_test();
    let bundle = read_frame(&mut peer);
    peer.write_all(&framed(&bundle)).unwrap();
    chat.assert_failed("another listener", "the peer does not speak this protocol: ");

    let first = Session::initiate(&IdentityKeyPair::generate(), &verified(&bundle)).unwrap().encrypt(b"");
    let (mut chat, mut peer) = Chat::connect_to_test();
    peer.write_all(&framed(&first.unwrap())).unwrap();
    chat.assert_failed("another connecter", "the peer does not speak this protocol: ");
}

#[test]
fn a_silent_listener_is_given_up() {
    let (mut chat, _peer) = Chat::connect_to_test();
    chat.assert_failed("silence", "the peer is silent");
}

#[test]
fn a_silent_connecter_is_given_up() {
    let (mut chat, _peer) = Chat::listen_for_test();
    chat.assert_failed("silence", "the peer is silent");
}

#[test]
fn after_the_handshake_garbage_and_cut_connections_are_fatal() {
    for (what, bytes, told) in [
        ("a frame of garbage", framed(&random_bytes(500)), "a message does not decrypt"),
        ("an empty frame", framed(&[]), "a message does not decrypt"),
        ("a huge length", vec![0xff; 4], "the peer does not speak this protocol"),
        ("half a frame", vec![0, 0, 1, 0, 7], "the connection was closed"),
        ("no goodbye", Vec::new(), "the connection was closed before the peer said goodbye"),
    ] {
        let (mut chat, mut peer, mut session) = Chat::connected_to_test();
        let hello = session.encrypt(b"hello\n").unwrap();
        peer.write_all(&framed(&hello)).unwrap();
        let _ = peer.write_all(&bytes);
        let _ = peer.shutdown(Shutdown::Write);
        chat.next_line();
        chat.next_line();
        assert_eq!(chat.next_line(), "peer: hello", "{what}");
        chat.assert_failed(what, told);
    }
}

#[test]
fn a_peer_cannot_write_to_the_terminal_as_it_likes() {
    let (mut chat, mut peer, mut session) = Chat::connected_to_test();
    chat.next_line();
    chat.next_line();
    for (content, shown) in [
        (&b"\x1b]0;title\x07\x1b[2J\n"[..], "peer: \\u{1b}]0;title\\u{7}\\u{1b}[2J"),
        (b"two\nlines\nthe peer has left\n", "peer: two\\nlines\\nthe peer has left"),
        (b"\xff\xfe no UTF-8", "peer: \u{fffd}\u{fffd} no UTF-8"),
        ("C1 \u{9b}31m".as_bytes(), "peer: C1 \\u{9b}31m"),
    ] {
        peer.write_all(&framed(&session.encrypt(content).unwrap())).unwrap();
        assert_eq!(chat.next_line(), shown);
    }
    // And a goodbye, after which the process still listens to its user.
    peer.write_all(&framed(&session.encrypt(b"").unwrap())).unwrap();
    assert_eq!(chat.next_line(), "the peer has left");
    chat.type_line("one more");
    chat.end_input();
    for content in [&b"one more\n"[..], b""] {
        assert_eq!(session.decrypt(&read_frame(&mut peer)).unwrap(), content);
    }
    chat.assert_left_cleanly();
}

#[test]
fn a_line_that_is_too_long_is_refused_aloud() {
    let (_listener, mut connecter) = Chat::pair();
    connecter.type_line(&"a".repeat(100_000));
    connecter.assert_failed("a long line", "this line is too long to send");
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [&[][..], &["listen"], &["speak", "127.0.0.1:1"], &["listen", ANY_PORT, "more"]] {
        Chat::start(arguments).assert_failed("arguments", "usage: chat listen|connect ADDRESS:PORT");
    }
    Chat::start(&["listen", "nonsense"]).assert_failed("no address", "chat: ");
}

// ---- A running chat, and what it takes to be its peer.

struct Chat {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Chat {
    fn start(arguments: &[&str]) -> Self {
        // Examples are built beside the directory of the test binaries.
        let test = env::current_exe().unwrap();
        let chat = test.ancestors().nth(2).unwrap().join("examples").join(format!("chat{EXE_SUFFIX}"));
        assert!(chat.exists(), "{} is missing: run `cargo build --example chat`", chat.display());
        let mut child = Command::new(chat)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: lines_of(child.stdout.take().unwrap()),
            stderr: lines_of(child.stderr.take().unwrap()),
            child,
        }
    }

    fn listen() -> (Self, String) {
        let chat = Self::start(&["listen", ANY_PORT]);
        let line = chat.next_line();
        let address = line.strip_prefix("listening on ").expect("the address").to_owned();
        (chat, address)
    }

    /// Two of them, past the handshake, each showing who is who.
    fn pair() -> (Self, Self) {
        let (listener, address) = Self::listen();
        let connecter = Self::start(&["connect", &address]);
        let (a, b) = (listener.identities(), connecter.identities());
        assert_eq!((a.0, a.1), (b.1, b.0));
        assert_ne!(a.0, a.1);
        (listener, connecter)
    }

    /// A listener, and a connection to it.
    fn listen_for_test() -> (Self, TcpStream) {
        let (chat, address) = Self::listen();
        (chat, with_deadline(TcpStream::connect(address).unwrap()))
    }

    /// A connecter, and the connection that it made.
    fn connect_to_test() -> (Self, TcpStream) {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let chat = Self::start(&["connect", &listener.local_addr().unwrap().to_string()]);
        (chat, with_deadline(listener.accept().unwrap().0))
    }

    /// A listener, and a connecter's connection and session.
    fn connected_to_test() -> (Self, TcpStream, Session) {
        let (chat, mut peer) = Self::listen_for_test();
        let bundle = verified(&read_frame(&mut peer));
        let mut session = Session::initiate(&IdentityKeyPair::generate(), &bundle).unwrap();
        peer.write_all(&framed(&session.encrypt(b"hello").unwrap())).unwrap();
        (chat, peer, session)
    }

    /// Its own, and its peer's.
    fn identities(&self) -> (IdentityKey, IdentityKey) {
        let read = |line: String, prefix| line.strip_prefix(prefix).expect(prefix).trim().parse().unwrap();
        (read(self.next_line(), "you are "), read(self.next_line(), "the peer is "))
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end_input(&mut self) {
        self.stdin = None;
    }

    fn next_line(&self) -> String {
        self.stdout.recv_timeout(DEADLINE).unwrap_or_else(|error| {
            panic!("no line: {error}; stderr: {:?}", self.stderr.try_iter().collect::<Vec<_>>())
        })
    }

    fn assert_left_cleanly(&mut self) {
        assert_eq!((self.exit_code(), self.rest_of_stderr()), (Some(0), String::new()));
        assert_eq!(self.stdout.recv_timeout(DEADLINE).ok(), None);
    }

    /// With exit code 1 and one line that tells why.
    fn assert_failed(&mut self, what: &str, told: &str) {
        let (code, stderr) = (self.exit_code(), self.rest_of_stderr());
        assert_eq!(code, Some(1), "{what}: {stderr}");
        assert!(stderr.starts_with("chat: ") && stderr.contains(told), "{what}: {stderr}");
        assert!(stderr.lines().count() == 1 && !stderr.contains("panicked"), "{what}: {stderr}");
    }

    fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < DEADLINE, "it hangs");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Of a process that has exited.
    fn rest_of_stderr(&self) -> String {
        self.stderr.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of an output, as they come.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    receiver
}

fn with_deadline(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len).try_into().unwrap()];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn verified(bundle: &[u8]) -> subrosa::VerifiedBundle {
    PreKeyBundle::from_bytes(bundle).unwrap().verify(UnixTime::now()).unwrap()
}

/// The same ones every time (xorshift64); the first four are no length within the limit.
fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .collect()
}
