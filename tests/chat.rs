//! The example `chat`, driven as its users would: two processes, typed lines, and peers that are something else.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]
#![cfg(feature = "sqlite")]

use std::{
    env::{self, consts::EXE_SUFFIX},
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use subrosa::{
    Address, Config, Device, DeviceId, Event, PreKeyBundle, StorageKey, UnixTime, UserId,
    store::{MemoryStore, Store},
};

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
    let long = "ä".repeat(8_000);
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
    let [list, bundle] = greeting(&mut device(UnixTime::now));
    let [_, expired] = greeting(&mut device(|| UnixTime::from_secs(1)));
    let altered = |bytes: &[u8]| {
        let mut altered = bytes.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        framed(&altered)
    };
    let no_protocol = "the peer does not speak this protocol: ";
    let closed = "the connection was closed";
    vec![
        ("an immediate close", Vec::new(), closed),
        ("half a length", vec![0, 0], closed),
        ("half a frame", framed(&list)[..100].to_vec(), closed),
        ("no bundle", framed(&list), closed),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), no_protocol),
        ("an HTTP response", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), no_protocol),
        ("random bytes", random_bytes(100_000), no_protocol),
        ("a huge length", u32::MAX.to_be_bytes().to_vec(), "a frame of 4294967295 bytes"),
        ("a length just above the limit", 65_537u32.to_be_bytes().to_vec(), "a frame of 65537 bytes"),
        ("an empty frame", framed(&[]), "malformed bytes"),
        ("a frame of garbage", framed(&random_bytes(2000)), no_protocol),
        ("the longest frame, of zeros", framed(&[0; 65_536]), "malformed bytes"),
        ("a truncated list", framed(&list[..list.len() - 1]), "malformed bytes"),
        ("a forged list", altered(&list), no_protocol),
        ("a list twice", [framed(&list), framed(&list)].concat(), no_protocol),
        (
            "a truncated bundle",
            [framed(&list), framed(&bundle[..bundle.len() - 1])].concat(),
            "malformed bytes",
        ),
        ("a forged bundle", [framed(&list), altered(&bundle)].concat(), no_protocol),
        ("an expired bundle", [framed(&list), framed(&expired)].concat(), no_protocol),
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
fn after_the_greeting_cut_connections_are_fatal_and_garbage_is_said() {
    let unreadable = Some("a message cannot be read: ");
    let garbage = [&[0], &random_bytes(500)[..]].concat();
    for (what, bytes, said, told) in [
        ("a frame of garbage", framed(&garbage), unreadable, "the connection was closed"),
        ("a frame of one byte", framed(&[0]), unreadable, "the connection was closed"),
        ("an empty frame", framed(&[]), None, "an empty frame"),
        ("an acknowledgement of nothing", framed(&[2]), None, "acknowledges nothing"),
        ("a huge length", vec![0xff; 4], None, "the peer does not speak this protocol"),
        ("half a frame", vec![0, 0, 1, 0, 7], None, "the connection was closed"),
        ("no goodbye", Vec::new(), None, "the connection was closed before the peer said goodbye"),
    ] {
        let (mut chat, mut peer) = Chat::connected_to_test();
        peer.say(b"hello\n");
        let _ = peer.stream.write_all(&bytes);
        let _ = peer.stream.shutdown(Shutdown::Write);
        assert_eq!(chat.next_line(), "peer: hello", "{what}");
        if let Some(said) = said {
            let line = chat.next_line();
            assert!(line.starts_with(said), "{what}: {line}");
        }
        chat.assert_failed(what, told);
    }
}

#[test]
fn a_peer_cannot_write_to_the_terminal_as_it_likes() {
    let (mut chat, mut peer) = Chat::connected_to_test();
    for (content, shown) in [
        (&b"\x1b]0;title\x07\x1b[2J\n"[..], "peer: \\u{1b}]0;title\\u{7}\\u{1b}[2J"),
        (b"two\nlines\nthe peer has left\n", "peer: two\\nlines\\nthe peer has left"),
        (b"\xff\xfe no UTF-8", "peer: \u{fffd}\u{fffd} no UTF-8"),
        ("C1 \u{9b}31m".as_bytes(), "peer: C1 \\u{9b}31m"),
    ] {
        peer.say(content);
        assert_eq!(chat.next_line(), shown);
    }
    // And a goodbye, after which the process still listens to its user.
    peer.say(b"");
    assert_eq!(chat.next_line(), "the peer has left");
    chat.type_line("one more");
    chat.end_input();
    for content in [&b"one more\n"[..], b""] {
        assert_eq!(peer.hear(), content);
    }
    chat.assert_left_cleanly();
}

/// What was typed and not acknowledged goes out the next time; what arrives twice is shown once.
#[test]
fn lines_outlast_the_connection() {
    let store = store();
    let (mut chat, mut peer) = Chat::connected_as(&store);
    chat.type_line("did you hear this?");
    let heard = peer.hear_without_acknowledging();
    assert_eq!(heard.0, b"did you hear this?\n");
    drop(peer.stream);
    chat.assert_failed("a cut connection", "");
    let (mut chat, stream) = Chat::listen_as(&store);
    let mut peer = Peer { stream, ..peer };
    peer.greet();
    assert_eq!(chat.peer_line(), peer.device.user());
    assert_eq!(chat.next_line(), "you have met before");
    let (again, kind) = peer.next_message();
    assert_eq!((again, kind), (heard.1, 1), "the same, as of an earlier connection");
    peer.acknowledge();
    chat.end_input();
    assert_eq!(peer.hear(), b"");
    peer.say(b"");
    assert_eq!(chat.next_line(), "the peer has left");
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
    for arguments in [&[][..], &["listen"], &["listen", ANY_PORT], &["speak", "127.0.0.1:1", "file"]] {
        Chat::start(arguments).assert_failed("arguments", "usage: chat listen|connect ADDRESS:PORT STORE");
    }
    Chat::start(&["listen", "nonsense", &store()]).assert_failed("no address", "chat: ");
    Chat::start(&["listen", ANY_PORT, "no/such/directory/file"]).assert_failed("no file", "chat: ");
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

    fn listen(store: &str) -> (Self, String) {
        let chat = Self::start(&["listen", ANY_PORT, store]);
        let line = chat.next_line();
        let address = line.strip_prefix("listening on ").expect("the address").to_owned();
        (chat, address)
    }

    /// Two of them, past the greeting, each showing who is who.
    fn pair() -> (Self, Self) {
        let (listener, address) = Self::listen(&store());
        let connecter = Self::start(&["connect", &address, &store()]);
        let (a, b) = (listener.own_line(), connecter.own_line());
        assert_ne!(a, b);
        assert_eq!((listener.peer_line(), connecter.peer_line()), (b, a));
        for chat in [&listener, &connecter] {
            assert!(chat.next_line().starts_with("you have not met before"));
        }
        (listener, connecter)
    }

    /// A listener, and a connection to it.
    fn listen_as(store: &str) -> (Self, TcpStream) {
        let (chat, address) = Self::listen(store);
        let stream = with_deadline(TcpStream::connect(address).unwrap());
        chat.own_line();
        (chat, stream)
    }

    fn listen_for_test() -> (Self, TcpStream) {
        Self::listen_as(&store())
    }

    /// A connecter, and the connection that it made.
    fn connect_to_test() -> (Self, TcpStream) {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let chat = Self::start(&["connect", &listener.local_addr().unwrap().to_string(), &store()]);
        chat.own_line();
        (chat, with_deadline(listener.accept().unwrap().0))
    }

    /// A listener, and its peer, past the greeting.
    fn connected_as(store: &str) -> (Self, Peer) {
        let (chat, stream) = Self::listen_as(store);
        let mut peer = Peer { stream, device: device(UnixTime::now), chat: None };
        peer.greet();
        assert_eq!(chat.peer_line(), peer.device.user());
        assert!(chat.next_line().starts_with("you have not met before"));
        (chat, peer)
    }

    fn connected_to_test() -> (Self, Peer) {
        Self::connected_as(&store())
    }

    fn own_line(&self) -> UserId {
        self.next_line().strip_prefix("you are ").expect("who it is").trim().parse().unwrap()
    }

    fn peer_line(&self) -> UserId {
        self.next_line().strip_prefix("the peer is ").expect("who the peer is").trim().parse().unwrap()
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

/// What a chat takes to be its peer.
struct Peer {
    stream: TcpStream,
    device: Device<MemoryStore>,
    chat: Option<UserId>,
}

impl Peer {
    fn greet(&mut self) {
        for part in greeting(&mut self.device) {
            self.stream.write_all(&framed(&part)).unwrap();
        }
        let list = read_frame(&mut self.stream);
        let user = *subrosa::DeviceList::from_bytes(&list).unwrap().user_id();
        self.chat = Some(user);
        self.device.provide(&list).unwrap();
        let bundle = read_frame(&mut self.stream);
        let device = DeviceId::of(PreKeyBundle::from_bytes(&bundle).unwrap().identity_key());
        self.device.provide_bundle(&Address { user, device }, Some(&bundle)).unwrap();
    }

    fn say(&mut self, content: &[u8]) {
        let out = self.device.send(&self.chat.unwrap(), content).unwrap();
        self.stream.write_all(&framed(&[&[0], &out[0].bytes[..]].concat())).unwrap();
    }

    /// The next message, and its kind; acknowledgements are passed over.
    fn next_message(&mut self) -> (Vec<u8>, u8) {
        loop {
            let frame = read_frame(&mut self.stream);
            if frame != [2] {
                return (frame[1..].to_vec(), frame[0]);
            }
        }
    }

    fn acknowledge(&mut self) {
        self.stream.write_all(&framed(&[2])).unwrap();
    }

    /// The content of the next message, and the message.
    fn hear_without_acknowledging(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (message, kind) = self.next_message();
        assert_eq!(kind, 0);
        let received = self.device.receive(&message, None).unwrap();
        let content = received.into_iter().find_map(|received| match received.event {
            Event::Message { content, .. } => Some(content),
            _ => None,
        });
        (content.unwrap(), message)
    }

    fn hear(&mut self) -> Vec<u8> {
        let (content, _) = self.hear_without_acknowledging();
        self.acknowledge();
        content
    }
}

fn device(clock: fn() -> UnixTime) -> Device<MemoryStore> {
    Device::create(MemoryStore::new(), Config::new(&StorageKey::generate(), clock)).unwrap()
}

/// Device list and bundle.
fn greeting<S: Store>(device: &mut Device<S>) -> [Vec<u8>; 2] {
    let public = device.publication(0).unwrap();
    let one_time = public.one_time_prekeys.first().cloned();
    let bundle = PreKeyBundle::new(public.identity_key, public.signed_prekey, one_time);
    [public.list.to_bytes(), bundle.to_bytes()]
}

/// The name of a file that is not there.
fn store() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("chat-{}-{}.sqlite", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    path.to_str().unwrap().to_owned()
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
