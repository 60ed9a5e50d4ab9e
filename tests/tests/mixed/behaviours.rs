//! What clients may expect of any server, whatever kind it is and whatever kind leads it. Each
//! behaviour runs through all servers at the same time, below a path of its own.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vivarium_tests::ask::{self, flag, op, perm};
use vivarium_tests::client::Stat;
use vivarium_tests::probe::{Probe, fresh};
use vivarium_tests::wait;

use crate::matrix::{Matrix, Mix, monitored, outcome};

/// How long an expiry or a sweep may take.
const SOON: Duration = Duration::from_secs(30);

/// The shortest session timeout that the servers grant: two ticks.
const SHORT_MS: i32 = 1_000;

const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;
const SESSION_MOVED: i32 = -118;

/// A behaviour through one server.
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Mix, i64),
}

macro_rules! behaviours {
    ($($name:literal: $run:ident,)*) => {
        pub(crate) const ALL: &[Behaviour] = &[$(Behaviour { name: $name, run: $run }),*];
    };
}

behaviours! {
    "writes": writes,
    "sync": syncs,
    "multi": multis,
    "access lists": access,
    "watches": watches,
    "ephemerals": ephemerals,
    "sessions move": sessions_move,
    "pings keep a session": pings,
    "silence ends a session": expiry,
    "containers and TTL": sweeping,
}

/// A parent of its own for each behaviour and server.
fn root(probe: &mut Probe, name: &str, at: i64) -> String {
    let path = format!("/{name}-{at}");
    probe.make(&path);
    path
}

/// A session on every server, brought up to date.
fn everybody(mix: &Mix) -> Vec<Probe> {
    let probes = mix.ids().into_iter().map(|id| {
        let mut probe = mix.probe(id);
        probe.ok(&ask::sync("/"));
        probe
    });
    probes.collect()
}

fn writes(mix: &Mix, at: i64) {
    let mut probe = mix.probe(at);
    let root = root(&mut probe, "writes", at);
    for number in 0..20 {
        let path = format!("{root}/n{number}");
        probe.ok(&ask::create(&path, flag::PERSISTENT));
        probe.ok(&ask::set_data(&path, b"changed", 0));
        probe.refused(&ask::set_data(&path, b"again", 0), BAD_VERSION);
        probe.refused(&ask::create(&path, flag::PERSISTENT), NODE_EXISTS);
        if number % 3 == 0 {
            probe.ok(&ask::delete(&path, 1));
            probe.refused(&ask::delete(&path, -1), NO_NODE);
        }
        let made = probe.ok(&ask::create2(&format!("{root}/s-"), flag::SEQUENTIAL));
        let (path, _) = made.created();
        let expected = number + 1 + number;
        assert_eq!(path, format!("{root}/s-{expected:010}"), "server {at}");
    }
    probe.ok(&ask::create_as(
        op::CREATE,
        &format!("{root}/large"),
        Some(&[7; 500_000]),
        ask::OPEN,
        0,
    ));
    probe.ok(&ask::create_as(
        op::CREATE,
        &format!("{root}/null"),
        None,
        ask::OPEN,
        0,
    ));
    let of_root = probe.stat(&root);
    for mut other in everybody(mix) {
        assert_eq!(other.stat(&root), of_root);
        let data = other
            .ok(&ask::get_data(&format!("{root}/n1"), false))
            .data();
        assert_eq!(data.0.as_deref(), Some(&b"changed"[..]));
    }
}

/// What another client was told of is there after a sync. A leader of ZooKeeper's answers its own
/// clients at once, and may have told its followers of a commit before it applies it.
fn syncs(mix: &Mix, at: i64) {
    if at == mix.leader && !mix.ensemble.kind(at).is_vivarium() {
        return;
    }
    let mut writer = mix.probe(mix.other(at));
    let root = root(&mut writer, "syncs", at);
    let mut reader = mix.probe(at);
    for number in 0..20 {
        let path = format!("{root}/n{number}");
        writer.make(&path);
        reader.ok(&ask::sync("/"));
        assert!(reader.has(&path), "{path} is missing behind a sync");
    }
}

fn multis(mix: &Mix, at: i64) {
    let mut probe = mix.probe(at);
    let root = root(&mut probe, "multis", at);
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let parts = [
        ask::create(&a, 0),
        ask::create(&b, 0),
        ask::set_data(&a, b"x", 0),
        ask::check(&a, 1),
        ask::delete(&b, 0),
    ];
    let found = probe.ok(&ask::multi(&parts)).results();
    let brief: Vec<_> = found.iter().map(|part| part.brief()).collect();
    assert_eq!(brief, [(1, 0), (1, 0), (5, 0), (13, 0), (2, 0)]);
    let parts = [
        ask::set_data(&a, b"y", 1),
        ask::create(&b, 0),
        ask::check(&a, 7),
        ask::delete(&a, -1),
    ];
    let found = probe.ok(&ask::multi(&parts)).results();
    let brief: Vec<_> = found.iter().map(|part| part.brief()).collect();
    let refused = [(-1, 0), (-1, 0), (-1, BAD_VERSION), (-1, -2)];
    assert_eq!(brief, refused, "server {at}");
    for mut other in everybody(mix) {
        assert!(!other.has(&b), "half of a refused multi");
        assert_eq!(other.stat(&a).version, 1);
    }
}

fn access(mix: &Mix, at: i64) {
    let mut owner = mix.probe(at);
    let root = root(&mut owner, "access", at);
    let proof = format!("user{at}:secret");
    owner.ok(&ask::auth("digest", Some(proof.as_bytes())));
    let path = format!("{root}/mine");
    owner.ok(&ask::create_acl(&path, &[(perm::ALL, "auth", "")]));
    let list = owner.ok(&ask::get_acl(&path)).acl();
    assert!(list[0].2.starts_with(&format!("user{at}:")), "{list:?}");
    for id in mix.ids() {
        let mut other = mix.probe(id);
        other.ok(&ask::sync("/"));
        other.refused(&ask::set_data(&path, b"stolen", -1), NO_AUTH);
        other.refused(&ask::get_data(&path, false), NO_AUTH);
        other.ok(&ask::auth("digest", Some(proof.as_bytes())));
        assert_eq!(other.ok(&ask::get_acl(&path)).acl(), list, "server {id}");
        other.ok(&ask::set_data(&path, b"mine", -1));
    }
    let open = [
        (perm::READ, "world", "anyone"),
        (perm::ADMIN, "ip", "127.0.0.1"),
    ];
    owner.ok(&ask::set_acl(&path, &open, -1));
    for mut other in everybody(mix) {
        assert_eq!(other.stat(&path).aversion, 1);
        other.refused(&ask::set_data(&path, b"late", -1), NO_AUTH);
    }
}

fn watches(mix: &Mix, at: i64) {
    let mut watcher = mix.probe(at);
    let root = root(&mut watcher, "watches", at);
    let (old, new) = (format!("{root}/old"), format!("{root}/new"));
    watcher.make(&old);
    watcher.ok(&ask::get_data(&old, true));
    watcher.call(&ask::exists(&new, true));
    watcher.ok(&ask::get_children2(&root, true));
    let mut second = mix.probe(at);
    second.ok(&ask::add_watch(&root, 1));
    let mut writer = mix.probe(mix.other(at));
    writer.ok(&ask::sync("/"));
    writer.ok(&ask::set_data(&old, b"1", -1));
    writer.ok(&ask::set_data(&old, b"2", -1));
    writer.make(&new);
    writer.ok(&ask::delete(&old, -1));
    for probe in [&mut watcher, &mut second] {
        probe.ok(&ask::sync("/"));
    }
    let fired = watcher.fired();
    let expected = [(3, old.clone()), (1, new.clone()), (4, root.clone())];
    assert_eq!(fired.len(), 3, "{fired:?}");
    assert!(
        expected.iter().all(|event| fired.contains(event)),
        "{fired:?}"
    );
    let all = [(3, old.clone()), (3, old.clone()), (1, new), (2, old)];
    assert_eq!(second.fired(), all, "a persistent recursive watch");
}

fn ephemerals(mix: &Mix, at: i64) {
    let mut owner = mix.probe(at);
    let root = root(&mut owner, "ephemerals", at);
    let paths: Vec<_> = (0..3).map(|n| format!("{root}/e{n}")).collect();
    for path in &paths {
        owner.ok(&ask::create(path, flag::EPHEMERAL));
    }
    let session = owner.session.id;
    for mut other in everybody(mix) {
        for path in &paths {
            assert_eq!(other.stat(path).ephemeral_owner, session);
        }
    }
    owner.close();
    let cversions: Vec<_> = everybody(mix)
        .iter_mut()
        .map(|other| {
            assert!(
                !paths.iter().any(|path| other.has(path)),
                "outlived its session"
            );
            other.stat(&root)
        })
        .collect();
    assert!(cversions.windows(2).all(|w| w[0] == w[1]), "{cversions:?}");
}

/// A session goes round all servers, keeps its ephemeral, and its old connection is of no use.
fn sessions_move(mix: &Mix, at: i64) {
    let mut here = mix.probe(at);
    let root = root(&mut here, "moves", at);
    let lease = format!("{root}/lease");
    here.ok(&ask::create(&lease, flag::EPHEMERAL));
    let session = here.session.clone();
    let mut way = mix.ids();
    way.push(at);
    for (step, id) in way.into_iter().enumerate() {
        let address = mix.ensemble.client_address(id);
        // A server that is behind what the client has seen refuses it for a moment.
        let next = wait::until("the session moves", SOON, || {
            let attempt = std::panic::AssertUnwindSafe(|| Probe::resume(address, &session, 0));
            std::panic::catch_unwind(attempt).ok()?.ok()
        });
        assert_eq!(next.session.id, session.id);
        let mut old = std::mem::replace(&mut here, next);
        here.ok(&ask::create(&format!("{root}/step{step}"), flag::EPHEMERAL));
        assert_eq!(here.stat(&lease).ephemeral_owner, session.id);
        // The server of the old connection may close it before it reads the request.
        let late = ask::create(&format!("{root}/late{step}"), 0);
        if let Some(answer) = old.attempt(&late) {
            let code = answer.error;
            assert_eq!(code, SESSION_MOVED, "a write of a connection that was left");
        }
    }
    here.close();
    for mut other in everybody(mix) {
        let (left, _) = children(&mut other, &root);
        assert!(left.is_empty(), "{left:?} outlived the session");
    }
    // The session is over for everybody.
    for id in mix.ids() {
        let back = Probe::resume(mix.ensemble.client_address(id), &session, 0);
        assert!(
            back.is_err_and(|refusal| refusal.is_refusal()),
            "server {id}"
        );
    }
}

/// Short timeouts, and long lives by pings alone: the leader hears of them by the session tables
/// in its learners' answers.
fn pings(mix: &Mix, at: i64) {
    let mut maker = mix.probe(at);
    let root = root(&mut maker, "pings", at);
    let address = mix.ensemble.client_address(at);
    let mut owner = Probe::resume(address, &fresh(SHORT_MS), 0).expect("a session");
    assert_eq!(owner.session.timeout_ms, SHORT_MS);
    owner.ok(&ask::create(&format!("{root}/lease"), flag::EPHEMERAL));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4 * SHORT_MS as u64) {
        sleep(Duration::from_millis(200));
        owner.events();
    }
    for mut other in everybody(mix) {
        assert!(
            other.has(&format!("{root}/lease")),
            "expired between two pings"
        );
    }
    owner.close();
}

fn expiry(mix: &Mix, at: i64) {
    let mut maker = mix.probe(at);
    let root = root(&mut maker, "expiry", at);
    let address = mix.ensemble.client_address(at);
    let mut owner = Probe::resume(address, &fresh(SHORT_MS), 0).expect("a session");
    let lease = format!("{root}/lease");
    owner.ok(&ask::create(&lease, flag::EPHEMERAL));
    let silent = Instant::now();
    let mut watching = everybody(mix);
    let ends: Vec<_> = watching
        .iter_mut()
        .map(|other| {
            wait::until("the lease ends", SOON, || {
                other.events();
                (!other.has(&lease)).then_some(silent.elapsed())
            })
        })
        .collect();
    let least = Duration::from_millis(SHORT_MS as u64 - 100);
    assert!(ends.iter().all(|end| *end >= least), "too early: {ends:?}");
    let back = Probe::resume(address, &owner.session, 0);
    assert!(
        back.is_err_and(|refusal| refusal.is_refusal()),
        "it is over"
    );
}

fn sweeping(mix: &Mix, at: i64) {
    let mut probe = mix.probe(at);
    let root = root(&mut probe, "sweeping", at);
    let (container, ttl) = (format!("{root}/container"), format!("{root}/ttl"));
    let kept = format!("{root}/kept");
    probe.ok(&ask::create_container(&container));
    probe.make(&format!("{container}/child"));
    probe.ok(&ask::create_ttl(&ttl, flag::TTL, 700));
    probe.ok(&ask::create_ttl(&kept, flag::TTL, 700));
    probe.make(&format!("{kept}/child"));
    probe.ok(&ask::delete(&format!("{container}/child"), -1));
    for mut other in everybody(mix) {
        wait::until("container and TTL node are swept", SOON, || {
            other.events();
            (!other.has(&container) && !other.has(&ttl)).then_some(())
        });
        assert!(other.has(&kept), "a TTL node with a child stays");
    }
}

/// Refused writes have a zxid too, whoever passes them on and whoever leads: with nobody else
/// writing, each is one more than the one before. Sessions of earlier behaviours may end meanwhile,
/// so this is tried until it was quiet.
pub(crate) fn zxids_are_contiguous(mix: &Mix, matrix: &mut Matrix) {
    for at in mix.ids() {
        let found = outcome(|| {
            wait::until("a zxid for each write", SOON, || {
                let mut probe = mix.probe(at);
                let zxids = zxids(&mut probe, at);
                let seen = zxids.windows(2).all(|w| w[1] == w[0] + 1);
                probe.close();
                seen.then_some(())
            });
        });
        matrix.note(mix.pair(at), "a zxid for each write", found);
    }
}

/// The zxids of writes that succeed and of writes that are refused, in turns.
fn zxids(probe: &mut Probe, at: i64) -> Vec<i64> {
    let root = format!("/zxids-{at}-{}", probe.session.id);
    let a = format!("{root}/a");
    let requests = [
        ask::create(&root, 0),
        ask::create(&a, 0),
        ask::create(&a, 0),
        ask::set_data(&a, b"", 9),
        ask::delete(&format!("{root}/no"), -1),
        ask::multi(&[ask::create(&format!("{root}/m"), 0)]),
        ask::multi(&[ask::check(&a, 9), ask::delete(&a, -1)]),
        ask::create_ttl(&format!("{root}/t"), flag::TTL, -1),
        ask::set_acl(&a, &[(perm::ALL, "digest", "nonsense")], -1),
        ask::set_data(&a, b"", 0),
    ];
    requests.iter().map(|r| probe.call(r).zxid).collect()
}

pub(crate) type Tree = BTreeMap<String, (Option<Vec<u8>>, Stat, Vec<(i32, String, String)>)>;

fn children(probe: &mut Probe, path: &str) -> (Vec<String>, Stat) {
    let frame = probe.ok(&ask::get_children2(path, false));
    let mut fields = frame.fields();
    let names = fields.strings();
    (names, vivarium_tests::client::stat(&mut fields))
}

/// Every znode as this server shows it, but for what each server writes for itself.
pub(crate) fn tree(probe: &mut Probe) -> Tree {
    probe.ok(&ask::sync("/"));
    let mut found = Tree::new();
    let mut open = vec![String::from("/")];
    while let Some(path) = open.pop() {
        let (names, stat) = children(probe, &path);
        let parent = path.trim_end_matches('/');
        open.extend(names.iter().map(|name| format!("{parent}/{name}")));
        if path == "/zookeeper/config" {
            continue;
        }
        let read = probe.call(&ask::get_data(&path, false));
        let data = (read.error == 0).then(|| read.data().0).flatten();
        let list = probe.call(&ask::get_acl(&path));
        let list = if list.error == 0 {
            list.acl()
        } else {
            Vec::new()
        };
        found.insert(path, (data, stat, list));
    }
    found
}

/// All servers hold the same, and none has ever seen another digest than its leader.
pub(crate) fn trees_are_equal(mix: &Mix, matrix: &mut Matrix) {
    mix.everyone_is_up_to_date();
    let expected = tree(&mut mix.probe(mix.leader));
    for at in mix.ids() {
        let found = outcome(|| same_tree(&tree(&mut mix.probe(at)), &expected));
        matrix.note(mix.pair(at), "equal trees", found);
        let found = outcome(|| {
            let count = monitored(&mix.ensemble, at, "digest_mismatches_count");
            assert_eq!(count.as_deref(), Some("0"), "digest_mismatches_count");
            let log = mix.ensemble.log(at);
            for complaint in ["Digests are not matching", "the tree differs"] {
                assert!(!log.contains(complaint), "server {at} sees another tree");
            }
        });
        matrix.note(mix.pair(at), "equal digests", found);
    }
}

pub(crate) fn same_tree(found: &Tree, expected: &Tree) {
    for (path, value) in expected {
        assert_eq!(found.get(path), Some(value), "{path}");
    }
    let more: Vec<_> = found
        .keys()
        .filter(|p| !expected.contains_key(*p))
        .collect();
    assert!(more.is_empty(), "{more:?} are only here");
}
