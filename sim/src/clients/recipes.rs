//! The recipes of the ZooKeeper documentation as state machines: a lock of ephemeral sequence nodes
//! in which everybody watches the one before, and the election of a master who owns an ephemeral
//! znode. Each takes one step at a time; what a lost connection leaves open is looked up again.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::ids::SessionId;
use vivarium_core::wire::records::{Acl, ErrorCode, perms};

use super::ops::{Body, Flags, Op, Path, Reply, WatchEvent};
use crate::observe::{ClientId, SimTime};

/// How far a client has got with its recipe, as it knows itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Without a connection or a session.
    Away,
    Waits,
    /// Has the lock, or is master.
    Holds,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum LockState {
    /// The parent has to be there.
    Base,
    /// Is there a node of this session already?
    Look,
    Enqueue,
    /// Who is first?
    Queue {
        mine: Path,
    },
    /// Somebody else is first: wait until the one before is gone.
    Watch {
        mine: Path,
        before: Path,
    },
    Blocked {
        mine: Path,
        before: Path,
    },
    Held {
        mine: Path,
        until: SimTime,
    },
    Release {
        mine: Path,
    },
}

/// The lock recipe, over and over.
#[derive(Clone, Debug)]
pub struct Lock {
    base: Path,
    hold: Duration,
    state: LockState,
    /// The step's request is out.
    asked: bool,
}

fn create(path: Path, data: Option<Bytes>, flags: Flags) -> Op {
    let acl = Rc::new([Acl::world(perms::ALL)]);
    Op::Create {
        path,
        data,
        acl,
        flags,
        with_stat: false,
    }
}

const EPHEMERAL: Flags = Flags {
    ephemeral: true,
    ..Flags::PLAIN
};

/// The place in the queue: the number at the end of the name.
fn number(name: &str) -> Option<u64> {
    name.get(name.len().checked_sub(10)?..)?.parse().ok()
}

impl Lock {
    pub fn new(base: Path, hold: Duration) -> Self {
        Self {
            base,
            hold,
            state: LockState::Base,
            asked: false,
        }
    }

    pub fn standing(&self) -> Standing {
        match self.state {
            LockState::Held { .. } => Standing::Holds,
            _ => Standing::Waits,
        }
    }

    /// The session is part of the name, because the reply to the create may be lost.
    fn prefix(session: SessionId) -> String {
        format!("{session}-")
    }

    /// The next request, if it is time for one.
    pub fn step(&mut self, now: SimTime, session: SessionId) -> Option<Op> {
        if self.asked {
            return None;
        }
        if let LockState::Held { mine, until } = &self.state {
            if now < *until {
                return None;
            }
            self.state = LockState::Release { mine: mine.clone() };
        }
        let list = || Op::GetChildren {
            path: self.base.clone(),
            watch: false,
            with_stat: false,
        };
        let op = match &self.state {
            LockState::Base => create(self.base.clone(), None, Flags::PLAIN),
            LockState::Look | LockState::Queue { .. } => list(),
            LockState::Enqueue => {
                let path = format!("{}/{}", self.base, Self::prefix(session));
                create(
                    path.into(),
                    None,
                    Flags {
                        ephemeral: true,
                        sequential: true,
                        ..Flags::PLAIN
                    },
                )
            }
            LockState::Watch { before, .. } => Op::Exists {
                path: before.clone(),
                watch: true,
            },
            LockState::Release { mine } => Op::Delete {
                path: mine.clone(),
                version: -1,
            },
            LockState::Blocked { .. } | LockState::Held { .. } => return None,
        };
        self.asked = true;
        Some(op)
    }

    /// When to ask again without having heard anything.
    pub fn wake_at(&self) -> Option<SimTime> {
        match self.state {
            LockState::Held { until, .. } => Some(until),
            _ => None,
        }
    }

    pub fn heard(&mut self, now: SimTime, session: SessionId, op: &Op, reply: &Reply) {
        if matches!(op, Op::Ping | Op::SetWatches { .. }) {
            return;
        }
        self.asked = false;
        let state = std::mem::replace(&mut self.state, LockState::Look);
        self.state = match (state, &reply.result) {
            (LockState::Base, _) => LockState::Look,
            (LockState::Look, Ok(Body::Children { names, .. })) => {
                let prefix = Self::prefix(session);
                match names.iter().find(|name| name.starts_with(&prefix)) {
                    Some(name) => LockState::Queue {
                        mine: format!("{}/{name}", self.base).into(),
                    },
                    None => LockState::Enqueue,
                }
            }
            (LockState::Enqueue, Ok(Body::Created { path, .. })) => LockState::Queue {
                mine: path.as_str().into(),
            },
            (LockState::Queue { mine }, Ok(Body::Children { names, .. })) => {
                self.place(now, mine, names)
            }
            (LockState::Watch { mine, before }, Ok(_)) => LockState::Blocked { mine, before },
            (LockState::Watch { mine, .. }, Err(_)) => LockState::Queue { mine },
            (LockState::Release { .. }, _) => LockState::Enqueue,
            (state @ (LockState::Blocked { .. } | LockState::Held { .. }), _) => state,
            _ => LockState::Base,
        };
    }

    fn place(&self, now: SimTime, mine: Path, names: &[String]) -> LockState {
        let Some(my_number) = number(&mine) else {
            return LockState::Look;
        };
        if !names.iter().any(|name| mine.ends_with(name.as_str())) {
            return LockState::Look;
        }
        let before = names
            .iter()
            .filter(|n| number(n).is_some_and(|n| n < my_number));
        match before.max_by_key(|name| number(name)) {
            None => LockState::Held {
                mine,
                until: now.after(self.hold),
            },
            Some(name) => LockState::Watch {
                mine,
                before: format!("{}/{name}", self.base).into(),
            },
        }
    }

    pub fn told(&mut self, event: &WatchEvent) {
        if let LockState::Blocked { mine, before } = &self.state
            && **before == *event.path
        {
            self.state = LockState::Queue { mine: mine.clone() };
        }
    }

    /// The connection is gone: whatever was asked may have happened.
    pub fn interrupted(&mut self) {
        if self.asked
            || !matches!(
                self.state,
                LockState::Blocked { .. } | LockState::Held { .. }
            )
        {
            self.state = LockState::Base;
        }
        self.asked = false;
    }

    pub fn lost_session(&mut self) {
        self.state = LockState::Base;
        self.asked = false;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Candidate {
    Runs,
    /// Somebody is master, maybe this session already: look, and watch.
    Looks,
    StandsBy,
    Leads,
}

/// The election recipe.
#[derive(Clone, Debug)]
pub struct Election {
    me: ClientId,
    path: Path,
    state: Candidate,
    asked: bool,
}

impl Election {
    pub fn new(me: ClientId, path: Path) -> Self {
        Self {
            me,
            path,
            state: Candidate::Runs,
            asked: false,
        }
    }

    pub fn standing(&self) -> Standing {
        match self.state {
            Candidate::Leads => Standing::Holds,
            _ => Standing::Waits,
        }
    }

    /// The next request, if there is anything to ask.
    pub fn step(&mut self) -> Option<Op> {
        let op = match self.state {
            _ if self.asked => return None,
            Candidate::Runs => {
                let data = Bytes::from(self.me.to_string());
                create(self.path.clone(), Some(data), EPHEMERAL)
            }
            Candidate::Looks => Op::GetData {
                path: self.path.clone(),
                watch: true,
            },
            Candidate::StandsBy | Candidate::Leads => return None,
        };
        self.asked = true;
        Some(op)
    }

    pub fn heard(&mut self, session: SessionId, op: &Op, reply: &Reply) {
        if matches!(op, Op::Ping | Op::SetWatches { .. }) {
            return;
        }
        self.asked = false;
        self.state = match (self.state, &reply.result) {
            (Candidate::Runs, Ok(_)) => Candidate::Leads,
            (Candidate::Runs, Err(code)) if *code == ErrorCode::NodeExists.code() => {
                Candidate::Looks
            }
            (Candidate::Looks, Ok(Body::Data { stat, .. })) => {
                if stat.ephemeral_owner == session.0 {
                    Candidate::Leads
                } else {
                    Candidate::StandsBy
                }
            }
            _ => Candidate::Runs,
        };
    }

    pub fn told(&mut self, event: &WatchEvent) {
        if *event.path == *self.path {
            self.state = Candidate::Runs;
        }
    }

    /// The connection is gone; a master does not know whether it still is one.
    pub fn interrupted(&mut self) {
        if self.asked || self.state != Candidate::StandsBy {
            self.state = Candidate::Runs;
        }
        self.asked = false;
    }

    pub fn lost_session(&mut self) {
        self.state = Candidate::Runs;
        self.asked = false;
    }
}
