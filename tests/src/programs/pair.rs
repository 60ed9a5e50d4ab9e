//! The same program on two servers, or on two ensembles, of different makes.

use std::fmt;

use super::Program;
use super::minimise::minimise;
use super::run::{Shown, Target};
use crate::ensemble::{Ensemble, Kind, Plan};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Standalone,
    /// Three voters; slots are connected to any of them.
    Ensemble,
}

impl Form {
    pub fn servers(self) -> usize {
        match self {
            Self::Standalone => 1,
            Self::Ensemble => 3,
        }
    }
}

/// One make's servers.
pub struct Side {
    pub target: Target,
    _ensemble: Ensemble,
}

impl Side {
    pub fn start(name: &str, form: Form, kind: Kind) -> Self {
        let hour = "3600000";
        let plan = Plan::new(name, form.servers() as i64)
            .kind(kind)
            .line("minSessionTimeout=8000")
            .line("maxSessionTimeout=600000")
            .property("zookeeper.extendedTypesEnabled", "true")
            .property("zookeeper.enforceQuota", "true")
            .property(
                "zookeeper.DigestAuthenticationProvider.superDigest",
                "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
            )
            // When the sweeper comes by is nobody's promise.
            .property("znode.container.checkIntervalMs", hour);
        let plan = match kind {
            // Nothing here is about what survives.
            Kind::ZooKeeper(_) => plan.property("zookeeper.forceSync", "no"),
            Kind::Vivarium => plan,
        };
        let ensemble = plan.start();
        let mut ids = ensemble.ids();
        if form == Form::Ensemble {
            let leader = ensemble.wait_leader();
            ids.sort_by_key(|id| (*id != leader, *id));
        }
        let servers = ids.iter().map(|id| ensemble.client_address(*id)).collect();
        Self {
            target: Target::new(servers),
            _ensemble: ensemble,
        }
    }
}

/// A program that is answered differently, and both answers.
pub struct Difference {
    pub program: Program,
    pub left: Vec<Shown>,
    pub right: Vec<Shown>,
}

/// Two makes, the expectation on the left.
pub struct Pair {
    pub left: Side,
    pub right: Side,
}

impl Pair {
    pub fn start(name: &str, form: Form, left: Kind, right: Kind) -> Self {
        let start = |side: &str, kind| Side::start(&format!("{name}-{side}"), form, kind);
        std::thread::scope(|scope| {
            let right = scope.spawn(|| start("right", right));
            let left = start("left", left);
            let right = right.join().expect("the right side starts");
            Self { left, right }
        })
    }

    /// Runs a program on both.
    pub fn compare(&mut self, program: &Program) -> Option<Difference> {
        let (left, right) = std::thread::scope(|scope| {
            let right = scope.spawn(|| self.right.target.run(program));
            let left = self.left.target.run(program);
            (left, right.join().expect("the right side answers"))
        });
        (left != right).then(|| Difference {
            program: program.clone(),
            left,
            right,
        })
    }

    /// The smallest program that still shows a difference; `None` if it does not show again.
    pub fn shrink(&mut self, found: &Difference) -> Option<Difference> {
        let mut last = None;
        minimise(&found.program, |program| match self.compare(program) {
            Some(difference) => {
                last = Some(difference);
                true
            }
            None => false,
        });
        last
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.program.steps.iter().enumerate() {
            writeln!(f, "{number:3}  {step}")?;
            let (left, right) = (&self.left[number], &self.right[number]);
            for line in left.iter().filter(|_| left == right) {
                writeln!(f, "        both      {line}")?;
            }
            if left != right {
                let put = |f: &mut fmt::Formatter<'_>, who: &str, shown: &Shown| {
                    shown
                        .iter()
                        .try_for_each(|line| writeln!(f, "    ### {who} {line}"))
                };
                put(f, "ZooKeeper", left)?;
                put(f, "Vivarium ", right)?;
            }
        }
        Ok(())
    }
}
