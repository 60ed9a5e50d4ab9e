//! Plays a scenario: one step after the other, each expectation with its time.

use std::collections::BTreeMap;
use std::time::Duration;

use vivarium_core::ids::ServerId;

use super::{Condition, Line, Scenario, Script, Span, Step, Who};
use crate::faults::{Fault, Party, Shape, Strike, Target};
use crate::observe::Violation;
use crate::run::{Run, run_with, settle};
use crate::world::{Trace, World};
use vivarium_core::mutants::Mutants;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Plays it with one seed.
pub fn play(scenario: &Scenario, seed: u64, mutants: Mutants, trace: Trace) -> Run {
    run_with(scenario.config(seed, mutants), trace, |world| {
        scenario.script.perform(world)
    })
}

impl Script {
    /// One step after the other, until something breaks.
    pub fn perform(&self, world: &mut World) -> Option<Violation> {
        let mut stage = Stage {
            world,
            names: BTreeMap::new(),
            mark: 0,
        };
        for line in &self.steps {
            if let Err(violation) = stage.step(line) {
                return Some(violation);
            }
        }
        if self.settle {
            let violation = settle(stage.world);
            if violation.is_some() {
                return violation;
            }
        }
        let demanded = self.expect.iter();
        demanded
            .into_iter()
            .find_map(|line| stage.demand(line, &line.what, Span::Now))
    }
}

struct Stage<'a> {
    world: &'a mut World,
    names: BTreeMap<String, ServerId>,
    /// Acknowledged writes at the last `mark`.
    mark: u64,
}

fn unmet<T>(line: &Line<T>, why: &str, liveness: bool) -> Violation {
    let evidence = format!("line {}: \"{}\": {why}", line.number, line.text);
    Violation {
        rule: "scenario",
        evidence,
        liveness,
    }
}

impl Stage<'_> {
    /// The server that is meant, at this moment.
    fn who(&self, line: &Line<Step>, who: &Who) -> Result<ServerId, Violation> {
        self.resolve(who)
            .ok_or_else(|| unmet(line, &format!("there is no {who:?} now"), true))
    }

    fn resolve(&self, who: &Who) -> Option<ServerId> {
        match who {
            Who::Number(id) => Some(*id),
            Who::Leader => self.world.leader(),
            Who::Follower => {
                let leader = self.world.leader();
                let mut others = self.world.glances().filter(|g| g.up && g.serving);
                others.find(|g| Some(g.id) != leader).map(|g| g.id)
            }
            Who::Named(name) => self.names.get(name).copied(),
            Who::Client(_) => None,
        }
    }

    fn party(&self, line: &Line<Step>, who: &Who) -> Result<Party, Violation> {
        match who {
            Who::Client(n) => Ok(Party::Client(*n)),
            who => self.who(line, who).map(Party::Server),
        }
    }

    fn parties(&self, line: &Line<Step>, all: &[Who]) -> Result<Vec<Party>, Violation> {
        all.iter().map(|who| self.party(line, who)).collect()
    }

    fn all(&self, line: &Line<Step>, all: &[Who]) -> Result<Vec<ServerId>, Violation> {
        all.iter().map(|who| self.who(line, who)).collect()
    }

    fn cut(&mut self, shape: Shape) {
        self.world.strike(&Fault::Cut { shape, lasts: None });
    }

    fn crash(&mut self, who: ServerId, power: bool) {
        let strike = Strike::BetweenTurns;
        self.world.strike(&Fault::Crash {
            who: Target::Server(who),
            power,
            strike,
            down: None,
        });
    }

    fn step(&mut self, line: &Line<Step>) -> Result<(), Violation> {
        match &line.what {
            Step::StartAll => self.start_all(),
            Step::Start(who) => {
                let all = self.all(line, who)?;
                all.into_iter().for_each(|id| self.world.start(id));
            }
            Step::Stop(who) => {
                let all = self.all(line, who)?;
                all.into_iter().for_each(|id| self.world.stop(id));
            }
            Step::Crash(who) | Step::PowerOff(who) => {
                let power = matches!(line.what, Step::PowerOff(_));
                for id in self.all(line, who)? {
                    self.crash(id, power);
                }
            }
            Step::PowerOffAll => self.world.strike(&Fault::Blackout { down: None }),
            Step::Let(name, who) => {
                let id = self.who(line, who)?;
                self.names.insert(name.clone(), id);
            }
            Step::Partition(left, right) => {
                let (left, right) = (self.parties(line, left)?, self.parties(line, right)?);
                self.cut(Shape::Groups(left, right));
            }
            Step::Isolate(who) => self.isolate(line, who)?,
            Step::Mute(who) => {
                let id = self.who(line, who)?;
                self.cut(Shape::Mute(Target::Server(id)));
            }
            Step::Deafen(who) => {
                let who = Target::Server(self.who(line, who)?);
                self.cut(Shape::Deaf(who));
            }
            Step::Cut(from, to) => {
                let shape = Shape::Directed(self.party(line, from)?, self.party(line, to)?);
                self.cut(shape);
            }
            Step::Mend => self.world.mend_network(),
            Step::Heal => self.world.heal(),
            Step::Mark => self.mark = self.world.writes_acknowledged(),
            Step::KillClient(n) => self.world.kill_client(*n),
            Step::StartClient(n) => self.world.restart_client(*n),
            Step::ClientsStart => self.world.begin_clients(),
            Step::ClientsStop => self.world.quiet_clients(),
            Step::Wait(time) => return self.pass(*time),
            Step::Expect(condition, span) => {
                return self.demand(line, condition, *span).map_or(Ok(()), Err);
            }
            Step::DisksWell => self.world.disks_well(),
            Step::Pause(who)
            | Step::Reset(who)
            | Step::SlowDisk(who, _)
            | Step::StallDisk(who)
            | Step::FillDisk(who)
            | Step::Drift(who, _) => {
                let who = Target::Server(self.who(line, who)?);
                self.world.strike(&lasting(&line.what, who));
            }
            Step::Resume(who) => {
                let id = self.who(line, who)?;
                self.world.resume_server(id);
            }
        }
        Ok(())
    }

    fn start_all(&mut self) {
        let all: Vec<ServerId> = self.world.server_ids().collect();
        for id in all {
            self.world.start(id);
        }
    }

    /// Cut off from everybody; a client from every server.
    fn isolate(&mut self, line: &Line<Step>, who: &Who) -> Result<(), Violation> {
        match self.party(line, who)? {
            Party::Server(id) => self.cut(Shape::Isolate(Target::Server(id))),
            client @ Party::Client(_) => {
                let servers = self.world.server_ids().map(Party::Server).collect();
                self.cut(Shape::Groups(vec![client], servers));
            }
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.world.now().after(time);
        self.world.run_until(until).map_or(Ok(()), Err)
    }

    /// What breaks if the condition is not met in its time.
    fn demand<T>(&mut self, line: &Line<T>, what: &Condition, span: Span) -> Option<Violation> {
        let (time, throughout) = match span {
            Span::Now => (Duration::ZERO, false),
            Span::Within(time) => (time, false),
            Span::For(time) => (time, true),
        };
        let until = self.world.now().after(time);
        loop {
            let met = self.holds(what);
            if met && !throughout {
                return None;
            }
            let over = self.world.now() >= until;
            if !met && (throughout || over) {
                let now = self.world.now();
                let why = format!("not so at {now}: {}", self.world.standing());
                return Some(unmet(line, &why, !throughout));
            }
            if over {
                return None;
            }
            let next = self.world.now().after(LOOK_EVERY).min(until);
            if let Some(violation) = self.world.run_until(next) {
                return Some(violation);
            }
        }
    }

    fn holds(&self, what: &Condition) -> bool {
        let serving = |who: &Who| {
            self.resolve(who).is_some_and(|id| {
                let g = self.world.glance(id);
                g.up && g.serving
            })
        };
        let leader = self.world.leader();
        match what {
            Condition::SomeLeader => leader.is_some(),
            Condition::NoLeader => leader.is_none(),
            Condition::Leader(who) | Condition::Leads(who) => {
                leader.is_some() && leader == self.resolve(who)
            }
            Condition::LeaderIsNot(who) => leader.is_some() && leader != self.resolve(who),
            Condition::Serving(who) => who.iter().all(serving),
            Condition::ServingAll => self.world.serving() == self.world.server_ids().count(),
            Condition::NotServing(who) => !who.iter().any(serving),
            Condition::Sync(who, mode) => self
                .resolve(who)
                .is_some_and(|id| self.world.glance(id).sync == Some(mode.as_str())),
            Condition::Writes(count) => self.world.writes_acknowledged() - self.mark >= *count,
            Condition::NoWrites => self.world.writes_acknowledged() == self.mark,
            Condition::Level => self.world.level(),
            Condition::Stands(n, standing) => self.world.client_standing(*n) == *standing,
        }
    }
}

/// A step that strikes one server until it is taken back.
fn lasting(step: &Step, who: Target) -> Fault {
    match step {
        Step::Pause(_) => Fault::Pause { who, lasts: None },
        Step::Reset(_) => Fault::ResetLinks { who },
        Step::SlowDisk(_, factor) => Fault::SlowDisk {
            who,
            factor: *factor,
            lasts: None,
        },
        Step::StallDisk(_) => Fault::StallDisk { who, lasts: None },
        Step::FillDisk(_) => Fault::FullDisk {
            who,
            room: 0,
            lasts: None,
            down: Duration::from_secs(1),
        },
        Step::Drift(_, ppm) => Fault::Drift { who, ppm: *ppm },
        other => unreachable!("{other:?} strikes no single server for a while"),
    }
}
