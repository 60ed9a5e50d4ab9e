//! Random programs of ZooKeeper clients: lists of steps over several sessions. Every program is
//! drawn from one number, runs below a node of its own, and can be told step by step.
//!
//! What is here names no server: the same program runs against any, and what it saw is text that
//! two servers with the same behaviour agree on (`view`).

pub mod connection;
pub mod draw;
pub mod minimise;
pub mod pair;
pub mod run;
pub mod text;
pub mod transcript;
pub mod view;

/// Places for a session and a connection, in each program.
pub const SLOTS: usize = 3;

/// A list of steps, each about one slot.
#[derive(Clone, Debug)]
pub struct Program {
    pub seed: u64,
    pub steps: Vec<Step>,
}

/// What happens in one step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new connection with a new session in this slot. The one that it had is dropped.
    Open {
        slot: usize,
        server: usize,
        hello: Hello,
    },
    /// A new connection with the session of slot `of`. Both connections may be alive.
    Resume {
        slot: usize,
        of: usize,
        server: usize,
        hello: Hello,
        password: Password,
    },
    /// The connection breaks, the session stays.
    Drop { slot: usize },
    /// Requests in one packet; then their replies are read.
    Ask { slot: usize, requests: Vec<Request> },
    /// Bytes as they are, and how many replies they must get before anything else is sent.
    Raw {
        slot: usize,
        bytes: Vec<u8>,
        replies: usize,
    },
}

/// What a ConnectRequest says besides the session.
#[derive(Clone, Debug)]
pub struct Hello {
    pub timeout_ms: i32,
    /// The last byte, if it is sent.
    pub read_only: Option<u8>,
    pub seen: Seen,
    /// Of a request for a new session.
    pub password: Option<Vec<u8>>,
}

/// A zxid that a client claims to have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    Nothing,
    /// The newest that this slot was shown.
    Newest,
    /// What the program's first step came after.
    Base,
    /// Far beyond what any server has.
    Ahead,
}

/// How a session is proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Password {
    Right,
    Wrong,
    Short,
    Null,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub xid: i32,
    pub op: i32,
    pub body: Body,
    pub twist: Option<Twist>,
}

/// A request's record.
#[derive(Clone, Debug)]
pub enum Body {
    Fields(Vec<Field>),
    /// The parts of a multi: type and record of each.
    Parts(Vec<(i32, Vec<Field>)>),
}

/// One field of a record. Paths are put below the program's own node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    Byte(u8),
    Int(i32),
    Long(i64),
    Buffer(Option<Vec<u8>>),
    /// Below the program's node; empty: that node.
    Below(String),
    /// Below the quota of the program's node.
    Quota(String),
    /// A path as it is.
    Plain(String),
    Seen(Seen),
}

/// What is done to a record that would be well-formed.
#[derive(Clone, Copy, Debug)]
pub enum Twist {
    /// Only so many per mille of its bytes are sent.
    Cut(u16),
    /// Bytes follow it.
    Trailing(u8),
    /// Four bytes, at so many per mille of its length, become this number.
    Patch(u16, i32),
}

impl Step {
    pub fn slot(&self) -> usize {
        match self {
            Self::Open { slot, .. }
            | Self::Resume { slot, .. }
            | Self::Drop { slot }
            | Self::Ask { slot, .. }
            | Self::Raw { slot, .. } => *slot,
        }
    }
}

impl Program {
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let requests = self.steps.iter().flat_map(|step| match step {
            Step::Ask { requests, .. } => &requests[..],
            _ => &[],
        });
        requests.flat_map(|request| match &request.body {
            Body::Fields(fields) => Vec::from_iter(fields),
            Body::Parts(parts) => parts.iter().flat_map(|(_, fields)| fields).collect(),
        })
    }

    /// Does it need a node below `/zookeeper/quota`?
    pub fn has_quota(&self) -> bool {
        self.fields().any(|field| matches!(field, Field::Quota(_)))
    }

    /// Operations that it asks for.
    pub fn requests(&self) -> usize {
        let count = |step: &Step| match step {
            Step::Ask { requests, .. } => requests.len(),
            _ => 1,
        };
        self.steps.iter().map(count).sum()
    }
}
