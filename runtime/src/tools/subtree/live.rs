//! Reads a subtree of a running server so that it is that of one transaction, while others write.
//!
//! A recursive watch is set before the first read. So after any number of reads it is known which
//! znodes may have changed since they were read: those of which an event came. They are read again
//! by one multiRead, which the server answers from one state; if no event of another znode came
//! before its answer, then all that was read is the state at the answer's zxid. (An event comes
//! before any answer that shows the change.) Changes of access lists fire no watch: each list is
//! that of some moment while the subtree was read.
//!
//! Servers before 3.6 know neither. There the reading is consistent if no znode in it was changed
//! after the transaction at which it began.

use std::collections::{BTreeMap, BTreeSet};

use vivarium_core::ids::Zxid;
use vivarium_core::wire::client::{MultiResult, Reply, Request, event, watch_mode};
use vivarium_core::wire::records::{Acl, ErrorCode, Stat};

use super::super::ToolError;
use super::super::client::{Answer, Auth, Client, refusal};
use super::super::progress::Progress;
use super::is_system;

/// Znodes that are asked for at once, three requests each.
const WINDOW: usize = 64;

/// Znodes in one multiRead.
const TOGETHER_MAX: usize = 256;

/// Attempts to find a moment of rest.
const ROUNDS_MAX: u32 = 200;

/// A znode as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) data: Option<Vec<u8>>,
    pub(super) acl: Vec<Acl>,
    pub(super) stat: Stat,
}

/// A subtree as it was read.
#[derive(Debug)]
pub(super) struct Subtree {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) from: Zxid,
    pub(super) to: Zxid,
    pub(super) consistent: bool,
}

struct Reading {
    client: Client,
    top: String,
    nodes: BTreeMap<String, Node>,
    /// Read what they were, and may have changed since.
    dirty: BTreeSet<String>,
    last: Zxid,
}

/// Reads everything from `top` on.
pub(super) fn read(server: &str, auth: &[Auth], top: &str) -> Result<Subtree, ToolError> {
    let mut client = Client::connect(server, auth)?;
    let watch = Request::AddWatch {
        path: top.into(),
        mode: watch_mode::PERSISTENT_RECURSIVE,
    };
    let watching = client.call(&watch).is_ok_and(|answer| answer.error == 0);
    if !watching {
        // Old servers close the connection on what they do not know.
        client = Client::connect(server, auth)?;
    }
    let synced = client.call(&Request::Sync { path: top.into() })?;
    if synced.error != 0 {
        return Err(refusal(top, "read", synced.error));
    }
    let mut reading = Reading {
        client,
        top: top.to_owned(),
        nodes: BTreeMap::new(),
        dirty: BTreeSet::new(),
        last: synced.zxid,
    };
    reading.read_all(BTreeSet::from([top.to_owned()]))?;
    let consistent = if watching {
        reading.settle()?
    } else {
        let unchanged = |node: &Node| node.stat.mzxid.max(node.stat.pzxid) <= synced.zxid.0;
        reading.nodes.values().all(unchanged)
    };
    if !reading.nodes.contains_key(top) {
        return Err(refusal(top, "read", ErrorCode::NoNode.code()));
    }
    Ok(Subtree {
        nodes: reading.nodes,
        from: synced.zxid,
        to: if watching || !consistent {
            reading.last
        } else {
            synced.zxid
        },
        consistent,
    })
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

fn child(path: &str, name: &str) -> String {
    format!("{}/{name}", path.trim_end_matches('/'))
}

impl Reading {
    fn is_inside(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.top.trim_end_matches('/'));
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below && !(self.top == "/" && is_system(path))
    }

    fn answer(&mut self) -> Result<Answer, ToolError> {
        let answer = self.client.answer()?;
        self.last = self.last.max(answer.zxid);
        for (kind, path) in std::mem::take(&mut self.client.events) {
            if kind != event::NODE_DATA_CHANGED && self.is_inside(parent(&path)) {
                self.dirty.insert(parent(&path).to_owned());
            }
            if self.is_inside(&path) {
                self.dirty.insert(path);
            }
        }
        Ok(answer)
    }

    /// Reads these and what is found below them for the first time.
    fn read_all(&mut self, mut open: BTreeSet<String>) -> Result<(), ToolError> {
        let mut progress = Progress::count("znodes read");
        while !open.is_empty() {
            let mut batch = Vec::new();
            while let Some(path) = open.pop_first() {
                batch.push(path);
                if batch.len() == WINDOW {
                    break;
                }
            }
            for path in batch.iter().map(String::as_str) {
                let watch = false;
                self.client.ask(&Request::GetAcl { path: path.into() });
                self.client.ask(&Request::GetData {
                    path: path.into(),
                    watch,
                });
                self.client.ask(&Request::GetChildren {
                    path: path.into(),
                    watch,
                });
            }
            for path in &batch {
                let answers = [self.answer()?, self.answer()?, self.answer()?];
                self.take(path, &answers, &mut open)?;
                progress.more(1);
            }
        }
        Ok(())
    }

    /// Access list, data and children of one znode.
    fn take(
        &mut self,
        path: &str,
        answers: &[Answer; 3],
        open: &mut BTreeSet<String>,
    ) -> Result<(), ToolError> {
        for answer in answers {
            if answer.is(ErrorCode::NoNode) {
                self.remove(path);
                return Ok(());
            }
            if answer.error != 0 {
                return Err(refusal(path, "read", answer.error));
            }
        }
        let [acl, data, children] = answers;
        let (Reply::Acl { acl, .. }, Reply::Data { data, stat }, Reply::Children(names)) =
            (acl.reply()?, data.reply()?, children.reply()?)
        else {
            unreachable!("an answer is decoded by its request");
        };
        let data = data.map(<[u8]>::to_vec);
        self.nodes.insert(path.to_owned(), Node { data, acl, stat });
        for name in names {
            let path = child(path, &name);
            if self.is_inside(&path) && !self.nodes.contains_key(&path) {
                open.insert(path);
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{}/", path.trim_end_matches('/'));
        self.nodes
            .retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// Reads again what has changed until all is of one moment. False if there is none.
    fn settle(&mut self) -> Result<bool, ToolError> {
        for _ in 0..ROUNDS_MAX {
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.len() > TOGETHER_MAX {
                self.read_all(dirty)?;
                continue;
            }
            if self.read_together(&dirty)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One multiRead. True if with its answer everything is of one moment.
    fn read_together(&mut self, dirty: &BTreeSet<String>) -> Result<bool, ToolError> {
        let mut wanted: Vec<&str> = dirty.iter().map(String::as_str).collect();
        if wanted.is_empty() {
            wanted.push(&self.top);
        }
        let parts = wanted.iter().flat_map(|path| {
            let (path, watch) = (*path, false);
            let data = Request::GetData {
                path: path.into(),
                watch,
            };
            let children = Request::GetChildren {
                path: path.into(),
                watch,
            };
            [data, children]
        });
        let request = Request::MultiRead(parts.collect());
        self.client.ask(&request);
        for path in &wanted {
            self.client.ask(&Request::GetAcl {
                path: (*path).into(),
            });
        }
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let together = self.answer()?;
        let at = self.last;
        let moved = self.dirty.iter().any(|path| !wanted.contains(path));
        let mut lists = Vec::new();
        for _ in &wanted {
            lists.push(self.answer()?);
        }
        if together.error != 0 && !together.has_body() {
            return Err(refusal(&self.top, "read", together.error));
        }
        let Reply::Multi(results) = together.reply()? else {
            unreachable!("an answer is decoded by its request");
        };
        let complete = self.apply(&wanted, &results, &lists)?;
        if complete && !moved {
            self.last = at;
        }
        Ok(complete && !moved)
    }

    /// Takes what one multiRead and the requests for access lists behind it gave. False if some
    /// znode is not known in full.
    fn apply(
        &mut self,
        wanted: &[String],
        results: &[MultiResult<'_>],
        lists: &[Answer],
    ) -> Result<bool, ToolError> {
        let mut complete = true;
        for ((path, pair), list) in wanted.iter().zip(results.chunks(2)).zip(lists) {
            let (data, stat, names) = match pair {
                [
                    MultiResult::Data { data, stat },
                    MultiResult::Children(names),
                ] => (data, stat, names),
                [MultiResult::Error(code), _] | [_, MultiResult::Error(code)] => {
                    if *code != ErrorCode::NoNode.code() {
                        return Err(refusal(path, "read", *code));
                    }
                    self.remove(path);
                    continue;
                }
                _ => return Err(refusal(path, "read", ErrorCode::MarshallingError.code())),
            };
            let acl = match list.error {
                0 => match list.reply()? {
                    Reply::Acl { acl, .. } => acl,
                    _ => unreachable!("an answer is decoded by its request"),
                },
                // It has gone since: its list may be known from before.
                _ => match self.nodes.get(path) {
                    Some(known) => known.acl.clone(),
                    None => {
                        complete = false;
                        self.dirty.insert(path.clone());
                        continue;
                    }
                },
            };
            let data = data.map(<[u8]>::to_vec);
            self.nodes.insert(
                path.clone(),
                Node {
                    data,
                    acl,
                    stat: *stat,
                },
            );
            for name in names {
                let path = child(path, name);
                let known = self.nodes.contains_key(&path) || wanted.contains(&path);
                if !known && self.is_inside(&path) {
                    complete = false;
                    self.dirty.insert(path);
                }
            }
        }
        Ok(complete)
    }
}
