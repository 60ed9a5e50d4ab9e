use vivarium_core::boundary::Channel;

use super::*;

const A: Machine = Machine(0);
const B: Machine = Machine(1);

struct Wire {
    net: Net,
    time: Timeline<NetEvent>,
    got: Vec<Arrival>,
}

impl Wire {
    fn new(config: NetConfig) -> Self {
        let mut net = Net::new(config, 2, &Streams::new(1));
        let mut time = Timeline::default();
        net.start(&mut time, A);
        net.start(&mut time, B);
        Self {
            net,
            time,
            got: Vec::new(),
        }
    }

    /// Lets everything planned until `ms` happen.
    fn run(&mut self, ms: u64) {
        while self
            .time
            .next_at()
            .is_some_and(|at| at <= SimTime::from_millis(ms))
        {
            let event = self.time.pop().expect("peeked");
            self.net.happen(&mut self.time, event);
            let mut buffer = Vec::new();
            self.net.take_arrivals(&mut buffer);
            self.got.append(&mut buffer);
        }
        self.time.advance(SimTime::from_millis(ms));
    }

    fn connected(config: NetConfig) -> (Self, PipeId) {
        let mut wire = Self::new(config);
        let id = wire
            .net
            .dial(&mut wire.time, A, B, Port::Peer(Channel::Quorum));
        wire.run(10);
        assert!(matches!(
            wire.got[0],
            Arrival {
                to: B,
                what: What::Opened,
                ..
            }
        ));
        assert!(matches!(
            wire.got[1],
            Arrival {
                to: A,
                what: What::Opened,
                ..
            }
        ));
        wire.got.clear();
        (wire, id)
    }

    fn send(&mut self, id: PipeId, side: Side, bytes: &[u8]) {
        self.net
            .send(&mut self.time, id, side, Bytes::copy_from_slice(bytes));
    }

    fn bytes_to(&self, who: Machine) -> Vec<u8> {
        let mut all = Vec::new();
        for arrival in self.got.iter().filter(|a| a.to == who) {
            if let What::Bytes(b) = &arrival.what {
                all.extend_from_slice(b);
            }
        }
        all
    }

    fn closed(&self, who: Machine) -> bool {
        self.got
            .iter()
            .any(|a| a.to == who && matches!(a.what, What::Closed))
    }
}

fn rough() -> NetConfig {
    NetConfig {
        cut_per_mille: 500,
        stall_per_10k: 500,
        stall_max: 5_000_000,
        ..NetConfig::calm()
    }
}

#[test]
fn bytes_arrive_in_order_however_they_are_cut() {
    let (mut wire, id) = Wire::connected(rough());
    let mut sent = Vec::new();
    for i in 0..200u8 {
        wire.send(id, Side::Dialer, &[i, i, i]);
        sent.extend_from_slice(&[i, i, i]);
        wire.send(id, Side::Acceptor, &[i]);
        wire.run(10 + u64::from(i) / 10);
    }
    wire.net.close(&mut wire.time, id, Side::Dialer);
    wire.run(2_000);
    assert_eq!(wire.bytes_to(B), sent);
    assert!(wire.closed(B), "the end follows the bytes");
    assert!(!wire.closed(A), "who closes is not told");
    assert!(wire.net.live.is_empty());
}

#[test]
fn a_reset_keeps_a_prefix_and_tells_both_ends() {
    let (mut wire, id) = Wire::connected(rough());
    let sent: Vec<u8> = (0..100).collect();
    for chunk in sent.chunks(10) {
        wire.send(id, Side::Dialer, chunk);
    }
    wire.net.reset(&mut wire.time, id);
    wire.send(id, Side::Dialer, b"after");
    wire.run(2_000);
    let got = wire.bytes_to(B);
    assert!(got.len() < sent.len() && sent.starts_with(&got));
    assert!(wire.closed(A) && wire.closed(B));
    assert!(wire.net.live.is_empty());
}

#[test]
fn a_short_cut_only_delays() {
    let (mut wire, id) = Wire::connected(NetConfig::calm());
    wire.net.cut(A, B);
    wire.send(id, Side::Dialer, b"hello");
    wire.send(id, Side::Acceptor, b"world");
    wire.run(1_000);
    assert_eq!(
        (wire.bytes_to(A), wire.bytes_to(B)),
        (b"world".to_vec(), Vec::new())
    );
    wire.net.mend(&mut wire.time, A, B);
    wire.run(1_100);
    assert_eq!(wire.bytes_to(B), b"hello");
    wire.run(10_000);
    assert!(!wire.closed(A) && !wire.closed(B));
}

#[test]
fn a_long_one_way_cut_breaks_both_senders() {
    let (mut wire, id) = Wire::connected(NetConfig::calm());
    wire.net.cut(A, B);
    wire.send(id, Side::Dialer, b"lost");
    wire.send(id, Side::Acceptor, b"arrives without an acknowledgement");
    wire.run(10_000);
    assert!(wire.closed(A) && wire.closed(B));
    assert_eq!(wire.bytes_to(B), b"");
    assert_eq!(wire.bytes_to(A), b"arrives without an acknowledgement");
}

#[test]
fn a_silent_end_notices_nothing_until_it_speaks() {
    let (mut wire, id) = Wire::connected(NetConfig::calm());
    wire.net.crash(&mut wire.time, A, true);
    wire.run(60_000);
    assert!(!wire.closed(B));
    wire.net.start(&mut wire.time, A);
    wire.send(id, Side::Acceptor, b"still there?");
    wire.run(60_100);
    assert!(
        wire.closed(B),
        "the machine is back and knows no such connection"
    );
    assert!(wire.net.live.is_empty());
}

#[test]
fn a_killed_process_is_noticed() {
    let (mut wire, id) = Wire::connected(NetConfig::calm());
    wire.send(id, Side::Dialer, b"0123456789");
    wire.net.crash(&mut wire.time, A, false);
    wire.run(100);
    assert!(wire.closed(B));
    assert!(b"0123456789".starts_with(&wire.bytes_to(B)));
}

#[test]
fn dials_fail_fast_or_late() {
    let mut wire = Wire::new(NetConfig::calm());
    wire.net.crash(&mut wire.time, B, false);
    wire.net.dial(&mut wire.time, A, B, Port::Client);
    wire.run(100);
    assert!(matches!(
        wire.got[..],
        [Arrival {
            to: A,
            what: What::DialFailed,
            ..
        }]
    ));
    wire.net.cut(B, A);
    wire.net.start(&mut wire.time, B);
    wire.net.dial(&mut wire.time, A, B, Port::Client);
    wire.run(1_000);
    assert!(matches!(
        wire.got[1..],
        [Arrival {
            to: B,
            what: What::Opened,
            ..
        }]
    ));
    wire.run(10_000);
    assert!(matches!(
        wire.got[2],
        Arrival {
            to: A,
            what: What::DialFailed,
            ..
        }
    ));
}

#[test]
fn a_dialler_that_left_is_reported_to_the_acceptor() {
    let mut wire = Wire::new(NetConfig::calm());
    let id = wire.net.dial(&mut wire.time, A, B, Port::Client);
    let syn = wire.time.pop().expect("the dial is under way");
    wire.net.happen(&mut wire.time, syn);
    wire.net.close(&mut wire.time, id, Side::Dialer);
    wire.run(100);
    assert!(matches!(
        wire.got[0],
        Arrival {
            to: B,
            what: What::Opened,
            ..
        }
    ));
    assert!(wire.closed(B) && wire.got.len() == 2);
    assert!(wire.net.live.is_empty());
}
