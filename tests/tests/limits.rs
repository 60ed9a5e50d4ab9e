//! What a server takes from clients, and what becomes of those who ask for more: by the bytes of
//! real connections, and by the memory of the process.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vivarium_tests::client::{
    Client, Failure, Session, connect_request, flag, four_letters, open, read_frame,
};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::wait;
use vivarium_tests::wire::{Body, Fields};

const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const ADD_WATCH: i32 = 106;
const MARSHALLING_ERROR: i32 = -5;

const MIB: usize = 1 << 20;

/// A setData of `/` whose frame has exactly this length, its length word not counted.
fn frame_of(length: usize) -> Vec<u8> {
    let head = |data: &[u8]| {
        Body::new()
            .int(1)
            .int(SET_DATA)
            .string("/")
            .buffer(data)
            .int(-1)
            .frame()
    };
    let data = vec![7; length + 4 - head(&[]).len()];
    let frame = head(&data);
    assert_eq!(frame.len(), 4 + length);
    frame
}

/// Is a frame of this length answered with this error, 0 for none?
fn answers(ensemble: &Ensemble, id: i64, length: usize) -> Option<i32> {
    let mut client = ensemble.client(id);
    client.send_raw(&frame_of(length)).ok()?;
    let reply = client.read_raw().ok()?;
    let mut fields = Fields::new(&reply);
    assert_eq!(fields.int(), 1);
    fields.long();
    Some(fields.int())
}

/// Resident bytes of a server.
fn memory(ensemble: &Ensemble, id: i64) -> usize {
    let path = format!("/proc/{}/statm", ensemble.pid(id));
    let text = fs::read_to_string(path).expect("it runs");
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.expect("the second number") * 4096
}

fn mntr(ensemble: &Ensemble, key: &str) -> i64 {
    let text = four_letters(ensemble.client_address(1), "mntr").expect("an answer");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix('\t'));
    line.and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[test]
fn the_longest_frame_is_the_one_that_is_configured() {
    for limit in [1_000, 8 * MIB] {
        let ensemble = Plan::new("frames", 1)
            .property("jute.maxbuffer", &limit.to_string())
            .start();
        assert_eq!(answers(&ensemble, 1, limit), Some(0), "{limit}");
        assert_eq!(answers(&ensemble, 1, limit + 1), None, "{limit} and one");
    }
    let ensemble = Plan::new("frames", 1).start();
    assert_eq!(answers(&ensemble, 1, 0xf_ffff), Some(0));
    assert_eq!(answers(&ensemble, 1, 0x10_0000), None);
}

/// What was taken under a larger limit is there under a smaller one, and does no harm to a leader
/// that has always had the smaller one.
#[test]
fn servers_with_different_limits_live_together() {
    if !Kind::under_test().is_vivarium() {
        return;
    }
    let mut ensemble = Plan::new("mixed-limits", 3).prepare();
    let leader = 3;
    for id in [1, 2] {
        let path = ensemble.config_path(id);
        let text = fs::read_to_string(&path).expect("the file is there");
        fs::write(&path, format!("{text}jute.maxbuffer=8388608\n")).expect("writable");
    }
    ensemble.start_all();
    if ensemble.wait_leader() == leader {
        assert_eq!(answers(&ensemble, 1, 3 * MIB), Some(MARSHALLING_ERROR));
        assert_eq!(answers(&ensemble, 1, MIB - 1), Some(0), "it leads on");
        ensemble.kill(leader);
        ensemble.wait_serving(&[1, 2]);
    }
    assert_eq!(answers(&ensemble, 1, 3 * MIB), Some(0));
    if !ensemble.running().contains(&leader) {
        ensemble.start(leader);
    }
    let mut client = ensemble.client(leader);
    client.sync("/").expect("it follows");
    let (data, _) = client
        .get("/", false)
        .expect("it has what it would not take");
    assert!(data.len() > 2 * MIB);
    ensemble.terminate(leader);
    ensemble.start(leader);
    let (again, _) = ensemble
        .client(leader)
        .get("/", false)
        .expect("from its disk");
    assert_eq!(again, data);
}

#[test]
fn the_number_of_all_connections_is_limited() {
    let ensemble = Plan::new("max-all", 1)
        .property("zookeeper.maxCnxns", "3")
        .start();
    let held: Vec<Client> = (0..3).map(|_| ensemble.client(1)).collect();
    let surplus = Client::connect(ensemble.client_address(1), 5_000);
    assert!(matches!(surplus, Err(Failure::Lost(_))), "{surplus:?}");
    drop(held);
    let client = ensemble.client(1);
    if Kind::under_test().is_vivarium() {
        client.close().expect("closing is answered");
        wait::until("the log names the key", Duration::from_secs(5), || {
            ensemble.log(1).contains("(maxCnxns)").then_some(())
        });
        assert!(mntr(&ensemble, "zk_connection_rejected") >= 1);
    }
}

#[test]
fn handshakes_cost_tokens() {
    let ensemble = Plan::new("tokens", 1)
        .property("zookeeper.connection_throttle_tokens", "5")
        .property("zookeeper.connection_throttle_fill_time", "60000")
        .start();
    let mut held = Vec::new();
    let refused = wait::until("the tokens are spent", Duration::from_secs(10), || {
        match Client::connect(ensemble.client_address(1), 5_000) {
            Ok(client) => held.push(client),
            Err(refused) => return Some(refused),
        }
        None
    });
    assert!(matches!(refused, Failure::Lost(_)), "{refused:?}");
    assert!(held.len() <= 5, "{}", held.len());
    held.pop().expect("one came in").ping().expect("it stays");
}

/// A connection with a session, that will not be read again.
fn mute(ensemble: &Ensemble, timeout_ms: i32) -> TcpStream {
    let mut stream = open(ensemble.client_address(1)).expect("the port is open");
    let session = Session {
        id: 0,
        password: vec![0; 16],
        timeout_ms,
    };
    stream
        .write_all(&connect_request(&session, 0).frame())
        .expect("sent");
    read_frame(&mut stream).expect("a handshake");
    stream
}

/// Does the stream end, once everything that was on its way has come?
fn ends(stream: &mut TcpStream) -> bool {
    let mut buffer = vec![0; MIB];
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Twenty clients that ask for two gigabytes each, and take nothing.
#[test]
fn who_does_not_read_costs_little_and_is_cut_off() {
    if !Kind::under_test().is_vivarium() {
        return;
    }
    let ensemble = Plan::new("never-reads", 1)
        .line("minSessionTimeout=4000")
        .start();
    let mut witness = ensemble.client(1);
    witness
        .create("/large", &vec![7; MIB - 200], flag::PERSISTENT)
        .expect("it fits");
    let before = memory(&ensemble, 1);
    let ask = Body::new()
        .int(1)
        .int(GET_DATA)
        .string("/large")
        .byte(0)
        .frame();
    let script = ask.repeat(2_000);
    let mut mutes: Vec<TcpStream> = (0..20).map(|_| mute(&ensemble, 4_000)).collect();
    for stream in &mut mutes {
        stream.write_all(&script).expect("the kernel takes it");
    }
    // Each: less than 1 MiB unread, then 1 MiB of answers at once and the one that goes beyond, and
    // what was sent already of an answer that has not left as a whole. The turn: 16 MiB of answers
    // and the one that goes beyond, in a buffer that doubles as it grows, and once more in the
    // queues of those whose sockets take them.
    let (each, turn) = (4 * MIB, 3 * 17 * MIB);
    let bound = before + 20 * each + turn;
    let mut most = 0;
    for _ in 0..30 {
        witness.ping().expect("others are served");
        most = most.max(memory(&ensemble, 1));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(most < bound, "{} MiB, {} before", most / MIB, before / MIB);
    wait::until("they are cut off", Duration::from_secs(15), || {
        ensemble.log(1).contains("NotReading").then_some(())
    });
    assert!(mutes.iter_mut().all(ends), "some stay open");
}

/// Who pipelines much, and reads it late but reads it, gets everything.
#[test]
fn a_late_reader_gets_all_its_answers() {
    let ensemble = Plan::new("late-reader", 1).start();
    let mut witness = ensemble.client(1);
    witness
        .create("/large", &vec![7; MIB - 200], flag::PERSISTENT)
        .expect("it fits");
    let mut stream = mute(&ensemble, 10_000);
    for xid in 1..=100 {
        let ask = Body::new().int(xid).int(GET_DATA).string("/large").byte(0);
        stream.write_all(&ask.frame()).expect("sent");
    }
    std::thread::sleep(Duration::from_secs(2));
    for xid in 1..=100 {
        let reply = read_frame(&mut stream).expect("an answer");
        assert_eq!(Fields::new(&reply).int(), xid);
    }
}

/// Watch events come unasked: they pile up to a bound.
#[test]
fn who_does_not_read_its_events_is_cut_off() {
    if !Kind::under_test().is_vivarium() {
        return;
    }
    let ensemble = Plan::new("never-reads-events", 1).start();
    let mut writer = ensemble.client(1);
    let path = format!("/{}", "long".repeat(4_000));
    writer
        .create(&path, b"", flag::PERSISTENT)
        .expect("it fits");
    let mut stream = mute(&ensemble, 40_000);
    let watch = Body::new().int(1).int(ADD_WATCH).string("/").int(1);
    stream.write_all(&watch.frame()).expect("sent");
    read_frame(&mut stream).expect("the watch is set");
    let before = memory(&ensemble, 1);
    let mut most = 0;
    for round in 0..3_000 {
        writer.set(&path, b"", -1).expect("others are served");
        if round % 50 == 0 {
            most = most.max(memory(&ensemble, 1));
            if ensemble.log(1).contains("NotReading") {
                break;
            }
        }
    }
    let bound = before + 60 * MIB;
    assert!(most < bound, "{} MiB, {} before", most / MIB, before / MIB);
    assert!(ensemble.log(1).contains("NotReading"), "it was not cut off");
    assert!(ends(&mut stream));
}
