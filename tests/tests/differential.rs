//! The same requests to Apache ZooKeeper and to Vivarium get the same replies, byte for byte but
//! for times, session ids and the order of children.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::VecDeque;

use vivarium_tests::client::{Client, Event};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::peers;
use vivarium_tests::random::Random;
use vivarium_tests::requests::{Request, Requests, normalised};

/// Requests that a failure shows before the one that differs.
const SHOWN: usize = 12;

/// A server with the test's sessions.
struct Side {
    ensemble: Ensemble,
    clients: Vec<Client>,
    sessions: Vec<i64>,
}

impl Side {
    fn start(name: &str, kind: Kind, clients: usize) -> Self {
        let ensemble = Plan::new(name, 1).kind(kind).start();
        let clients: Vec<_> = (0..clients).map(|_| ensemble.client(1)).collect();
        let sessions = clients.iter().map(|client| client.session().id).collect();
        Self {
            ensemble,
            clients,
            sessions,
        }
    }

    /// The reply, and every event that came to any session.
    fn exchange(&mut self, who: usize, request: &Request) -> String {
        let (op, body) = (request.op, &request.body);
        let reply = self.clients[who].exchange(request.xid, op, body);
        let reply = reply.unwrap_or_else(|e| panic!("{}: {e}", request.text));
        let mut text = normalised(request, &reply, &self.sessions);
        for (number, client) in self.clients.iter_mut().enumerate() {
            // Events of the request are in front of the reply to anything sent after it.
            client.ping().expect("a ping is answered");
            for Event { kind, path, zxid } in client.take_events() {
                text.push_str(&format!("\n    event to {number}: {kind} {path} {zxid:#x}"));
            }
        }
        text
    }

    /// Kills and restarts the server; the sessions go on.
    fn restart(&mut self) {
        self.ensemble.kill(1);
        self.ensemble.start(1);
        for client in &mut self.clients {
            let address = self.ensemble.client_address(1);
            let (session, seen) = (client.session().clone(), client.last_zxid());
            *client = Client::resume(address, &session, seen).expect("the session lives");
        }
    }
}

/// Sends `count` requests to both and compares after each.
fn compare(left: &mut Side, right: &mut Side, requests: &mut Requests, count: usize) {
    let mut recent = VecDeque::new();
    for number in 0..count {
        let who = number % left.clients.len();
        let request = requests.draw();
        let (one, two) = (left.exchange(who, &request), right.exchange(who, &request));
        let text: String = request.text.chars().take(300).collect();
        recent.push_back(format!("{who}: {text}\n    {one}"));
        if recent.len() > SHOWN {
            recent.pop_front();
        }
        if one != two {
            for line in &recent {
                println!("{line}");
            }
            panic!("request {number} differs:\n  ZooKeeper {one}\n  Vivarium  {two}");
        }
    }
}

fn against_zookeeper(name: &str, runs: usize, requests: usize) {
    // The newest, for it has the fewest faults of its own.
    let Some(java) = peers::zookeepers().last() else {
        return peers::skip(name, "no ZooKeeper to compare with");
    };
    for _ in 0..runs {
        let mut left = Side::start(&format!("{name}-java"), Kind::ZooKeeper(java), 2);
        let mut right = Side::start(&format!("{name}-ours"), Kind::under_test(), 2);
        let mut all = Requests::new(Random::announced());
        compare(&mut left, &mut right, &mut all, requests);
        left.restart();
        right.restart();
        compare(&mut left, &mut right, &mut all, requests / 4);
    }
}

#[test]
fn random_requests_get_the_same_replies() {
    against_zookeeper("differential", 2, 2_000);
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn many_random_requests_get_the_same_replies() {
    against_zookeeper("differential-long", 12, 6_000);
}
