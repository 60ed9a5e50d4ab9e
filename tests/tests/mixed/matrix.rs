//! The cases of mixed ensembles, how a server is made to lead, and the table of what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use vivarium_tests::client::four_letters;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::{ask, wait};

use crate::behaviours::{self, Behaviour};
use crate::catching_up;

/// Elections until the wanted server must have won one.
const ELECTIONS: usize = 6;

/// How a server is called in the table.
fn label(kind: Kind, observes: bool) -> String {
    let name = match kind {
        Kind::Vivarium => "vivarium".to_owned(),
        Kind::ZooKeeper(_) => format!("zookeeper {}", kind.label()),
    };
    if observes { name + " (observer)" } else { name }
}

/// What came out: leader and learner by kind, behaviour, and each failure.
#[derive(Default)]
pub(crate) struct Matrix {
    cells: BTreeMap<(String, String), BTreeMap<&'static str, Cell>>,
}

#[derive(Default)]
struct Cell {
    ok: usize,
    failures: Vec<String>,
}

impl Matrix {
    pub(crate) fn note(
        &mut self,
        pair: (String, String),
        behaviour: &'static str,
        outcome: Result<(), String>,
    ) {
        let cell = self.cells.entry(pair).or_default().entry(behaviour);
        let cell = cell.or_default();
        match outcome {
            Ok(()) => cell.ok += 1,
            Err(why) => cell.failures.push(why),
        }
    }

    fn failures(&self) -> Vec<&String> {
        let cells = self.cells.values().flat_map(BTreeMap::values);
        cells.flat_map(|cell| &cell.failures).collect()
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) {
        let failures = self.failures();
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behaviours: BTreeSet<_> = self.cells.values().flat_map(BTreeMap::keys).collect();
        writeln!(f, "leader > learner; the number of servers that did it\n")?;
        for ((leader, learner), row) in &self.cells {
            writeln!(f, "{leader} > {learner}")?;
            for behaviour in &behaviours {
                let Some(cell) = row.get(**behaviour) else {
                    continue;
                };
                let (ok, failed) = (cell.ok, cell.failures.len());
                writeln!(f, "    {behaviour:<28} {ok} ok, {failed} failed")?;
                for why in &cell.failures {
                    writeln!(f, "        {why}")?;
                }
            }
        }
        Ok(())
    }
}

/// What a panic said.
pub(crate) fn outcome(action: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(action)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        text.unwrap_or_else(|| "no words".to_owned())
    })
}

/// One mix of servers. The last voter leads.
pub(crate) struct Case {
    voters: Vec<Kind>,
    observers: Vec<Kind>,
}

/// A case while its servers run.
pub(crate) struct Mix {
    pub(crate) ensemble: Ensemble,
    pub(crate) leader: i64,
    voters: i64,
}

impl Case {
    pub(crate) fn of(voters: &[Kind]) -> Self {
        Self {
            voters: voters.to_vec(),
            observers: Vec::new(),
        }
    }

    pub(crate) fn observers(mut self, kinds: &[Kind]) -> Self {
        self.observers = kinds.to_vec();
        self
    }

    fn name(&self) -> String {
        let all = self.voters.iter().chain(&self.observers);
        let all: Vec<_> = all.map(|kind| kind.label()).collect();
        format!("mixed-{}", all.join("-"))
    }

    pub(crate) fn start(&self) -> Mix {
        let (voters, observers) = (self.voters.len() as i64, self.observers.len() as i64);
        let all = [&self.voters[..], &self.observers[..]].concat();
        let ensemble = Plan::new(&self.name(), voters)
            .observers(observers)
            .mix(&all)
            .line("extendedTypesEnabled=true")
            .line("localSessionsEnabled=false")
            .property("znode.container.checkIntervalMs", "1000")
            .prepare();
        let mut mix = Mix {
            ensemble,
            leader: voters,
            voters,
        };
        mix.start_led();
        mix
    }

    pub(crate) fn run(&self, matrix: &mut Matrix) {
        let (begun, before) = (Instant::now(), matrix.failures().len());
        let mut mix = self.start();
        println!("{}: led by server {}", self.name(), mix.leader);
        for behaviour in behaviours::ALL {
            mix.everywhere(behaviour, matrix);
        }
        behaviours::zxids_are_contiguous(&mix, matrix);
        behaviours::trees_are_equal(&mix, matrix);
        catching_up::run(&mut mix, matrix);
        behaviours::trees_are_equal(&mix, matrix);
        mix.ensemble.assert_alive(&mix.ensemble.ids());
        if matrix.failures().len() > before {
            mix.ensemble.keep();
        }
        println!("{}: {:?}", self.name(), begun.elapsed());
    }
}

impl Mix {
    /// Starts all servers so that the one with the highest id wins the election.
    fn start_led(&mut self) {
        let wanted = self.leader;
        self.ensemble.spawn(wanted);
        let port = self.ensemble.election_address(wanted);
        wait_listening(port);
        self.ensemble.start_all();
        self.force(wanted);
    }

    /// Kills whoever leads instead, until this server does. All hold the same history.
    pub(crate) fn force(&mut self, wanted: i64) {
        for _ in 0..ELECTIONS {
            let leader = self.ensemble.wait_leader();
            if leader == wanted {
                self.leader = wanted;
                return;
            }
            self.everyone_is_up_to_date();
            self.ensemble.kill(leader);
            self.ensemble.wait_leader();
            self.ensemble.start(leader);
        }
        panic!("server {wanted} wins no election");
    }

    pub(crate) fn everyone_is_up_to_date(&self) {
        for id in self.ensemble.running() {
            self.probe(id).ok(&ask::sync("/"));
        }
    }

    pub(crate) fn ids(&self) -> Vec<i64> {
        self.ensemble.ids()
    }

    /// Some other server than this one.
    pub(crate) fn other(&self, id: i64) -> i64 {
        let ids = self.ids();
        let at = ids.iter().position(|other| *other == id).expect("an id");
        ids[(at + 1) % ids.len()]
    }

    pub(crate) fn observes(&self, id: i64) -> bool {
        id > self.voters
    }

    /// A new session, tried until the server takes it.
    pub(crate) fn probe(&self, id: i64) -> Probe {
        drop(self.ensemble.client(id));
        Probe::connect(self.ensemble.client_address(id))
    }

    /// Leader and learner as the table calls them.
    pub(crate) fn pair(&self, learner: i64) -> (String, String) {
        let of = |id| label(self.ensemble.kind(id), self.observes(id));
        (of(self.leader), of(learner))
    }

    /// Runs it through each server at the same time.
    fn everywhere(&self, behaviour: &Behaviour, matrix: &mut Matrix) {
        let run = |at: i64| outcome(|| (behaviour.run)(self, at));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads = self.ids().into_iter();
            let threads: Vec<_> = threads
                .map(|at| (at, scope.spawn(move || run(at))))
                .collect();
            let joined = threads.into_iter();
            joined
                .map(|(at, t)| (at, t.join().expect("panics are caught")))
                .collect()
        });
        for (at, outcome) in outcomes {
            matrix.note(self.pair(at), behaviour.name, outcome);
        }
    }
}

fn wait_listening(port: SocketAddr) {
    wait::until("the election port is open", SERVING, || {
        TcpStream::connect_timeout(&port, Duration::from_secs(1)).ok()
    });
}

/// One value of `mntr`, without `zk_` in front.
pub(crate) fn monitored(ensemble: &Ensemble, id: i64, key: &str) -> Option<String> {
    let text = four_letters(ensemble.client_address(id), "mntr").ok()?;
    let mut lines = text.lines();
    let key = format!("zk_{key}\t");
    lines.find_map(|line| Some(line.strip_prefix(&key)?.to_owned()))
}
