//! The driver around a machine that only does what its clients tell it to, over real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::boundary::{
    Action, Appetite, Channel, CloseReason, Fault, FourLetterWord, Input, Outbox, SnapshotStep,
    Whom, WriteOp,
};
use vivarium_core::config::{LearnerType, Member};
use vivarium_core::ids::{ConnId, Epoch, LinkId, ServerId, WriteSeq, Zxid};
use vivarium_core::node::{RoleName, Status};
use vivarium_core::pipeline::Throttled;
use vivarium_core::recovery::Recovered;
use vivarium_core::time::{Instant, Now};

use super::clock::Clock;
use super::disk::{Disk, Presync, Trouble};
use super::listen::{self, Purpose};
use super::turn::Machine;
use super::{StartError, drive};
use crate::config::{Endpoint, Settings};
use crate::exit::Exit;

const PATIENCE: Duration = Duration::from_secs(10);

type Log = Arc<Mutex<Vec<String>>>;

/// Obeys words: `halt`, `ruok`, `bye`, `write`, `dial`, `fast`, `big`; echoes anything else.
struct Obedient {
    log: Log,
    todo: Vec<Todo>,
    written: u64,
    /// Who waits for which write.
    writers: Vec<(WriteSeq, ConnId)>,
    link: Option<LinkId>,
    fasting: bool,
    holding: bool,
    alarm: Option<Instant>,
}

enum Todo {
    Plain(Action),
    Reply(ConnId, Vec<u8>),
}

impl Obedient {
    fn word(&mut self, conn: ConnId, bytes: &[u8]) {
        let close = |why| {
            Todo::Plain(Action::Close {
                whom: Whom::Client(conn),
                why,
            })
        };
        match bytes {
            b"halt" => self.todo.push(Todo::Plain(Action::Halt(Fault::Stopped))),
            b"ruok" => {
                let word = FourLetterWord::Ruok;
                self.todo.push(Todo::Plain(Action::Command { conn, word }));
            }
            b"bye" => {
                self.todo.push(Todo::Reply(conn, b"so long".to_vec()));
                self.todo.push(close(CloseReason::Stopping));
            }
            b"write" => {
                self.written += 1;
                let seq = WriteSeq(self.written);
                self.writers.push((seq, conn));
                let op = WriteOp::AcceptedEpoch(Epoch(self.written as i64));
                self.todo.push(Todo::Plain(Action::Write { seq, op }));
            }
            b"dial" => {
                let (peer, channel) = (ServerId(2), Channel::Election);
                self.todo.push(Todo::Plain(Action::Dial { peer, channel }));
            }
            b"fast" => self.fasting = true,
            b"hold" => self.holding = true,
            b"release" => self.holding = false,
            b"big" => self.todo.push(Todo::Reply(conn, big())),
            other => self.todo.push(Todo::Reply(conn, other.to_vec())),
        }
    }
}

/// More than sockets take at once.
fn big() -> Vec<u8> {
    (0..8_u32 << 20).map(|i| (i % 251) as u8).collect()
}

impl Machine for Obedient {
    fn handle(&mut self, now: Now, input: Input<'_>) {
        let line = match &input {
            Input::ClientBytes { .. } => "ClientBytes".to_owned(),
            Input::LinkDrained { bytes, .. } => format!("LinkDrained {bytes}"),
            other => format!("{other:?}"),
        };
        self.log.lock().expect("log").push(line);
        match input {
            Input::ClientBytes { conn, bytes } => self.word(conn, bytes),
            Input::LinkOpened {
                link,
                peer: Some(_),
                ..
            } => {
                self.link = Some(link);
                let body = Bytes::from(big());
                self.todo
                    .push(Todo::Plain(Action::SendShared { link, body }));
            }
            Input::LinkBytes { .. } => self.fasting = false,
            Input::Persisted { upto } => {
                for (seq, conn) in std::mem::take(&mut self.writers) {
                    if seq <= upto {
                        self.todo.push(Todo::Reply(conn, b"stable".to_vec()));
                    } else {
                        self.writers.push((seq, conn));
                    }
                }
            }
            Input::Wake => self.alarm = Some(now.mono + Duration::from_millis(20)),
            _ => {}
        }
    }

    fn flush(&mut self, _now: Now, out: &mut Outbox) {
        assert!(out.is_empty());
        for todo in self.todo.drain(..) {
            let action = match todo {
                Todo::Plain(action) => action,
                Todo::Reply(conn, bytes) => {
                    let bytes = out.write(|arena| arena.extend_from_slice(&bytes));
                    Action::Reply { conn, bytes }
                }
            };
            out.push(action);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.alarm
    }

    fn appetite(&self) -> Appetite {
        Appetite {
            clients: !self.fasting,
            quorum: !self.holding,
        }
    }

    fn status(&self) -> Status {
        Status {
            role: RoleName::Standalone,
            leader: None,
            serving: true,
            read_only: false,
            established: None,
            accepted_epoch: Epoch(0),
            current_epoch: Epoch(0),
            applied: Zxid(0),
            visible: Zxid(0),
            logged: Zxid(0),
            digest: 0,
            node_count: 0,
            watch_count: 0,
            data_watches: Default::default(),
            ephemeral_count: 0,
            data_bytes: 0,
            sessions: 0,
            local_sessions: 0,
            connections: 0,
            connections_rejected: 0,
            throttled: Throttled::default(),
            outstanding: 0,
            learners: 0,
            synced_followers: 0,
            synced_observers: 0,
            pending_syncs: 0,
            packets_received: 0,
            packets_sent: 0,
            proposal_sizes: (-1, -1, -1),
            digest_mismatches: 0,
            disk_full: false,
            disk_stuck: false,
            writes_refused: false,
            snapshot_errors: 0,
        }
    }
}

struct Memory(Log);

impl Disk for Memory {
    fn write(&mut self, _op: &WriteOp) -> Result<Option<Box<Recovered>>, Trouble> {
        self.0.lock().expect("log").push("disk: write".into());
        Ok(None)
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        self.0.lock().expect("log").push("disk: sync".into());
        Ok(())
    }

    fn snapshot(&mut self, _step: &SnapshotStep) -> Result<(), String> {
        Ok(())
    }
}

impl Presync for Memory {
    fn presync(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A driver in a thread of its own.
struct Running {
    clients: SocketAddr,
    /// For elections.
    servers: SocketAddr,
    quorum: SocketAddr,
    log: Log,
    thread: JoinHandle<Result<Exit, StartError>>,
}

impl Running {
    /// `peer` is where server 2 can be dialled.
    fn start(peer: SocketAddr, max_client_connections: usize, alarm: bool) -> Self {
        let log: Log = Arc::default();
        let (tell, told) = std::sync::mpsc::channel();
        let for_thread = log.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let servers = [Channel::Election, Channel::Quorum].map(Purpose::Servers);
            let bound: Vec<_> = {
                let _entered = runtime.enter();
                let any = Endpoint {
                    host: "127.0.0.1".into(),
                    port: 0,
                };
                [Purpose::Clients, servers[0], servers[1]]
                    .map(|p| (listen::bind(p, "any", &any).expect("a free port"), p))
                    .into()
            };
            let address = |i: usize| bound[i].0.local_addr().expect("bound");
            let addresses = (address(0), address(1), address(2));
            tell.send(addresses).expect("the test waits");
            let machine = Obedient {
                log: for_thread.clone(),
                todo: Vec::new(),
                written: 0,
                writers: Vec::new(),
                link: None,
                fasting: false,
                holding: false,
                alarm: alarm.then_some(Instant(0)),
            };
            let disks = (Memory(for_thread.clone()), Memory(for_thread));
            let settings = settings(peer, max_client_connections);
            drive(&runtime, settings, machine, Clock::start(), disks, bound)
        });
        let (clients, servers, quorum) = told.recv().expect("the driver binds");
        Self {
            clients,
            servers,
            quorum,
            log,
            thread,
        }
    }

    fn simple() -> Self {
        Self::start("127.0.0.1:1".parse().expect("an address"), 0, false)
    }

    fn client(&self) -> TcpStream {
        open(self.clients)
    }

    /// Stops the driver and gives its log.
    fn halt(self) -> Vec<String> {
        self.client().write_all(b"halt").expect("the driver reads");
        let exit = self.thread.join().expect("no panic").expect("started");
        assert_eq!(exit, Exit::Success);
        Arc::into_inner(self.log)
            .expect("all threads ended")
            .into_inner()
            .expect("log")
    }

    fn has_logged(&self, line: &str) -> bool {
        let log = self.log.lock().expect("log");
        log.iter().any(|l| l.starts_with(line))
    }

    fn wait_for(&self, line: &str) {
        let until = std::time::Instant::now() + PATIENCE;
        while !self.has_logged(line) {
            assert!(
                std::time::Instant::now() < until,
                "no {line} in {:?}",
                self.log
            );
            std::thread::yield_now();
        }
    }
}

fn settings(peer: SocketAddr, max_client_connections: usize) -> Settings {
    let mut settings = Settings::standalone();
    settings.rules.address_connections_max = max_client_connections;
    let member = Member {
        kind: LearnerType::Participant,
        host: peer.ip().to_string(),
        quorum_port: 1,
        election_port: peer.port(),
        client_address: None,
    };
    settings.members.insert(ServerId(2), member);
    settings
}

fn open(address: SocketAddr) -> TcpStream {
    let mut tries = 0;
    let stream = loop {
        // The port is bound before it listens.
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if tries < 1_000 => tries += 1,
            Err(error) => panic!("{address}: {error}"),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn ask(stream: &mut TcpStream, word: &[u8], answer: &[u8]) {
    stream.write_all(word).expect("the driver reads");
    let mut found = vec![0; answer.len()];
    stream.read_exact(&mut found).expect("the driver answers");
    assert_eq!(found, answer);
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an orderly end");
    all
}

#[test]
fn answers_come_back_on_their_own_connection() {
    let running = Running::simple();
    let (mut a, mut b) = (running.client(), running.client());
    for i in 0..100 {
        ask(
            &mut a,
            format!("a{i}").as_bytes(),
            format!("a{i}").as_bytes(),
        );
        ask(
            &mut b,
            format!("b{i}").as_bytes(),
            format!("b{i}").as_bytes(),
        );
    }
    drop((a, b));
    running.wait_for("ClientClosed");
    let log = running.halt();
    assert_eq!(
        log.iter().filter(|l| l.starts_with("ClientOpened")).count(),
        3
    );
}

#[test]
fn a_large_answer_arrives_whole_when_it_is_read_late() {
    let running = Running::simple();
    let (mut slow, mut other) = (running.client(), running.client());
    slow.write_all(b"big").expect("the driver reads");
    running.wait_for("ClientBytes");
    for _ in 0..50 {
        ask(&mut other, b"x", b"x");
    }
    // More than a mebibyte is unread: this word is not even looked at before the answer is.
    slow.write_all(b"y").expect("the system takes it");
    let mut found = vec![0; big().len() + 1];
    slow.read_exact(&mut found).expect("the driver goes on");
    assert!(found[..big().len()] == big()[..] && found[big().len()..] == *b"y");
    running.halt();
}

#[test]
fn closing_sends_what_was_said_before() {
    let running = Running::simple();
    let mut client = running.client();
    client.write_all(b"bye").expect("the driver reads");
    assert_eq!(rest(&mut client), b"so long");
    let mut client = running.client();
    client.write_all(b"ruok").expect("the driver reads");
    assert_eq!(rest(&mut client), b"imok");
    let log = running.halt();
    // The machine closed these itself: it is not told again.
    assert!(
        !log.iter().any(|l| l.starts_with("ClientClosed")),
        "{log:?}"
    );
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let running = Running::simple();
    for word in [&b"ruok"[..], b"echo"] {
        let mut client = running.client();
        client.write_all(word).expect("the driver reads");
        client.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(
            rest(&mut client),
            if word == b"ruok" { b"imok" } else { b"echo" }
        );
    }
    running.wait_for("ClientClosed");
    running.halt();
}

#[test]
fn a_write_is_answered_after_its_sync() {
    let running = Running::simple();
    let mut client = running.client();
    ask(&mut client, b"write", b"stable");
    let log = running.halt();
    let at = |text: &str| {
        log.iter()
            .position(|l| l.starts_with(text))
            .expect("in the log")
    };
    assert!(at("disk: write") < at("disk: sync"));
    assert!(at("disk: sync") < at("Persisted"));
}

#[test]
fn what_is_queued_for_the_disk_is_synced_before_the_end() {
    let running = Running::simple();
    let mut client = running.client();
    client.write_all(b"write").expect("the driver reads");
    running.wait_for("ClientBytes");
    let log = running.halt();
    assert!(log.iter().any(|l| l == "disk: sync"), "{log:?}");
}

#[test]
fn without_appetite_clients_wait_and_servers_do_not() {
    let running = Running::simple();
    let mut client = running.client();
    client.write_all(b"fast").expect("the driver reads");
    running.wait_for("ClientBytes");
    client.write_all(b"x").expect("the system takes it");
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    client.read_exact(&mut [0]).expect_err("the machine fasts");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut server = open(running.servers);
    server.write_all(b"eat").expect("the driver reads");
    let mut answer = [0];
    client.read_exact(&mut answer).expect("the machine eats");
    assert_eq!(&answer, b"x");
    running.halt();
}

#[test]
fn without_appetite_for_them_links_of_the_quorum_wait() {
    let running = Running::simple();
    let mut client = running.client();
    client.write_all(b"hold").expect("the driver reads");
    running.wait_for("ClientBytes");
    let mut server = open(running.quorum);
    server
        .write_all(b"more of a snapshot")
        .expect("the system takes it");
    running.wait_for("LinkOpened");
    // Clients are answered, elections are held, and a while goes by.
    for word in [b"x", b"y"] {
        client.write_all(word).expect("the driver reads");
        client.read_exact(&mut [0]).expect("an answer");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(!running.has_logged("LinkBytes"));
    let mut election = open(running.servers);
    election.write_all(b"a vote").expect("the system takes it");
    running.wait_for("LinkBytes");
    let bytes = |log: &[String]| log.iter().filter(|l| l.starts_with("LinkBytes")).count();
    client.write_all(b"release").expect("the driver reads");
    let until = std::time::Instant::now() + PATIENCE;
    while bytes(&running.log.lock().expect("log")) < 2 {
        assert!(std::time::Instant::now() < until, "the link is never read");
        std::thread::yield_now();
    }
    running.halt();
}

#[test]
fn dialling_ends_in_a_link_or_in_failure() {
    let peer = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let running = Running::start(peer.local_addr().expect("bound"), 0, false);
    let mut client = running.client();
    client.write_all(b"dial").expect("the driver reads");
    let (mut link, _) = peer.accept().expect("dialled");
    link.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut found = vec![0; big().len()];
    link.read_exact(&mut found).expect("the link's bytes");
    assert!(found == big());
    drop((link, peer));
    running.wait_for("LinkClosed");
    client.write_all(b"dial").expect("the driver reads");
    running.wait_for("DialFailed");
    let log = running.halt();
    let drained = |l: &String| l.strip_prefix("LinkDrained ").map(|n| n.parse::<usize>());
    let sum: usize = log
        .iter()
        .filter_map(drained)
        .map(|n| n.expect("a number"))
        .sum();
    assert_eq!(sum, big().len(), "every byte that left is told, once");
}

#[test]
fn the_alarm_rings() {
    let running = Running::start("127.0.0.1:1".parse().expect("an address"), 0, true);
    let until = std::time::Instant::now() + PATIENCE;
    let wakes = || {
        running
            .log
            .lock()
            .expect("log")
            .iter()
            .filter(|l| *l == "Wake")
            .count()
    };
    while wakes() < 5 {
        assert!(std::time::Instant::now() < until, "{:?}", running.log);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    running.halt();
}
