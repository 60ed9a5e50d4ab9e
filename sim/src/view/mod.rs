//! A run as one page for a browser: who sent what to whom and when it arrived, who led which epoch,
//! what was on which disk, and what went wrong. The page needs nothing but itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde::Serialize;
use vivarium_core::mutants::Mutants;

use crate::net::{PipeId, Side};
use crate::observe::SimTime;
use crate::run::Verdict;
use crate::schedule::Schedule;
use crate::world::{Seen, Trace};

/// Where the data goes into the page.
const PLACE: &str = "/*DATA*/";

/// The page around the data.
const PAGE: &str = include_str!("page.html");

/// Something from one machine to another. Machines are numbered: servers first, then clients.
#[derive(Serialize)]
struct Message {
    from: u16,
    to: u16,
    sent: u64,
    /// Nothing if it never did.
    arrived: Option<u64>,
    what: String,
}

/// A server from then on.
#[derive(Serialize, PartialEq)]
struct State {
    at: u64,
    server: u16,
    /// `down`, `looking`, `following`, `leading`, `observing` or `standalone`.
    role: String,
    epoch: i64,
    serving: bool,
    logged: String,
    applied: String,
}

/// A transaction on a server's disk: written, and stable.
#[derive(Serialize)]
struct Record {
    server: u16,
    zxid: String,
    written: u64,
    durable: Option<u64>,
}

#[derive(Serialize)]
struct Note {
    at: u64,
    server: Option<u16>,
    text: String,
}

#[derive(Serialize, Default)]
struct Data {
    title: String,
    about: Vec<String>,
    verdict: String,
    servers: u16,
    clients: u16,
    end: u64,
    messages: Vec<Message>,
    states: Vec<State>,
    records: Vec<Record>,
    notes: Vec<Note>,
    /// Sent and not yet arrived: which message, and how many of its bytes are missing.
    #[serde(skip)]
    flying: BTreeMap<(PipeId, Side), VecDeque<(usize, usize)>>,
}

impl Data {
    fn see(&mut self, at: SimTime, seen: Seen<'_>) {
        let at = at.0;
        match seen {
            Seen::Sent {
                pipe,
                side,
                from,
                to,
                bytes,
                what,
            } => {
                let flying = self.flying.entry((pipe, side)).or_default();
                flying.push_back((self.messages.len(), bytes));
                self.messages.push(Message {
                    from: from.0,
                    to: to.0,
                    sent: at,
                    arrived: None,
                    what,
                });
            }
            Seen::Arrived { pipe, side, bytes } => self.arrived(at, (pipe, side), bytes),
            Seen::State { glance } => {
                let role = if glance.up {
                    format!("{:?}", glance.role).to_lowercase()
                } else {
                    "down".to_owned()
                };
                let state = State {
                    at,
                    server: glance.id.0 as u16 - 1,
                    role,
                    epoch: glance.epoch.0,
                    serving: glance.serving,
                    logged: glance.logged.to_string(),
                    applied: glance.applied.to_string(),
                };
                self.states.push(state);
            }
            Seen::Written { server, zxid } => self.records.push(Record {
                server,
                zxid: zxid.to_string(),
                written: at,
                durable: None,
            }),
            Seen::Durable { server, zxid } => {
                let zxid = zxid.to_string();
                let mut records = self.records.iter_mut().rev();
                let found = records.find(|r| r.server == server && r.zxid == zxid);
                if let Some(record) = found {
                    record.durable = Some(at);
                }
            }
            Seen::Said { server, text } => self.notes.push(Note { at, server, text }),
        }
    }

    fn arrived(&mut self, at: u64, way: (PipeId, Side), mut bytes: usize) {
        let Some(flying) = self.flying.get_mut(&way) else {
            return;
        };
        while let Some((message, missing)) = flying.front_mut() {
            let taken = bytes.min(*missing);
            bytes -= taken;
            *missing -= taken;
            if *missing > 0 {
                return;
            }
            self.messages[*message].arrived = Some(at);
            flying.pop_front();
            if bytes == 0 {
                return;
            }
        }
    }
}

/// Runs the schedule and draws it.
pub fn page(schedule: &Schedule, title: &str, mutants: Mutants) -> String {
    let data: Rc<RefCell<Data>> = Rc::default();
    let seeing = data.clone();
    let trace = Trace {
        view: Some(Box::new(move |at, seen| seeing.borrow_mut().see(at, seen))),
        ..Trace::default()
    };
    let run = schedule.replay(mutants, trace).run;
    let mut data = data.borrow_mut();
    title.clone_into(&mut data.title);
    data.about.clone_from(&schedule.about);
    data.verdict = match &run.verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Halted { evidence } => format!("halted as expected: {evidence}"),
        Verdict::Safety { rule, evidence } => format!("safety {rule}: {evidence}"),
        Verdict::Liveness { rule, evidence } => format!("liveness {rule}: {evidence}"),
        Verdict::Panic { message } => format!("panic: {message}"),
    };
    data.servers = schedule.config.servers();
    data.clients = schedule.config.clients.len() as u16;
    data.end = run.simulated_ns;
    let json = serde_json::to_string(&*data).expect("plain data");
    // Nothing in the data can end the script that it stands in.
    PAGE.replace(PLACE, &json.replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, Planned};
    use crate::schedule::{Plot, config};
    use std::time::Duration;

    #[test]
    fn a_page_holds_the_run_and_needs_nothing_else() {
        let mut config = config::calm();
        config.clients = vec![config::plain_plan(&config)];
        config.heal_at = SimTime::from_millis(3_000);
        config.faults.push(Planned {
            at: SimTime::from_millis(2_000),
            fault: Fault::Blackout {
                down: Some(Duration::from_millis(100)),
            },
        });
        let schedule = Schedule {
            about: vec!["</script> ends nothing".to_owned()],
            mutant: None,
            fails: None,
            config,
            plot: Plot::Swarm,
            decisions: Default::default(),
        };
        let page = page(&schedule, "a run", Mutants::NONE);
        for part in ["PROPOSAL", "NEWLEADER", "Blackout", "\"leading\""] {
            assert!(page.contains(part), "{part} is missing");
        }
        let durable = |digit: u8| page.contains(&format!("\"durable\":{digit}"));
        assert!((1..=9).any(durable), "nothing became durable");
        assert_eq!(
            page.matches("</script>").count(),
            1,
            "the data can not end it"
        );
        for remote in ["http://", "https://", "src=", "@import", "fetch("] {
            assert!(!page.contains(remote), "the page asks for {remote}");
        }
        assert!(!page.contains(PLACE));
    }

    #[test]
    fn bytes_arrive_in_order_and_in_pieces() {
        let mut data = Data::default();
        let (pipe, side) = (PipeId(1), Side::Dialer);
        for (at, bytes) in [(1, 10), (2, 5)] {
            let what = String::new();
            let (from, to) = (crate::net::Machine(0), crate::net::Machine(1));
            data.see(
                SimTime(at),
                Seen::Sent {
                    pipe,
                    side,
                    from,
                    to,
                    bytes,
                    what,
                },
            );
        }
        data.see(
            SimTime(3),
            Seen::Arrived {
                pipe,
                side,
                bytes: 4,
            },
        );
        data.see(
            SimTime(4),
            Seen::Arrived {
                pipe,
                side,
                bytes: 8,
            },
        );
        let arrived: Vec<_> = data.messages.iter().map(|m| m.arrived).collect();
        assert_eq!(arrived, [Some(4), None]);
        data.see(
            SimTime(5),
            Seen::Arrived {
                pipe,
                side,
                bytes: 3,
            },
        );
        assert_eq!(data.messages[1].arrived, Some(5));
    }
}
