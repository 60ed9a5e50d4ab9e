//! Bytes that no correct client or server sends, on every port: refused with a reason in the log;
//! the server lives, its other clients and its peers do not notice.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vivarium_tests::client::{Client, Failure, Session, connect_request, flag, open};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::random::Random;
use vivarium_tests::wait;
use vivarium_tests::wire::{Body, Fields};
use vivarium_tests::writers::{Writers, assert_nothing_lost};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n";

/// A sid that no configuration here names.
const STRANGER: i64 = 99;

/// The start of a TLS 1.2 ClientHello.
fn client_hello() -> Vec<u8> {
    let mut bytes = vec![
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    bytes.extend(0..=255_u8);
    bytes.extend(0..=249_u8);
    bytes
}

/// What must be seen after the bytes were sent.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The connection is closed without an answer.
    Closed,
    /// A reply with this xid and error code, then the connection is closed.
    ErrorThenClosed(i32, i32),
    /// A reply with this xid and error code; the connection goes on.
    Error(i32, i32),
}

/// One case on the client port.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    answer: Answer,
    /// What the log must say about it; checked for Vivarium only.
    reason: &'static str,
}

fn case(name: &'static str, bytes: Vec<u8>, answer: Answer, reason: &'static str) -> Case {
    Case {
        name,
        bytes,
        answer,
        reason,
    }
}

fn length_only(length: i32) -> Vec<u8> {
    let mut bytes = Body::new().int(length).bytes();
    bytes.resize(64, 0);
    bytes
}

/// Instead of a connect request.
fn first_frames() -> Vec<Case> {
    use Answer::Closed;
    let password_too_long = Body::new()
        .int(0)
        .long(0)
        .int(9_000)
        .long(0)
        .int(i32::MAX)
        .frame();
    let password_negative = Body::new()
        .int(0)
        .long(0)
        .int(9_000)
        .long(0)
        .int(-7)
        .frame();
    vec![
        case("HTTP", HTTP.to_vec(), Closed, "frame"),
        case("TLS", client_hello(), Closed, "frame"),
        case("oversized", length_only(1_048_576), Closed, "1048576"),
        case(
            "largest length",
            length_only(i32::MAX),
            Closed,
            "2147483647",
        ),
        case("negative length", length_only(-1), Closed, "-1"),
        case(
            "smallest length",
            length_only(i32::MIN),
            Closed,
            "-2147483648",
        ),
        case("empty frame", Body::new().frame(), Closed, "malformed"),
        case(
            "short connect request",
            Body::new().int(0).long(0).frame(),
            Closed,
            "malformed",
        ),
        case(
            "password beyond the frame",
            password_too_long,
            Closed,
            "malformed",
        ),
        case(
            "password of negative length",
            password_negative,
            Closed,
            "malformed",
        ),
    ]
}

/// After a good connect request.
fn later_frames() -> Vec<Case> {
    use Answer::{Closed, Error, ErrorThenClosed};
    let head = |xid, op| Body::new().int(xid).int(op);
    let unknown = |xid, op| head(xid, op).string("/").int(0).frame();
    // One create, whose path is longer than the frame.
    let nonsense = head(8, 14)
        .int(1)
        .byte(0)
        .int(-1)
        .int(i32::MAX)
        .raw(&[0xff; 40]);
    let path_too_long = head(5, 4).int(i32::MAX).raw(b"/a").frame();
    vec![
        case("oversized", length_only(1_048_576), Closed, "1048576"),
        case("negative length", length_only(-1), Closed, "-1"),
        case("empty frame", Body::new().frame(), Closed, "malformed"),
        case(
            "short header",
            Body::new().int(1).frame(),
            Closed,
            "malformed",
        ),
        case(
            "operation 999",
            unknown(3, 999),
            ErrorThenClosed(3, -6),
            "999",
        ),
        case(
            "operation -77",
            unknown(4, -77),
            ErrorThenClosed(4, -6),
            "-77",
        ),
        case("check alone", unknown(6, 13), ErrorThenClosed(6, -6), "13"),
        case(
            "getData without a path",
            head(7, 4).byte(0).byte(0).frame(),
            Error(7, -5),
            "",
        ),
        case("path beyond the frame", path_too_long, Error(5, -5), ""),
        case("multi of nonsense", nonsense.frame(), Error(8, -5), ""),
        case(
            "create cut short",
            head(9, 1).string("/cut").int(9).frame(),
            Error(9, -5),
            "",
        ),
    ]
}

/// Is the other side's end of the stream reached without a byte?
fn closes_silently(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        // Closed with bytes of ours unread: the system tells it by a reset.
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn expect(stream: &mut TcpStream, case: &Case) {
    if let Answer::ErrorThenClosed(xid, error) | Answer::Error(xid, error) = case.answer {
        let reply = vivarium_tests::client::read_frame(stream).expect(case.name);
        let mut fields = Fields::new(&reply);
        assert_eq!((fields.int(), fields.long()).0, xid, "{}", case.name);
        assert_eq!(fields.int(), error, "{}", case.name);
        assert!(
            fields.rest().is_empty(),
            "{}: an error has no body",
            case.name
        );
    }
    if let Answer::Error(..) = case.answer {
        let ping = Body::new().int(-2).int(11).frame();
        stream.write_all(&ping).expect(case.name);
        let reply = vivarium_tests::client::read_frame(stream).expect(case.name);
        assert_eq!(
            Fields::new(&reply).int(),
            -2,
            "{}: the connection goes on",
            case.name
        );
    } else {
        assert!(
            closes_silently(stream),
            "{}: the connection stays open",
            case.name
        );
    }
}

/// Fails unless the log tells of this connection, by its address, and why it was closed.
fn assert_logged(ensemble: &Ensemble, id: i64, peer: SocketAddr, name: &str, reason: &str) {
    if !Kind::under_test().is_vivarium() || reason.is_empty() {
        return;
    }
    let (peer, limit) = (peer.to_string(), Duration::from_secs(5));
    let found = wait::poll(limit, || {
        let log = ensemble.log(id);
        let mut lines = log.lines().filter(|line| line.contains(&peer));
        lines
            .any(|line| line.to_lowercase().contains(reason))
            .then_some(())
    });
    assert!(
        found.is_some(),
        "{name}: the log of server {id} has no {reason:?} about {peer}"
    );
}

/// What must not change while others send nonsense.
struct Calm {
    modes: BTreeMap<i64, Option<String>>,
    epoch: i64,
    witnesses: Vec<Client>,
}

impl Calm {
    fn before(ensemble: &Ensemble) -> Self {
        let mut witnesses: Vec<_> = ensemble
            .ids()
            .iter()
            .map(|id| ensemble.client(*id))
            .collect();
        for (number, witness) in witnesses.iter_mut().enumerate() {
            let path = format!("/witness-{number}");
            witness
                .create(&path, b"", flag::EPHEMERAL)
                .expect("a write is answered");
        }
        let epoch = witnesses[0].last_zxid() >> 32;
        Self {
            modes: modes(ensemble),
            epoch,
            witnesses,
        }
    }

    /// The same connections still work, nobody changed its role, the leader reigns on.
    fn check(&mut self, ensemble: &mut Ensemble, after: &str) {
        ensemble.assert_alive(&ensemble.ids());
        for (number, witness) in self.witnesses.iter_mut().enumerate() {
            let path = format!("/witness-{number}");
            let stat = witness.set(&path, after.as_bytes(), -1);
            let stat = stat.unwrap_or_else(|e| panic!("after {after}: {e}"));
            assert_eq!(stat.mzxid >> 32, self.epoch, "after {after}: another epoch");
        }
        assert_eq!(modes(ensemble), self.modes, "after {after}");
    }
}

fn modes(ensemble: &Ensemble) -> BTreeMap<i64, Option<String>> {
    ensemble
        .ids()
        .into_iter()
        .map(|id| (id, ensemble.mode(id)))
        .collect()
}

#[test]
fn bad_frames_from_clients() {
    let mut ensemble = Plan::new("bad-frames", 3).start();
    let mut calm = Calm::before(&ensemble);
    for id in ensemble.ids() {
        let address = ensemble.client_address(id);
        for case in first_frames() {
            let mut stream = open(address).expect("the port is open");
            let peer = stream.local_addr().expect("connected");
            stream.write_all(&case.bytes).expect("sent");
            expect(&mut stream, &case);
            assert_logged(&ensemble, id, peer, case.name, case.reason);
            calm.check(&mut ensemble, case.name);
        }
        for case in later_frames() {
            if case.name == "check alone" && !Kind::under_test().is_vivarium() {
                continue; // It stops servers before 3.8.5 and 3.9.3 (ZOOKEEPER-4846).
            }
            let mut stream = open(address).expect("the port is open");
            let peer = stream.local_addr().expect("connected");
            let new = Session {
                id: 0,
                password: vec![0; 16],
                timeout_ms: 9_000,
            };
            stream
                .write_all(&connect_request(&new, 0).frame())
                .expect("sent");
            vivarium_tests::client::read_frame(&mut stream).expect("a session");
            stream.write_all(&case.bytes).expect("sent");
            expect(&mut stream, &case);
            assert_logged(&ensemble, id, peer, case.name, case.reason);
            calm.check(&mut ensemble, case.name);
        }
    }
}

#[test]
fn frames_cut_short_by_the_end_of_the_connection() {
    let mut ensemble = Plan::new("cut-frames", 1).start();
    let mut calm = Calm::before(&ensemble);
    let address = ensemble.client_address(1);
    let new = Session {
        id: 0,
        password: vec![0; 16],
        timeout_ms: 9_000,
    };
    let connect = connect_request(&new, 0).frame();
    let create = Body::new()
        .int(1)
        .int(1)
        .string("/cut")
        .buffer(b"x")
        .open_acl()
        .int(0)
        .frame();
    let whole = [&connect[..], &create].concat();
    for length in 0..whole.len() {
        let mut stream = open(address).expect("the port is open");
        stream.write_all(&whole[..length]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("still open");
        // Whatever was answered before: then comes the end.
        drop(stream.read_to_end(&mut Vec::new()));
    }
    calm.check(&mut ensemble, "frames cut short");
    let mut client = ensemble.client(1);
    assert_eq!(
        client.exists("/cut", false).expect("a read is answered"),
        None
    );
    // A whole request of an open session takes effect even if nobody waits for the answer.
    let mut leaver = ensemble.client(1);
    leaver.send_raw(&create).expect("sent");
    drop(leaver);
    wait::until(
        "the whole frame takes effect",
        Duration::from_secs(10),
        || client.exists("/cut", false).expect("a read is answered"),
    );
}

#[test]
fn a_frame_of_the_largest_length_is_served() {
    let ensemble = Plan::new("largest-frame", 1).start();
    let mut client = ensemble.client(1);
    // Header, path, data's length, ACL and flags take the rest of the 1,048,575 bytes.
    let overhead = Body::new()
        .int(0)
        .int(0)
        .string("/big")
        .int(0)
        .open_acl()
        .int(0)
        .bytes()
        .len();
    let data = vec![b'x'; 1_048_575 - overhead];
    client
        .create("/big", &data, flag::PERSISTENT)
        .expect("the largest frame");
    assert_eq!(
        client.get("/big", false).expect("a read is answered").0,
        data
    );
    let session = client.session().clone();
    let data = vec![b'x'; 1_048_576 - overhead];
    let refused = client.create("/fat", &data, flag::PERSISTENT);
    assert!(matches!(refused, Err(Failure::Lost(_))), "{refused:?}");
    // The connection is gone, the session is not.
    Client::resume(ensemble.client_address(1), &session, 0).expect("the session lives");
}

#[test]
fn wrong_passwords_and_sessions() {
    let mut ensemble = Plan::new("wrong-password", 3).start();
    let owner = ensemble.client(1);
    let good = owner.session().clone();
    let mut bad = good.clone();
    bad.password[7] ^= 1;
    let unknown = Session {
        id: 0x7777_0000_0001,
        ..good.clone()
    };
    let empty = Session {
        password: Vec::new(),
        ..good.clone()
    };
    for id in ensemble.ids() {
        for session in [&bad, &unknown, &empty] {
            let refused = Client::resume(ensemble.client_address(id), session, 0);
            assert!(
                matches!(refused, Err(Failure::Refused(-112))),
                "server {id}: {refused:?}"
            );
        }
        let ahead = Client::resume(ensemble.client_address(id), &good, i64::MAX);
        assert!(
            matches!(ahead, Err(Failure::Lost(_))),
            "server {id}: {ahead:?}"
        );
    }
    if Kind::under_test().is_vivarium() {
        let refusals = format!("{:#x}", bad.id);
        assert!(
            ensemble.log(2).contains(&refusals),
            "no session {refusals} in the log"
        );
    }
    // Its own password still opens it, elsewhere too.
    let again = Client::resume(ensemble.client_address(3), &good, 0).expect("the session lives");
    assert_eq!(again.session().id, good.id);
    ensemble.assert_alive(&[1, 2, 3]);
}

/// First message of an election connection: version, sid, address.
fn election_hello(sid: i64, address: &str) -> Vec<u8> {
    Body::new().long(-65_536).long(sid).string(address).bytes()
}

/// A vote of a looking server for `leader`, better than anything there is.
fn vote(leader: i64, config: &str) -> Vec<u8> {
    let head = Body::new()
        .int(0)
        .long(leader)
        .long(i64::MAX >> 1)
        .long(1 << 40)
        .long(1 << 30);
    head.int(2).string(config).frame()
}

/// A case on a port between servers: what is sent and what the log must say.
type PeerCase = (&'static str, Vec<u8>, &'static str);

fn election_cases(me: i64, other: i64, address: &str) -> Vec<PeerCase> {
    let hello = |sid| election_hello(sid, address);
    vec![
        ("HTTP", HTTP.to_vec(), ""),
        ("TLS", client_hello(), ""),
        ("zeros", vec![0; 64], ""),
        ("own sid", hello(me), "own"),
        ("stranger", hello(STRANGER), "99"),
        (
            "stranger's vote",
            [hello(STRANGER), vote(STRANGER, "version=0")].concat(),
            "99",
        ),
        (
            "address too long",
            election_hello(other, &"x".repeat(5_000)),
            "address",
        ),
        (
            "address of negative length",
            Body::new().long(-65_536).long(other).int(-3).bytes(),
            "",
        ),
        (
            "unknown version",
            Body::new().long(-1).long(other).string(address).bytes(),
            "",
        ),
        ("other server", hello(other), ""),
        (
            "frame too long",
            [hello(other), length_only(524_289)].concat(),
            "",
        ),
        (
            "frame of negative length",
            [hello(other), length_only(-5)].concat(),
            "",
        ),
        (
            "short vote",
            [hello(other), Body::new().int(0).frame()].concat(),
            "",
        ),
        ("cut short", hello(other)[..9].to_vec(), ""),
    ]
}

fn quorum_packet(kind: i32, zxid: i64, data: &[u8]) -> Vec<u8> {
    Body::new()
        .int(kind)
        .long(zxid)
        .buffer(data)
        .int(-1)
        .bytes()
}

/// FOLLOWERINFO as a server of 3.5 or later sends it.
fn follower_info(sid: i64, epoch: i64) -> Vec<u8> {
    quorum_packet(
        11,
        epoch << 32,
        &Body::new().long(sid).int(0x1_0000).long(0).bytes(),
    )
}

fn quorum_cases(me: i64) -> Vec<PeerCase> {
    let ack_first = quorum_packet(3, 1 << 32, b"");
    let huge = Body::new().int(11).long(0).int(i32::MAX).bytes();
    let negative = Body::new().int(11).long(0).int(-9).bytes();
    let no_info = quorum_packet(11, 0, b"");
    vec![
        ("HTTP", HTTP.to_vec(), ""),
        ("TLS", client_hello(), ""),
        ("zeros", vec![0; 64], ""),
        ("own sid", follower_info(me, 0), "own"),
        ("stranger", follower_info(STRANGER, 0), "99"),
        (
            "stranger of a late epoch",
            follower_info(STRANGER, 1 << 29),
            "99",
        ),
        ("ACK first", ack_first, ""),
        ("data too long", huge, ""),
        ("data of negative length", negative, ""),
        ("no LearnerInfo", no_info, ""),
        ("cut short", follower_info(STRANGER, 0)[..13].to_vec(), ""),
    ]
}

/// Sends, leaves the server some time to read it, hangs up.
fn send_and_leave(address: SocketAddr, bytes: &[u8]) -> SocketAddr {
    let mut stream = open(address).expect("the port is open");
    let local = stream.local_addr().expect("connected");
    // The server may close before it was sent everything.
    drop(stream.write_all(bytes));
    drop(stream.set_read_timeout(Some(Duration::from_millis(300))));
    drop(stream.read(&mut [0; 512]));
    local
}

#[test]
fn garbage_on_the_election_port() {
    let mut ensemble = Plan::new("election-garbage", 3).start();
    let mut calm = Calm::before(&ensemble);
    for me in ensemble.ids() {
        let other = me % 3 + 1;
        let claimed = ensemble.election_address(other).to_string();
        for (name, bytes, reason) in election_cases(me, other, &claimed) {
            let peer = send_and_leave(ensemble.election_address(me), &bytes);
            calm.check(
                &mut ensemble,
                &format!("{name} on the election port of {me}"),
            );
            assert_logged(&ensemble, me, peer, name, reason);
        }
    }
    election_still_works(&mut ensemble);
}

#[test]
fn garbage_on_the_quorum_port() {
    let mut ensemble = Plan::new("quorum-garbage", 3).start();
    let mut calm = Calm::before(&ensemble);
    let leader = ensemble.wait_leader();
    for (name, bytes, reason) in quorum_cases(leader) {
        let peer = send_and_leave(ensemble.quorum_address(leader), &bytes);
        calm.check(&mut ensemble, &format!("{name} on the quorum port"));
        assert_logged(&ensemble, leader, peer, name, reason);
    }
    election_still_works(&mut ensemble);
}

/// The leader dies, another takes over, the dead one comes back.
fn election_still_works(ensemble: &mut Ensemble) {
    let leader = ensemble.wait_leader();
    ensemble.kill(leader);
    ensemble.wait_leader();
    ensemble.start(leader);
    for id in ensemble.ids() {
        let path = format!("/after-{id}");
        ensemble
            .client(id)
            .create(&path, b"", flag::PERSISTENT)
            .expect("a write is answered");
    }
}

#[test]
fn a_follower_impersonated_on_the_quorum_port() {
    let mut ensemble = Plan::new("impersonated", 3).start();
    let leader = ensemble.wait_leader();
    let follower = ensemble
        .ids()
        .into_iter()
        .find(|id| *id != leader)
        .expect("three servers");
    let mut calm = Calm::before(&ensemble);
    for _ in 0..3 {
        send_and_leave(ensemble.quorum_address(leader), &follower_info(follower, 0));
        calm.check(&mut ensemble, "a second server with a follower's id");
    }
    election_still_works(&mut ensemble);
}

#[test]
fn silent_connections_hold_nothing_up() {
    let mut ensemble = Plan::new("silent", 3).start();
    let mut calm = Calm::before(&ensemble);
    let mut held = Vec::new();
    for id in ensemble.ids() {
        for _ in 0..30 {
            held.push(open(ensemble.client_address(id)).expect("the port is open"));
        }
    }
    let leader = ensemble.wait_leader();
    // ZooKeeper reads the first message of one election connection after the other.
    let between_servers = if Kind::under_test().is_vivarium() {
        30
    } else {
        0
    };
    for _ in 0..between_servers {
        for id in ensemble.ids() {
            held.push(open(ensemble.election_address(id)).expect("the port is open"));
        }
        held.push(open(ensemble.quorum_address(leader)).expect("the port is open"));
    }
    calm.check(&mut ensemble, "silent connections");
    ensemble.kill(leader);
    ensemble.wait_leader();
    ensemble.start(leader);
}

/// What a server answers to one of its peers that looks for a leader.
fn overheard(ensemble: &Ensemble, me: i64, other: i64) -> Vec<u8> {
    let hello = election_hello(other, &ensemble.election_address(other).to_string());
    let mut stream = open(ensemble.election_address(me)).expect("the port is open");
    let looking = vote(other, "version=0");
    stream
        .write_all(&[&hello[..], &looking].concat())
        .expect("sent");
    let frame = vivarium_tests::client::read_frame(&mut stream).expect("it tells who leads");
    [&hello[..], &Body::new().raw(&frame).frame()].concat()
}

/// Everything bad that is known here, for one of the ports between servers.
fn ammunition(ensemble: &Ensemble, leader: i64) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut all = Vec::new();
    for me in ensemble.ids() {
        let other = me % 3 + 1;
        let claimed = ensemble.election_address(other).to_string();
        let election = election_cases(me, other, &claimed).into_iter();
        all.extend(election.map(|(_, bytes, _)| (ensemble.election_address(me), bytes)));
        let quorum = ensemble.quorum_address(me);
        all.extend(
            quorum_cases(me)
                .into_iter()
                .map(|(_, bytes, _)| (quorum, bytes)),
        );
        // What a follower says when it joins, which the leader has heard before.
        let joining = [
            follower_info(other, 1),
            quorum_packet(18, 1 << 32, &Body::new().int(1).bytes()),
            quorum_packet(3, 1 << 32, b""),
            quorum_packet(3, (1 << 32) + 1, b""),
        ];
        if other != leader {
            all.push((quorum, joining.concat()));
        }
    }
    for me in [1, 2] {
        let answer = overheard(ensemble, me, 3);
        for to in ensemble.ids() {
            all.push((ensemble.election_address(to), answer.clone()));
        }
    }
    all
}

/// Sends any of it, whole or the first part, to whom it is meant for, until told to stop.
fn bombard(all: &[(SocketAddr, Vec<u8>)], random: &mut Random, stop: &AtomicBool) -> usize {
    let mut shots = 0;
    while !stop.load(Ordering::Relaxed) {
        let (address, bytes) = &all[random.below(all.len() as u64) as usize];
        let length = match random.below(2) {
            0 => bytes.len(),
            _ => random.below(bytes.len() as u64 + 1) as usize,
        };
        let mut stream = open(*address).expect("the port is open");
        // The server may close before it was sent everything.
        drop(stream.write_all(&bytes[..length]));
        std::thread::sleep(random.millis(0, 10));
        shots += 1;
    }
    shots
}

#[test]
fn a_hostile_peer_does_not_disturb_an_ensemble_under_load() {
    let mut ensemble = Plan::new("hostile-peer", 3).kind(Kind::Vivarium).start();
    let leader = ensemble.wait_leader();
    let mut calm = Calm::before(&ensemble);
    let all = ammunition(&ensemble, leader);
    let addresses: Vec<_> = ensemble
        .ids()
        .iter()
        .map(|id| ensemble.client_address(*id))
        .collect();
    let writers = Writers::start(&addresses, 3, 0);
    let stop = AtomicBool::new(false);
    let seed = Random::announced().next_u64();
    let shots: usize = std::thread::scope(|scope| {
        let shooters: Vec<_> = (0..4)
            .map(|n| {
                let (all, stop) = (&all, &stop);
                scope.spawn(move || bombard(all, &mut Random::new(seed ^ n), stop))
            })
            .collect();
        for second in 0..5 {
            let before = writers.count();
            std::thread::sleep(Duration::from_secs(1));
            wait::until("writes go on", Duration::from_secs(20), || {
                (writers.count() > before).then_some(())
            });
            calm.check(&mut ensemble, &format!("second {second} of the attack"));
        }
        stop.store(true, Ordering::Relaxed);
        let shots = shooters.into_iter();
        shots
            .map(|one| one.join().expect("the ports stay open"))
            .sum()
    });
    assert!(shots > 100, "only {shots} connections were made");
    let acknowledged = writers.stop();
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
    }
    drop(calm);
    election_still_works(&mut ensemble);
}
