//! What the clients of a load ask for: operations over a fixed set of znodes, drawn from a seed.
//!
//! The znodes stand in directories of [`PER_DIRECTORY`], so that no operation meets one huge list
//! of children unless it is asked to.

use std::fmt::Write as _;
use std::str::FromStr;

use vivarium_core::wire::client::{CreateOp, Request, RequestHeader, put_frame};
use vivarium_core::wire::records::Acl;

/// Znodes in one directory.
pub(super) const PER_DIRECTORY: u64 = 100;

/// Of ten requests of the operation `watches`, so many are writes, which fire the watches.
const FIRING_PERCENT: u64 = 10;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bench) enum Operation {
    Create,
    Set,
    Get,
    Exists,
    Children,
    /// A transaction of so many sets.
    Multi(u32),
    /// Gets, so many of a hundred, and sets.
    Mixed(u64),
    /// Gets that leave a watch, and sets that fire them.
    Watches,
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let ranged = |least: u64, most: u64| {
            let number = number.and_then(|text| text.parse().ok());
            let number = number.filter(|n| (least..=most).contains(n));
            number.ok_or_else(|| format!("{name}: needs a number from {least} to {most} behind it"))
        };
        Ok(match (name, number) {
            ("create", None) => Self::Create,
            ("set", None) => Self::Set,
            ("get", None) => Self::Get,
            ("exists", None) => Self::Exists,
            ("children", None) => Self::Children,
            ("watches", None) => Self::Watches,
            ("multi", _) => Self::Multi(ranged(1, 10_000)? as u32),
            ("mixed", _) => Self::Mixed(ranged(0, 100)?),
            _ => {
                return Err(format!(
                    "`{text}` is none of create, set, get, exists, children, multi:N, \
                     mixed:PERCENT, watches"
                ));
            }
        })
    }
}

/// Is a request answered by the server alone, or by a quorum?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Write,
}

/// The znodes of one run.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    /// Of this run alone.
    pub(super) root: String,
    pub(super) count: u64,
}

impl Nodes {
    pub(super) fn directories(&self) -> u64 {
        self.count.div_ceil(PER_DIRECTORY)
    }

    pub(super) fn put_directory(&self, number: u64, path: &mut String) {
        path.clear();
        write!(path, "{}/d{number:06}", self.root).expect("strings take everything");
    }

    pub(super) fn put_path(&self, number: u64, path: &mut String) {
        self.put_directory(number / PER_DIRECTORY, path);
        write!(path, "/k{number:09}").expect("strings take everything");
    }

    /// The node that a client makes as its `number`th.
    pub(super) fn put_created(&self, client: usize, number: u64, path: &mut String) {
        path.clear();
        write!(path, "{}/c{client}-{number}", self.root).expect("strings take everything");
    }
}

/// The requests of one client, one after the other.
#[derive(Debug)]
pub(super) struct Workload {
    operation: Operation,
    nodes: Nodes,
    client: usize,
    value: Vec<u8>,
    random: u64,
    created: u64,
    path: String,
}

impl Workload {
    pub(super) fn new(operation: Operation, nodes: &Nodes, client: usize, bytes: usize) -> Self {
        Self {
            operation,
            nodes: nodes.clone(),
            client,
            value: vec![b'v'; bytes],
            // Any odd number will do, as long as clients differ.
            random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * client as u64 + 1),
            created: 0,
            path: String::new(),
        }
    }

    /// Nodes that this client has asked to be created.
    pub(super) fn created(&self) -> u64 {
        self.created
    }

    /// xorshift64*: fast, and good enough to choose keys.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn choose(&mut self) {
        let number = self.below(self.nodes.count);
        let mut path = std::mem::take(&mut self.path);
        self.nodes.put_path(number, &mut path);
        self.path = path;
    }

    /// Appends the next request.
    pub(super) fn put(&mut self, xid: i32, out: &mut Vec<u8>) -> Kind {
        let operation = self.operation;
        match operation {
            Operation::Create => self.put_create(xid, out),
            Operation::Set => self.put_set(xid, out),
            Operation::Get => self.put_get(xid, false, out),
            Operation::Exists => {
                self.choose();
                let path = self.path.as_str().into();
                put(xid, &Request::Exists { path, watch: false }, out);
                Kind::Read
            }
            Operation::Children => {
                let number = self.below(self.nodes.directories());
                self.nodes.put_directory(number, &mut self.path);
                let path = self.path.as_str().into();
                put(xid, &Request::GetChildren { path, watch: false }, out);
                Kind::Read
            }
            Operation::Multi(count) => self.put_multi(count, xid, out),
            Operation::Mixed(percent) if self.below(100) < percent => self.put_get(xid, false, out),
            Operation::Watches if self.below(100) >= FIRING_PERCENT => self.put_get(xid, true, out),
            Operation::Mixed(_) | Operation::Watches => self.put_set(xid, out),
        }
    }

    fn put_get(&mut self, xid: i32, watch: bool, out: &mut Vec<u8>) -> Kind {
        self.choose();
        let path = self.path.as_str().into();
        put(xid, &Request::GetData { path, watch }, out);
        Kind::Read
    }

    fn put_set(&mut self, xid: i32, out: &mut Vec<u8>) -> Kind {
        self.choose();
        put(xid, &set(&self.path, &self.value), out);
        Kind::Write
    }

    fn put_create(&mut self, xid: i32, out: &mut Vec<u8>) -> Kind {
        let (client, number) = (self.client, self.created);
        self.nodes.put_created(client, number, &mut self.path);
        self.created += 1;
        put(xid, &create(&self.path, &self.value), out);
        Kind::Write
    }

    fn put_multi(&mut self, count: u32, xid: i32, out: &mut Vec<u8>) -> Kind {
        let paths: Vec<String> = (0..count)
            .map(|_| {
                self.choose();
                self.path.clone()
            })
            .collect();
        let sets = paths.iter().map(|path| set(path, &self.value)).collect();
        put(xid, &Request::Multi(sets), out);
        Kind::Write
    }
}

fn set<'a>(path: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::SetData {
        path: path.into(),
        data: Some(value),
        version: -1,
    }
}

pub(super) fn create<'a>(path: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: Some(value),
        acl: Some(vec![Acl::world(31)]),
        flags: 0,
    }
}

/// Appends a request as a client sends it.
pub(super) fn put(xid: i32, request: &Request<'_>, out: &mut Vec<u8>) {
    put_frame(out, |out| {
        let op = request.op();
        RequestHeader { xid, op }.write(out);
        request.encode(out);
    });
}

#[cfg(test)]
mod tests {
    use vivarium_core::wire::jute::Reader;
    use vivarium_core::wire::records::op;

    use super::*;

    #[test]
    fn operations_are_read_or_refused_by_name() {
        let read = |text: &str| text.parse::<Operation>();
        assert_eq!(read("set"), Ok(Operation::Set));
        assert_eq!(read("multi:20"), Ok(Operation::Multi(20)));
        assert_eq!(read("mixed:90"), Ok(Operation::Mixed(90)));
        for wrong in ["mixed", "mixed:101", "multi:0", "multi:x", "set:1", "put"] {
            let why = read(wrong).expect_err(wrong);
            assert!(why.contains(wrong.split(':').next().unwrap()), "{why}");
        }
    }

    #[test]
    fn a_mix_has_the_share_of_reads_that_was_asked_for() {
        let nodes = Nodes {
            root: "/r".into(),
            count: 1_000,
        };
        let mut workload = Workload::new(Operation::Mixed(90), &nodes, 3, 10);
        let (mut reads, mut seen) = (0, std::collections::BTreeSet::new());
        for xid in 1..=10_000 {
            let mut out = Vec::new();
            let kind = workload.put(xid, &mut out);
            let mut r = Reader::new(&out[4..]);
            let header = RequestHeader::read(&mut r).unwrap();
            assert_eq!(header.xid, xid);
            assert_eq!(kind == Kind::Read, header.op == op::GET_DATA);
            reads += u32::from(kind == Kind::Read);
            let Ok(Request::GetData { path, .. } | Request::SetData { path, .. }) =
                Request::decode(header.op, r.rest())
            else {
                panic!("neither get nor set");
            };
            seen.insert(path.into_owned());
        }
        assert!((8_800..9_200).contains(&reads), "{reads}");
        assert!(seen.len() > 990, "every node has its turn: {}", seen.len());
    }
}
