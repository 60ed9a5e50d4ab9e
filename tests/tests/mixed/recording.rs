//! Conversations of ZooKeeper's servers with each other, on both their ports, for the tests of the
//! machine: `VIVARIUM_MIXED_RECORD=1` writes them to `scenarios/conversations`. Without it, they
//! are recorded and only looked at: every type of packet must be among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use vivarium_tests::ask::{self, flag};
use vivarium_tests::client::Session;
use vivarium_tests::directory;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::program::repository;
use vivarium_tests::recorder::{self, Recorder, Said, Side};
use vivarium_tests::wait;

use crate::releases;

/// Types of packets that servers send each other without reconfiguration.
const PACKETS: [i32; 17] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18];

/// Three voters and an observer that reach each other through recorders.
struct Stage {
    ensemble: Ensemble,
    quorum: BTreeMap<i64, Recorder>,
    election: BTreeMap<i64, Recorder>,
}

impl Stage {
    fn prepare(java: Kind) -> Self {
        let ensemble = Plan::new("recording", 3)
            .observers(1)
            .kind(java)
            // Few pings, and a tree of a handful of nodes.
            .line("tickTime=1000")
            .prepare();
        let start = |address: SocketAddr| Recorder::start(address);
        let ids = ensemble.ids().into_iter();
        let quorum = ids
            .clone()
            .map(|id| (id, start(ensemble.quorum_address(id))));
        let quorum = quorum.collect();
        let election = ids.map(|id| (id, start(ensemble.election_address(id))));
        let election = election.collect();
        let stage = Self {
            ensemble,
            quorum,
            election,
        };
        stage
            .ensemble
            .ids()
            .into_iter()
            .for_each(|id| stage.redirect(id));
        stage
    }

    /// All others are reached through their recorders. The own line has no address that others
    /// could dial, so that they use theirs.
    fn redirect(&self, id: i64) {
        let path = self.ensemble.config_path(id);
        let mut text = fs::read_to_string(&path).expect("it was written");
        for other in self.ensemble.ids() {
            let quorum = self.ensemble.quorum_address(other).port();
            let election = self.ensemble.election_address(other).port();
            let old = format!("server.{other}=127.0.0.1:{quorum}:{election}");
            assert!(text.contains(&old), "{text}");
            let new = if other == id {
                format!("server.{other}=0.0.0.0:{quorum}:{election}")
            } else {
                let (quorum, election) = (&self.quorum[&other], &self.election[&other]);
                let (quorum, election) = (quorum.port(), election.port());
                format!("server.{other}=127.0.0.1:{quorum}:{election}")
            };
            text = text.replace(&old, &new);
        }
        fs::write(path, text).expect("writable");
    }

    fn probe(&self, id: i64) -> Probe {
        wait::until("the server takes a client", SERVING, || {
            let at = self.ensemble.client_address(id);
            std::panic::catch_unwind(|| Probe::connect(at)).ok()
        })
    }

    /// Something of everything, through this server.
    fn play(&self, id: i64, other: i64) {
        let mut probe = self.probe(id);
        probe.ok(&ask::auth("digest", Some(b"user:secret")));
        let root = format!("/from{id}-{:x}", probe.session.id & 0xffff_ffff);
        probe.make(&root);
        probe.ok(&ask::create(&format!("{root}/lease"), flag::EPHEMERAL));
        probe.ok(&ask::set_data(&root, b"changed", 0));
        probe.refused(&ask::set_data(&root, b"again", 0), -103);
        let parts = [ask::create(&format!("{root}/m"), 0), ask::check(&root, 1)];
        probe.ok(&ask::multi(&parts));
        probe.ok(&ask::delete(&format!("{root}/m"), 0));
        probe.ok(&ask::sync("/"));
        // The session moves, and comes back.
        let session: Session = probe.session.clone();
        for at in [other, id] {
            let address = self.ensemble.client_address(at);
            probe = wait::until("the session moves", SERVING, || {
                Probe::resume(address, &session, 0).ok()
            });
            probe.ok(&ask::sync("/"));
        }
        probe.close();
    }

    /// The whole story: what is said where comes out of the recorders.
    fn run(&mut self) {
        self.ensemble.spawn(3);
        wait::until("the election port is open", SERVING, || {
            std::net::TcpStream::connect(self.ensemble.election_address(3)).ok()
        });
        self.ensemble.start_all();
        assert_eq!(self.ensemble.wait_leader(), 3);
        self.play(1, 4);
        self.play(4, 2);
        sleep(Duration::from_millis(1_500));
        // DIFF with transactions, and then SNAP.
        self.ensemble.kill(1);
        self.play(3, 2);
        self.ensemble.start(1);
        sleep(Duration::from_millis(1_500));
        self.ensemble.kill(1);
        fs::remove_dir_all(self.ensemble.version_dir(1)).expect("removed");
        self.ensemble.start(1);
        self.play(1, 2);
        sleep(Duration::from_millis(1_500));
        // TRUNC.
        let mut probe = self.probe(3);
        self.ensemble.kill_these(&[1, 2, 4]);
        probe.send(&ask::create("/lonely", 0));
        let dir = self.ensemble.version_dir(3);
        wait::until("the write is logged", Duration::from_secs(5), || {
            let log = fs::read(directory::logs(&dir).pop()?).ok()?;
            log.windows(7).any(|w| w == b"/lonely").then_some(())
        });
        self.ensemble.kill(3);
        for id in [1, 2] {
            self.ensemble.spawn(id);
        }
        self.ensemble.wait_serving(&[1, 2]);
        self.ensemble.start(3);
        self.play(3, 1);
        sleep(Duration::from_millis(1_500));
        self.ensemble.kill_all();
    }
}

/// The type of the first packet, and the server that it is from.
fn introduction(said: &Said) -> Option<(i32, i64)> {
    let (side, bytes) = said.first()?;
    let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    let kind = i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    (*side == Side::Dialler && matches!(kind, 11 | 16))
        .then(|| Some((kind, i64::from_be_bytes(word(16)?))))?
}

/// All that one side said.
fn all_of(said: &Said, side: Side) -> Vec<u8> {
    let own = said.iter().filter(|(by, _)| *by == side);
    own.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

/// How the leader brought the learner up to date: the packet behind LEADERINFO.
fn mode(said: &Said) -> Option<i32> {
    let heard = all_of(said, Side::Acceptor);
    let length = i32::from_be_bytes(heard.get(12..16)?.try_into().ok()?);
    let second = 16 + length as usize + 4;
    let kind = heard.get(second..second + 4)?;
    Some(i32::from_be_bytes(kind.try_into().ok()?))
}

/// Types of packets on a quorum connection. Looks behind a snapshot's signature.
fn packets(bytes: &[u8]) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let int = |at: usize| {
        let word: Option<[u8; 4]> = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        word.map(i32::from_be_bytes)
    };
    let mut at = 0;
    while let (Some(kind), Some(length)) = (int(at), int(at + 12)) {
        found.insert(kind);
        at += 16 + length.max(0) as usize;
        let Some(count) = int(at) else { break };
        at += 4;
        for _ in 0..2 * count.max(0) {
            at += 4 + int(at).unwrap_or(0).max(0) as usize;
        }
        if kind == 15 {
            let sign = b"BenWasHere";
            let end = bytes[at..].windows(sign.len()).position(|w| w == sign);
            at += end.expect("a snapshot has an end") + sign.len();
        }
    }
    found
}

fn head(what: &str, java: Kind) -> String {
    format!(
        "{what}, both ZooKeeper {}.\n`>` is what the dialling server says, `<` what it hears.",
        java.label()
    )
}

/// Name and text of each conversation that is worth keeping.
fn keep(stage: &Stage, java: Kind) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (leader, recorder) in &stage.quorum {
        for said in recorder.said() {
            let (Some((kind, from)), Some(mode)) = (introduction(&said), mode(&said)) else {
                continue;
            };
            let role = if kind == 16 { "observer" } else { "follower" };
            let mode = match mode {
                13 => "diff",
                14 => "trunc",
                15 => "snap",
                _ => continue,
            };
            let what = format!("Server {from}, {role}, to server {leader}, leader");
            let name = (1..)
                .map(|turn| format!("{role}-{mode}-{turn}"))
                .find(|name| !kept.contains_key(name))
                .expect("a free name");
            kept.insert(name, recorder::text(&head(&what, java), &said));
        }
    }
    for (to, recorder) in &stage.election {
        let longest = recorder.said().into_iter().max_by_key(Vec::len);
        if let Some(said) = longest.filter(|said| said.len() > 2) {
            let what = format!("On the election port of server {to}");
            let text = recorder::text(&head(&what, java), &said);
            kept.insert(format!("election-{to}"), text);
        }
    }
    kept
}

#[test]
#[ignore = "half a minute; .ci/run runs it"]
fn conversations_have_every_type_of_packet() {
    let Some(kinds) = releases("recording of conversations") else {
        return;
    };
    for java in kinds {
        let mut stage = Stage::prepare(java);
        stage.run();
        let all = stage.quorum.values().flat_map(Recorder::said);
        let found: BTreeSet<i32> = all
            .flat_map(|said| {
                let sides = [Side::Dialler, Side::Acceptor];
                sides.map(|side| packets(&all_of(&said, side)))
            })
            .flatten()
            .collect();
        let missing: Vec<_> = PACKETS
            .iter()
            .filter(|kind| !found.contains(kind))
            .collect();
        assert!(missing.is_empty(), "{missing:?} are missing in {found:?}");
        let kept = keep(&stage, java);
        assert!(kept.contains_key("follower-trunc-1"), "{:?}", kept.keys());
        if std::env::var("VIVARIUM_MIXED_RECORD").is_ok() {
            let dir = repository()
                .join("scenarios/conversations")
                .join(java.label());
            fs::create_dir_all(&dir).expect("the repository is writable");
            for (name, text) in kept {
                fs::write(dir.join(name + ".txt"), text).expect("writable");
            }
        }
    }
}
