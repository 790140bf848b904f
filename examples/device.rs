//! Alice has a phone and a laptop, Bob has a phone. Everything stops and starts again all the time, and crashes at
//! the worst moments; nothing is lost, and nothing comes twice.
//!
//! `cargo run --example device`
//!
//! [`story`] is the script: which device does what, and what it says. Every step is a process of its own (this program,
//! started with arguments), so that all a device knows is what it has in its SQLite file.
#![allow(clippy::print_stdout, reason = "an example that shows its results")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use subrosa::{
    Address, Device, DeviceError, DeviceList, Event, IdentityKey, LOW_WATER, Link, OneTimePreKey, Outgoing,
    PreKeyBundle, Publication, Received, SignedPreKey, StorageKey, Trust, UserId, store::SqliteStore,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type App = Device<SqliteStore>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => story(&Stage::new()?),
        [folder, device, ref action @ ..] => step(Path::new(folder), device, action),
        _ => Err("usage: device".into()),
    }
}

/// Fails when a device does not say exactly what stands here.
fn story(stage: &Stage) -> Result<()> {
    println!("Two users, one device each. In person they compare who they are.");
    stage.step("alice-phone", "create", &["I am alice"])?;
    stage.step("bob-phone", "create", &["I am bob"])?;
    stage.step("alice-phone", "compare bob", &["this is bob"])?;
    stage.step("bob-phone", "compare alice", &["this is alice"])?;

    println!("Alice links a laptop. It shows a code until her phone has scanned it and has been answered.");
    let laptop = stage.begin("alice-laptop", "link", "")?;
    stage.step("alice-phone", "offer", &["scanned the code, and made an offer"])?;
    stage.step("alice-phone", "approve", &["the laptop is one of my devices now"])?;
    stage.end("alice-laptop", laptop, &["linked, and know 2 users"])?;

    println!("Bob writes to both devices. His phone dies before anything has gone to the server.");
    stage.crash("bob-phone", "send alice Hello!", "sending")?;
    stage.step("bob-phone", "start", &["the server has it: 2"])?;
    stage.step("bob-phone", "start", &[])?;

    println!("Alice's phone dies when it has read that, and has neither shown it nor told the server.");
    stage.crash("alice-phone", "start", "reading")?;
    stage.step("alice-phone", "start", &["bob: Hello! (again?)", "dropped what came twice"])?;
    stage.step("alice-phone", "start", &[])?;

    println!("The laptop answers. It dies when the server has the answer, and it has not noted that.");
    stage.step("alice-laptop", "start", &["bob: Hello!"])?;
    stage.crash("alice-laptop", "send bob Hi Bob!", "uploading")?;
    stage.step("alice-laptop", "start", &["the server has it: 2"])?;
    stage.step("bob-phone", "start", &["alice: Hi Bob!", "dropped what came twice"])?;
    let synced = ["to bob from my other device: Hi Bob!", "dropped what came twice"];
    stage.step("alice-phone", "start", &synced)?;

    println!("Alice leaves the laptop on a train, and unlinks it. Her next message tells Bob's phone.");
    stage.step("alice-phone", "unlink", &["the laptop is none of my devices any more"])?;
    stage.step("alice-phone", "send bob I lost my laptop.", &["the server has it: 1"])?;
    stage.step("bob-phone", "start", &["alice's devices: 0 more, 1 gone", "alice: I lost my laptop."])?;
    stage.step("bob-phone", "send alice What a pity.", &["the server has it: 1"])?;
    stage.step("alice-phone", "start", &["bob: What a pity."])?;
    let unlinked =
        ["alice's devices: 0 more, 1 gone", "I was unlinked", "I cannot: this device was unlinked"];
    stage.step("alice-laptop", "send bob Who am I?", &unlinked)
}

/// One step of one device, in a process of its own: what an app does.
fn step(folder: &Path, name: &str, action: &[&str]) -> Result<()> {
    let (server, people) = (Server(folder.join("server")), folder.join("people"));
    let user_of = |person: &str| -> Result<UserId> { Ok(fs::read_to_string(people.join(person))?.parse()?) };
    let store = SqliteStore::open(folder.join(name).with_extension("sqlite"))?;
    // An app keeps the key in the platform's keychain, never beside the file.
    let key_file = folder.join(name).with_extension("key");
    if !key_file.exists() {
        put(&key_file, &StorageKey::generate().to_bytes())?;
    }
    let key = StorageKey::from_bytes(fs::read(key_file)?.as_slice().try_into()?);

    let mut device = match action {
        ["create"] => Device::create(store, &key)?,
        ["link"] => link(folder, Link::begin(store, &key)?)?,
        _ => Device::open(store, &key)?,
    };
    if action == ["create"] {
        let person = name.split('-').next().unwrap_or(name);
        println!("I am {person}");
        put(&people.join(person), device.user().to_string().as_bytes())?;
    }
    upload(&server, &mut device)?;
    download(&server, &people, &mut device)?;
    match action {
        ["compare", person] => {
            // Of what the other one's screen shows: a server is not to be believed who is who.
            device.set_trust(&user_of(person)?, Trust::Verified)?;
            println!("this is {person}");
        }
        ["send", person, text] => {
            if let Err(error) = send(&server, &mut device, &user_of(person)?, text) {
                println!("I cannot: {error}");
            }
        }
        ["offer"] => {
            let code = String::from_utf8(wait_for(&folder.join("screen-of-laptop"))?)?;
            put(&folder.join("server/link-offer"), &device.offer_link(&code)?)?;
            println!("scanned the code, and made an offer");
        }
        ["approve"] => {
            let grant = device.approve_link(&wait_for(&folder.join("server/link-reply"))?)?;
            put(&folder.join("server/link-grant"), &grant)?;
            println!("the laptop is one of my devices now");
        }
        ["unlink"] => {
            let own = device.user_info(&device.user())?.ok_or("unknown to itself")?;
            let this = device.address().device;
            for other in own.devices.iter().filter(|id| **id != this) {
                device.unlink(other)?;
            }
            println!("the laptop is none of my devices any more");
        }
        _ => {}
    }
    upload(&server, &mut device)
}

/// The new device's side of linking. The code goes from its screen to the phone's camera, the rest over the server.
fn link(folder: &Path, mut link: Link<SqliteStore>) -> Result<App> {
    put(&folder.join("screen-of-laptop"), link.code().as_bytes())?;
    let offer = wait_for(&folder.join("server/link-offer"))?;
    let user = link.user_of(&offer)?;
    // Alice looks at both screens, or the laptop would be of whoever made the offer.
    if user.to_string() != fs::read_to_string(folder.join("people/alice"))? {
        return Err("this is not Alice's phone".into());
    }
    put(&folder.join("server/link-reply"), &link.confirm(&offer, &user)?)?;
    let device = link.complete(&wait_for(&folder.join("server/link-grant"))?)?;
    println!("linked, and know {} users", device.users().count());
    Ok(device)
}

/// Encrypts for every device that has to get it. What this returns is in the outbox already, from which it is sent.
fn send(server: &Server, device: &mut App, to: &UserId, text: &str) -> Result<()> {
    for _ in 0..3 {
        let missing = match device.send(to, text.as_bytes()) {
            Ok(_) => {
                crash_if("sending");
                return Ok(());
            }
            Err(DeviceError::Missing(missing)) => missing,
            Err(error) => return Err(error.into()),
        };
        for user in &missing.lists {
            device.provide(&server.list(user)?)?;
        }
        for address in &missing.bundles {
            device.provide_bundle(address, server.bundle(address)?.as_deref())?;
        }
    }
    Err("the server does not give what is missing".into())
}

/// What the server does not have yet.
fn upload(server: &Server, device: &mut App) -> Result<()> {
    let stock = server.stock(&device.address());
    if device.maintain()?.publish || stock < LOW_WATER {
        let publication = device.publication(stock)?;
        server.publish(&publication)?;
        device.published(&publication)?;
    }
    let outbox = device.outbox().collect::<std::result::Result<Vec<_>, _>>()?;
    outbox.iter().try_for_each(|out| server.push(out))?;
    if !outbox.is_empty() {
        crash_if("uploading");
        println!("the server has it: {}", outbox.len());
    }
    Ok(device.sent(outbox.iter().map(|out| out.id))?)
}

/// What this device does not have yet.
fn download(server: &Server, people: &Path, device: &mut App) -> Result<()> {
    // The list of its own user, by which it learns that it was unlinked. The server's is as new as its own: `upload` ran.
    device.provide(&server.list(&device.user())?)?;
    let inbox = device.inbox().collect::<std::result::Result<Vec<_>, _>>()?;
    show(people, device, &inbox)?;
    for (file, message) in server.mail(&device.address())? {
        match device.receive(&message, None) {
            Ok(received) => {
                crash_if("reading");
                show(people, device, &received)?;
            }
            Err(DeviceError::Message(subrosa::Error::Duplicate)) => println!("dropped what came twice"),
            // It stays on the server, and those behind it are read all the same.
            Err(error) if error.keeps_message() => {
                println!("not yet: {error}");
                continue;
            }
            Err(error) => println!("dropped: {error}"),
        }
        fs::remove_file(file)?; // tells the server that it arrived
    }
    Ok(())
}

/// Shows what came in. An app writes it to its history instead, and acknowledges it when it is safe there.
fn show(people: &Path, device: &mut App, inbox: &[Received]) -> Result<()> {
    let name = |user: &UserId| -> Result<String> {
        let is =
            |file: &fs::DirEntry| fs::read_to_string(file.path()).is_ok_and(|text| text == user.to_string());
        let file = fs::read_dir(people)?.flatten().find(is).ok_or("a stranger")?;
        Ok(file.file_name().to_string_lossy().into_owned())
    };
    for received in inbox {
        let from = name(&received.from.user)?;
        match &received.event {
            Event::Message { content, .. } => {
                let again = if received.redelivered { " (again?)" } else { "" };
                println!("{from}: {}{again}", String::from_utf8_lossy(content));
            }
            Event::SentElsewhere { to, content, .. } => {
                println!("to {} from my other device: {}", name(to)?, String::from_utf8_lossy(content));
            }
            Event::DevicesChanged { added, removed, .. } => {
                println!("{from}'s devices: {} more, {} gone", added.len(), removed.len());
            }
            Event::Unlinked => println!("I was unlinked"),
            other => println!("{from}: {other:?}"),
        }
    }
    Ok(device.acknowledge(inbox.iter().map(|received| received.id))?)
}

/// A server. This folder is all that it sees: who has which devices, public keys, ciphertext and for which device it is.
struct Server(PathBuf);

impl Server {
    fn publish(&self, new: &Publication) -> Result<()> {
        let stock = self.0.join(format!("stock/{}", new.address.device));
        let list = self.list(&new.address.user).ok().and_then(|list| DeviceList::from_bytes(&list).ok());
        if list.is_none_or(|list| list.version() < new.list.version()) {
            put(&self.0.join(format!("lists/{}", new.address.user)), &new.list.to_bytes())?;
        }
        put(&stock.join("identity-key"), &new.identity_key.to_bytes())?;
        put(&stock.join("signed-prekey"), &new.signed_prekey.to_bytes())?;
        for prekey in new.one_time_prekeys.iter().map(OneTimePreKey::to_bytes) {
            // Named by its public key. One that was handed out does not come back when an upload is repeated.
            let name: String = prekey.iter().skip(1).take(16).map(|byte| format!("{byte:02x}")).collect();
            if !stock.join("used").join(&name).exists() {
                put(&stock.join("unused").join(name), &prekey)?;
            }
        }
        Ok(())
    }

    fn stock(&self, address: &Address) -> usize {
        fs::read_dir(self.0.join(format!("stock/{}/unused", address.device))).map_or(0, Iterator::count)
    }

    fn list(&self, user: &UserId) -> Result<Vec<u8>> {
        Ok(fs::read(self.0.join(format!("lists/{user}")))?)
    }

    /// For who wants to write to a device for the first time: each one-time prekey is handed out once.
    fn bundle(&self, address: &Address) -> Result<Option<Vec<u8>>> {
        let stock = self.0.join(format!("stock/{}", address.device));
        let Ok(identity_key) = fs::read(stock.join("identity-key")) else { return Ok(None) };
        let signed = SignedPreKey::from_bytes(&fs::read(stock.join("signed-prekey"))?)?;
        let one_time = match fs::read_dir(stock.join("unused"))?.next() {
            Some(file) => {
                let file = file?;
                let prekey = fs::read(file.path())?;
                put(&stock.join("used").join(file.file_name()), &[])?;
                fs::remove_file(file.path())?;
                Some(OneTimePreKey::from_bytes(&prekey)?)
            }
            None => None,
        };
        Ok(Some(PreKeyBundle::new(IdentityKey::from_bytes(&identity_key)?, signed, one_time).to_bytes()))
    }

    fn push(&self, out: &Outgoing) -> Result<()> {
        let time = UNIX_EPOCH.elapsed()?.as_nanos();
        put(&self.0.join(format!("mail/{}/{time:030}", out.to.device)), &out.bytes)
    }

    fn mail(&self, address: &Address) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let Ok(folder) = fs::read_dir(self.0.join(format!("mail/{}", address.device))) else {
            return Ok(vec![]);
        };
        let mut files: Vec<_> = folder.flatten().map(|file| file.path()).collect();
        files.sort();
        files.into_iter().map(|file| Ok((file.clone(), fs::read(file)?))).collect()
    }
}

/// Writes a file as a whole, or not at all.
fn put(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(file.parent().ok_or("no folder")?)?;
    let new = env::temp_dir().join(format!("subrosa-{}.new", process::id()));
    fs::write(&new, bytes)?;
    Ok(fs::rename(new, file)?)
}

fn wait_for(file: &Path) -> Result<Vec<u8>> {
    for _ in 0..600 {
        if let Ok(bytes) = fs::read(file) {
            return Ok(bytes);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{} does not come", file.display()).into())
}

/// Dies without any warning, if the script wants it at this moment.
fn crash_if(moment: &str) {
    if env::var("CRASH").is_ok_and(|wanted| wanted == moment) {
        process::abort();
    }
}

/// Runs the steps in a folder that is deleted at the end.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("subrosa-device-{}", process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn begin(&self, device: &str, action: &str, crash: &str) -> Result<Child> {
        let action = action.splitn(3, ' ');
        let mut command = Command::new(env::current_exe()?);
        command.arg(&self.0).arg(device).args(action).env("CRASH", crash).stdout(Stdio::piped());
        Ok(command.spawn()?)
    }

    fn end(&self, device: &str, process: Child, expected: &[&str]) -> Result<ExitStatus> {
        let output = process.wait_with_output()?;
        let said = String::from_utf8(output.stdout)?;
        said.lines().for_each(|line| println!("  {device:<13} {line}"));
        // An error ends a process with 1, a panic with 101.
        let failed = matches!(output.status.code(), Some(1 | 101));
        if failed || !said.lines().eq(expected.iter().copied()) {
            return Err(format!("{device} was expected to say {expected:?} ({})", output.status).into());
        }
        Ok(output.status)
    }

    fn step(&self, device: &str, action: &str, expected: &[&str]) -> Result<()> {
        let status = self.end(device, self.begin(device, action, "")?, expected)?;
        if status.success() { Ok(()) } else { Err(format!("{device} crashed").into()) }
    }

    fn crash(&self, device: &str, action: &str, moment: &str) -> Result<()> {
        let status = self.end(device, self.begin(device, action, moment)?, &[])?;
        println!("  {device:<13} *crash*");
        if status.success() { Err(format!("{device} did not crash").into()) } else { Ok(()) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
