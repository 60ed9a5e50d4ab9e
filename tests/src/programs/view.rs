//! What a program is shown, as text that two servers with the same behaviour agree on.
//!
//! Numbers of transactions are told as their distance from the program's first one. Two servers
//! that got the same requests agree on it exactly, but for transactions that only one of them makes
//! and that change nothing: those are not counted.
//!
//! Taken out is only what ZooKeeper leaves open: times (but that they belong to their zxids),
//! session ids (told by their order), and the order of children, of ephemeral nodes, of
//! identities, and of access list entries that stand for several identities.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::text;
use crate::ask::op;

/// Reads fields as far as there are any.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn buffer(&mut self) -> Option<Option<&'a [u8]>> {
        match self.int()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }
}

/// What one program has learnt about its server, to tell its numbers apart from others'.
pub struct View {
    /// The program's node.
    node: String,
    base: i64,
    /// Transactions that change nothing and that only one make of server has.
    void: BTreeSet<i64>,
    /// The newest zxid that was shown to anybody.
    newest: i64,
    sessions: Vec<i64>,
    times: BTreeMap<i64, i64>,
}

impl View {
    /// `base` is the zxid of the program's `node`.
    pub fn new(node: &str, base: i64) -> Self {
        Self {
            node: node.into(),
            base,
            void: BTreeSet::new(),
            newest: base,
            sessions: Vec::new(),
            times: BTreeMap::new(),
        }
    }

    /// A session of the program's own.
    pub fn note_session(&mut self, id: i64) {
        if !self.sessions.contains(&id) {
            self.sessions.push(id);
        }
    }

    pub fn session(&self, id: i64) -> String {
        match self.sessions.iter().position(|own| *own == id) {
            Some(index) => format!("session-{index}"),
            None if id == 0 => "none".into(),
            None => "foreign".into(),
        }
    }

    fn zxid(&self, zxid: i64) -> String {
        if zxid <= 0 {
            return zxid.to_string();
        }
        if zxid < self.base {
            return "old".into();
        }
        let void = self.void.range(..=zxid).count() as i64;
        format!("+{}", zxid - self.base - void)
    }

    fn text(&self, bytes: Option<&[u8]>) -> String {
        let Some(bytes) = bytes else {
            return "null".into();
        };
        let text = text::bytes(bytes).replace(&self.node, "~");
        if !text.contains(":participant") {
            return text;
        }
        // A list of servers: every side has ports of its own.
        let is_port = |part: &&str| part.len() > 3 && part.bytes().all(|b| b.is_ascii_digit());
        let parts = text
            .split(':')
            .map(|part| if is_port(&part) { "port" } else { part });
        Vec::from_iter(parts).join(":")
    }

    /// A frame after the handshake, which answers `asked`: xid and operation, the first of those
    /// that fits. `None` is an event.
    pub fn frame(&mut self, frame: &[u8], op: Option<i32>) -> String {
        let mut fields = Cursor(frame);
        let told = self.header_and_body(&mut fields, op);
        let mut line = told.unwrap_or_else(|| format!("ends early: {frame:02x?}"));
        if !fields.0.is_empty() {
            let _ = write!(line, " rest {:02x?}", fields.0);
        }
        line
    }

    fn header_and_body(&mut self, fields: &mut Cursor<'_>, op: Option<i32>) -> Option<String> {
        let (xid, zxid, error) = (fields.int()?, fields.long()?, fields.int()?);
        let is_new = zxid > self.newest;
        // A write that can not be decoded has a zxid in Vivarium, and a reconfig while that is
        // disabled has one in ZooKeeper. Nobody can see anything of either but the gap.
        let undecodable = error == -5 && op.is_some_and(is_write);
        let disabled = error == -123 && op == Some(op::RECONFIG);
        if is_new && (undecodable || disabled) {
            self.void.insert(zxid);
        }
        self.newest = self.newest.max(zxid);
        let Some(op) = op else {
            let (kind, state) = (fields.int()?, fields.int()?);
            let path = self.text(fields.buffer()?);
            let zxid = self.zxid(zxid);
            return Some(format!("event {kind} state {state} {path} {zxid}"));
        };
        let name = text::name(op);
        let mut line = format!("{name} (xid {xid}): {error} at {}", self.zxid(zxid));
        // ZooKeeper leaves behind the header what it had found until it refused the whole.
        if op == op::MULTI_READ && error == -5 {
            fields.0 = &[];
        }
        if error == 0 || !fields.0.is_empty() {
            match op {
                op::MULTI | op::MULTI_READ => self.results(fields, &mut line)?,
                op => self.body(op, fields, &mut line)?,
            }
        }
        Some(line)
    }

    fn body(&mut self, op: i32, fields: &mut Cursor<'_>, line: &mut String) -> Option<()> {
        match op {
            op::CREATE | op::SYNC => drop(write!(line, " {}", self.text(fields.buffer()?))),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                let _ = write!(line, " {}", self.text(fields.buffer()?));
                self.stat(fields, line)?;
            }
            op::EXISTS | op::SET_DATA | op::SET_ACL => self.stat(fields, line)?,
            op::GET_DATA => {
                let _ = write!(line, " {}", self.text(fields.buffer()?));
                self.stat(fields, line)?;
            }
            op::GET_ACL => {
                let mut entries = Vec::new();
                for _ in 0..fields.int()? {
                    let perms = fields.int()?;
                    let scheme = self.text(fields.buffer()?);
                    let id = self.text(fields.buffer()?);
                    entries.push(format!("{perms} {scheme} {id}"));
                }
                // Several identities of one `auth` entry come in the order of a hash set.
                entries.sort();
                let _ = write!(line, " {entries:?}");
                self.stat(fields, line)?;
            }
            op::GET_CHILDREN | op::GET_EPHEMERALS => self.names(fields, line)?,
            op::GET_CHILDREN2 => {
                self.names(fields, line)?;
                self.stat(fields, line)?;
            }
            op::GET_ALL_CHILDREN_NUMBER | op::ADD_WATCH => {
                let _ = write!(line, " {}", fields.int()?);
            }
            op::SASL => drop(write!(line, " {}", self.text(fields.buffer()?))),
            op::WHO_AM_I => {
                let mut all = Vec::new();
                for _ in 0..fields.int()? {
                    let scheme = self.text(fields.buffer()?);
                    all.push(format!("{scheme} {}", self.text(fields.buffer()?)));
                }
                all.sort();
                let _ = write!(line, " {all:?}");
            }
            _ => {}
        }
        Some(())
    }

    fn names(&self, fields: &mut Cursor<'_>, line: &mut String) -> Option<()> {
        let mut names = Vec::new();
        for _ in 0..fields.int()? {
            names.push(self.text(fields.buffer()?));
        }
        names.sort();
        let _ = write!(line, " [{}]", names.join(" "));
        Some(())
    }

    fn results(&mut self, fields: &mut Cursor<'_>, line: &mut String) -> Option<()> {
        loop {
            let (op, done, error) = (fields.int()?, fields.byte()?, fields.int()?);
            let _ = write!(line, " [{op} {done} {error}");
            if done == 0 && op == -1 {
                let _ = write!(line, " {}", fields.int()?);
            } else if done == 0 {
                self.body(op, fields, line)?;
            }
            line.push(']');
            if done != 0 {
                return Some(());
            }
        }
    }

    fn stat(&mut self, fields: &mut Cursor<'_>, line: &mut String) -> Option<()> {
        let (czxid, mzxid) = (fields.long()?, fields.long()?);
        let (ctime, mtime) = (fields.long()?, fields.long()?);
        let (version, cversion, aversion) = (fields.int()?, fields.int()?, fields.int()?);
        let owner = fields.long()?;
        let (length, children, pzxid) = (fields.int()?, fields.int()?, fields.long()?);
        let _ = write!(
            line,
            " c{} m{} p{} v{version},{cversion},{aversion} {length}b {children}n",
            self.zxid(czxid),
            self.zxid(mzxid),
            self.zxid(pzxid),
        );
        if owner != 0 {
            let _ = write!(line, " {}", self.session(owner));
        }
        // What a server makes when it starts has no zxid, and a time of its own.
        let real = [(czxid, ctime), (mzxid, mtime)].into_iter();
        for (zxid, time) in real.filter(|(zxid, _)| *zxid > 0) {
            let known = *self.times.entry(zxid).or_insert(time);
            if known != time {
                let _ = write!(line, " TWO TIMES OF ONE TRANSACTION");
            }
        }
        Some(())
    }

    /// The newest zxid that was shown to anybody.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    pub fn base(&self) -> i64 {
        self.base
    }
}

fn is_write(op: i32) -> bool {
    matches!(
        op,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::SET_DATA
            | op::SET_ACL
            | op::MULTI
            | op::RECONFIG
    )
}
