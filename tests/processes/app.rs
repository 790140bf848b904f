//! The app under test, in a process of its own: a device over a file, and a history that outlasts a crash, as an app has it.
//!
//! ```text
//! draft: history ──> send ──> push to the server ──> sent        what came in: receive ──> history ──> acknowledge
//! ```
//! It asks, the server (the test) answers: a line each, which the test finds by the `@`. What has been written to the pipe
//! the server has: it reads on after the process has been killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Display,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use chacha20::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng};
use subrosa::{
    Config, Device, DeviceError, Draft, Event, Incoming, MessageId, Missing, OneTimePreKey, OutboxId,
    Outgoing, Received, StorageKey, UnixTime, UserId, store::SqliteStore,
};

/// What the test tells the app by its environment.
pub(crate) const FILE: &str = "SUBROSA_TEST_STORE";
pub(crate) const HISTORY: &str = "SUBROSA_TEST_HISTORY";
pub(crate) const SEED: &str = "SUBROSA_TEST_APP_SEED";
pub(crate) const NOW: &str = "SUBROSA_TEST_NOW";
/// How many messages to send and to receive before it ends; without it the app goes on until it is killed.
pub(crate) const GOAL: &str = "SUBROSA_TEST_GOAL";

pub(crate) fn store_key() -> StorageKey {
    StorageKey::from_bytes(&[0x5e; 32])
}

/// What an app remembers: a file that is only appended to, a line for each thing that has happened.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) drafts: BTreeMap<MessageId, (UserId, String)>,
    pub(crate) done: BTreeSet<MessageId>,
    pub(crate) read: BTreeMap<MessageId, (UserId, String)>,
    file: Option<File>,
}

impl History {
    /// What is in the file, and whatever is appended from now on goes there. A line that was cut off is not there.
    pub(crate) fn open(path: &Path) -> Self {
        let mut text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text.truncate(whole);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        file.set_len(whole as u64).unwrap();
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let mut history = Self { file: Some(file), ..Self::default() };
        text.lines().for_each(|line| history.take_in(line));
        history
    }

    fn take_in(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let id = MessageId::from_bytes(hex::decode(words[1]).unwrap().try_into().unwrap());
        let message = || (words[2].parse().unwrap(), words[3].to_owned());
        match words[0] {
            "draft" => drop(self.drafts.insert(id, message())),
            "done" => drop(self.done.insert(id)),
            "read" => drop(self.read.insert(id, message())),
            _ => panic!("{line}"),
        }
    }

    /// On the disk when it returns.
    fn append(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        lines.iter().for_each(|line| self.take_in(line));
        let file = self.file.as_mut().unwrap();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        file.sync_data().unwrap();
    }
}

struct App {
    device: Device<SqliteStore>,
    history: History,
    rng: ChaCha20Rng,
    sent: usize,
    received: usize,
}

/// Runs until it is killed, or has reached its goal.
pub(crate) fn run() {
    let Ok(file) = env::var(FILE) else { return };
    let variable = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    say("start");
    let mut rng = ChaCha20Rng::seed_from_u64(variable(SEED).unwrap());
    let now = UnixTime::from_secs(variable(NOW).unwrap());
    let history = History::open(Path::new(&env::var(HISTORY).unwrap()));
    let config = || Config::new(&store_key(), move || now);
    let open = || SqliteStore::open(&file).unwrap();
    let device = match Device::open(open(), config()) {
        Err(DeviceError::NoDevice) => match Device::create(open(), config()) {
            // The other process.
            Err(DeviceError::Occupied) => Device::open(open(), config()).unwrap(),
            created => created.unwrap(),
        },
        opened => opened.unwrap(),
    };
    say(format!("opened {}", device.address()));
    // Each life of it goes another way from the beginning.
    rng.next_u64();
    let mut app = App { device, history, rng, sent: 0, received: 0 };
    match variable(GOAL) {
        // What is in the inbox may be in the other process's hands.
        Some(goal @ 1..) => app.reach(usize::try_from(goal).unwrap()),
        goal => {
            app.begin();
            if goal.is_some() {
                app.finish();
            } else {
                loop {
                    app.step();
                }
            }
        }
    }
    say("finished");
}

impl App {
    /// What an app does when it is started: it looks what was left.
    fn begin(&mut self) {
        let inbox: Vec<_> = self.device.inbox().map(Result::unwrap).collect();
        if !inbox.is_empty() {
            say(format!("redelivered {}", inbox.len()));
        }
        self.keep(&inbox);
        self.push_outbox();
        let open: Vec<_> =
            self.history.drafts.keys().filter(|id| !self.history.done.contains(id)).copied().collect();
        if !open.is_empty() {
            say(format!("again {}", open.len()));
        }
        self.send(&open);
        self.publish();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..16) {
            0..6 => self.write(),
            6..12 => self.poll(),
            12 => self.publish(),
            13 => drop(self.device.maintain().unwrap()),
            14 => self.forget(),
            _ => self.push_outbox(),
        }
    }

    /// Sends and receives that many messages.
    fn reach(&mut self, goal: usize) {
        self.publish();
        while self.sent < goal || self.received < goal {
            match self.rng.random_range(0..200) {
                0 => self.push_outbox(),
                1 => self.publish(),
                number if number % 2 == 0 && self.sent < goal => self.write(),
                _ => self.poll(),
            }
        }
    }

    /// Until nothing is left.
    fn finish(&mut self) {
        while self.poll_some() + self.device.outbox().count() > 0 {
            self.push_outbox();
        }
        self.publish();
        assert_eq!(self.device.outbox().count() + self.device.inbox().count(), 0);
    }

    /// New drafts, to somebody.
    fn write(&mut self) {
        let to = ask("peer");
        let mut ids = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let mut id = [0; 16];
            self.rng.fill_bytes(&mut id);
            let id = MessageId::from_bytes(id);
            lines.push(format!("draft {id} {to} text-{}", self.rng.random_range(0..u64::MAX)));
            ids.push(id);
        }
        self.sent += ids.len();
        self.history.append(&lines);
        self.send(&ids);
    }

    /// Sends drafts of the history, one by one or at once, and pushes them before or after noting it.
    fn send(&mut self, ids: &[MessageId]) {
        let at_once = if self.rng.random() { ids.len().max(1) } else { 1 };
        for ids in ids.chunks(at_once) {
            let drafts: Vec<_> = ids.iter().map(|id| (*id, self.history.drafts[id].clone())).collect();
            let drafts: Vec<_> =
                drafts.iter().map(|(id, (to, text))| Draft::new(to, text.as_bytes()).with_id(*id)).collect();
            let out = loop {
                match self.device.send_many(&drafts) {
                    Err(DeviceError::Missing(missing)) => self.fetch(&missing),
                    out => break out.unwrap(),
                }
            };
            let done: Vec<_> = ids.iter().map(|id| format!("done {id}")).collect();
            let first = self.rng.random();
            if first {
                self.history.append(&done);
            }
            self.push(&out);
            if !first {
                self.history.append(&done);
            }
        }
    }

    fn fetch(&mut self, missing: &Missing) {
        for user in &missing.lists {
            let list = hex::decode(ask(format!("list {user}"))).unwrap();
            self.device.provide(&list).unwrap();
        }
        for address in &missing.bundles {
            let bundle = hex::decode(ask(format!("bundle {address}"))).unwrap();
            self.device.provide_bundle(address, Some(&bundle)).unwrap();
        }
    }

    fn push_outbox(&mut self) {
        let outbox: Vec<_> = self.device.outbox().map(Result::unwrap).collect();
        self.push(&outbox);
    }

    fn push(&mut self, out: &[Outgoing]) {
        out.iter().for_each(|out| say(format!("push {} {}", out.to, hex::encode(&out.bytes))));
        let ids: Vec<OutboxId> = out.iter().map(|out| out.id).collect();
        self.device.sent(ids).unwrap();
    }

    fn publish(&mut self) {
        let publication = self.device.publication(ask("stock").parse().unwrap()).unwrap();
        let one_time: Vec<_> = publication.one_time_prekeys.iter().map(OneTimePreKey::to_bytes).collect();
        say(format!(
            "publish {} {} {} -{}",
            hex::encode(publication.list.to_bytes()),
            hex::encode(publication.identity_key.to_bytes()),
            hex::encode(publication.signed_prekey.to_bytes()),
            one_time.iter().map(hex::encode).collect::<Vec<_>>().join(","),
        ));
        self.device.published(&publication).unwrap();
    }

    /// Forgets whom the server names, and who has nothing under way.
    fn forget(&mut self) {
        self.push_outbox();
        let Ok(user) = ask("forget").parse::<UserId>() else { return };
        match self.device.forget(&user) {
            Ok(()) | Err(DeviceError::UnknownUser) => say(format!("forgotten {user}")),
            Err(error) => panic!("{error}"),
        }
    }

    fn poll(&mut self) {
        self.poll_some();
    }

    /// Receives what the server has, and how many that is.
    fn poll_some(&mut self) -> usize {
        say("poll");
        let mut mail = Vec::new();
        loop {
            let line = read_line();
            let words: Vec<_> = line.split(' ').collect();
            match *words.as_slice() {
                ["mail", number, from, bytes] => {
                    mail.push((number.to_owned(), from.parse::<UserId>().ok(), hex::decode(bytes).unwrap()));
                }
                ["end"] => break,
                _ => panic!("{line}"),
            }
        }
        let incoming: Vec<_> =
            mail.iter().map(|(_, from, bytes)| Incoming { bytes, from: from.as_ref() }).collect();
        let at_once = if self.rng.random() { incoming.len().max(1) } else { 1 };
        let mut numbers = mail.iter().map(|(number, ..)| number);
        for incoming in incoming.chunks(at_once) {
            let results = match incoming {
                [one] => vec![self.device.receive(one.bytes, one.from)],
                many => self.device.receive_many(many),
            };
            assert_eq!(results.len(), incoming.len());
            // The server may be told before the app has everything: the inbox has it.
            let first = self.rng.random();
            let mut received = Vec::new();
            let mut confirmed = Vec::new();
            for (result, number) in results.into_iter().zip(numbers.by_ref()) {
                confirmed.push(match &result {
                    Ok(_) => format!("got {number} ok"),
                    Err(error) => format!("got {number} {error:?}"),
                });
                received.extend(result.unwrap_or_default());
            }
            if first {
                confirmed.iter().for_each(say);
            }
            self.keep(&received);
            if !first {
                confirmed.iter().for_each(say);
            }
        }
        mail.len()
    }

    /// Takes into the history what came in, and acknowledges it. What is there already must be marked.
    fn keep(&mut self, received: &[Received]) {
        let mut lines = BTreeMap::new();
        for Received { id: in_inbox, from, event, redelivered, .. } in received {
            match event {
                Event::Message { id, content, resent, .. } => {
                    let text = String::from_utf8(content.clone()).unwrap();
                    if self.history.read.contains_key(id) || lines.contains_key(id) {
                        say(format!("twice {} {redelivered} {resent} {id}", from.user));
                    } else {
                        self.received += 1;
                        lines.insert(*id, format!("read {id} {} {text}", from.user));
                    }
                }
                event => say(format!("event {} {event:?} {in_inbox}", from.user)),
            }
        }
        self.history.append(&lines.into_values().collect::<Vec<_>>());
        let ids: Vec<_> = received.iter().map(|received| received.id).collect();
        self.device.acknowledge(ids).unwrap();
    }
}

/// Tells the server something. When this returns it has it.
fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    out.write_all(format!("@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn ask(question: impl Display) -> String {
    say(question);
    read_line()
}

fn read_line() -> String {
    let mut line = String::new();
    assert!(io::stdin().read_line(&mut line).unwrap() > 0, "the server is gone");
    line.trim_end().to_owned()
}
