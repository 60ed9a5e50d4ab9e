//! Where znodes live: chunks that never move, so that growing is no pause and wastes no memory.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::acls::AclId;
use super::children::Children;
use super::digest::Prefix;
use super::stat::StoredStat;

/// A znode's place; used again after the znode is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// The root is the first to come and never goes.
    pub(crate) const ROOT: Self = Self(0);
}

/// Nodes per chunk.
const CHUNK: usize = 256;

/// Bit of `name_meta`: the data is null.
const NULL_DATA: u32 = 1 << 31;
/// Bit of `name_meta`: the digest does not count this node.
const UNCOUNTED: u32 = 1 << 30;
const NAME_LENGTH: u32 = UNCOUNTED - 1;

/// One znode, 112 bytes. Name and data share one allocation: most of both are short.
#[derive(Clone, Debug)]
pub(crate) struct Znode {
    pub(crate) stat: StoredStat,
    payload: Arc<[u8]>,
    /// Length of the name (last path component) in the payload, and two flags.
    name_meta: u32,
    pub(super) parent: NodeId,
    pub(crate) acl: AclId,
    /// Of the whole path.
    pub(super) hash: u32,
    /// Number of the newest walk at the time of creation.
    pub(super) born: u32,
    prefix_crc: u32,
    pub(super) children: Option<alloc::boxed::Box<Children>>,
}

const _: () = assert!(size_of::<Option<Znode>>() <= 112);

/// Shared bytes of a znode's data.
#[derive(Clone, Debug)]
pub struct SharedData {
    payload: Arc<[u8]>,
    start: u32,
}

impl AsRef<[u8]> for SharedData {
    fn as_ref(&self) -> &[u8] {
        &self.payload[self.start as usize..]
    }
}

impl core::ops::Deref for SharedData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

/// Name and data in one allocation, and what is known about them.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    bytes: Arc<[u8]>,
    name_meta: u32,
    prefix_crc: u32,
}

impl Payload {
    /// `scratch` is a buffer to reuse.
    pub(super) fn new(path: &str, name: &str, data: Option<&[u8]>, scratch: &mut Vec<u8>) -> Self {
        let name_length = u32::try_from(name.len()).expect("a name fits a record");
        assert!(name_length <= NAME_LENGTH, "a name fits a record");
        let prefix = Prefix::new(path, data);
        let mut name_meta = name_length;
        if data.is_none() {
            name_meta |= NULL_DATA;
        }
        if !prefix.counted {
            name_meta |= UNCOUNTED;
        }
        scratch.clear();
        scratch.extend_from_slice(name.as_bytes());
        scratch.extend_from_slice(data.unwrap_or_default());
        Self {
            bytes: Arc::from(&scratch[..]),
            name_meta,
            prefix_crc: prefix.crc,
        }
    }
}

impl Znode {
    pub(super) fn new(payload: Payload, parent: NodeId, acl: AclId, stat: StoredStat) -> Self {
        Self {
            stat,
            payload: payload.bytes,
            name_meta: payload.name_meta,
            parent,
            acl,
            hash: 0,
            born: 0,
            prefix_crc: payload.prefix_crc,
            children: None,
        }
    }

    pub(super) fn set_payload(&mut self, payload: Payload) {
        self.payload = payload.bytes;
        self.name_meta = payload.name_meta;
        self.prefix_crc = payload.prefix_crc;
    }

    fn name_length(&self) -> usize {
        (self.name_meta & NAME_LENGTH) as usize
    }

    /// Last component of the path; the root's is empty.
    pub(super) fn name(&self) -> &[u8] {
        &self.payload[..self.name_length()]
    }

    pub(super) fn name_str(&self) -> &str {
        core::str::from_utf8(self.name()).expect("names are made from str")
    }

    pub(super) fn data(&self) -> Option<&[u8]> {
        (self.name_meta & NULL_DATA == 0).then(|| &self.payload[self.name_length()..])
    }

    pub(super) fn shared_data(&self) -> Option<SharedData> {
        (self.name_meta & NULL_DATA == 0).then(|| SharedData {
            payload: self.payload.clone(),
            start: self.name_meta & NAME_LENGTH,
        })
    }

    pub(super) fn data_length(&self) -> usize {
        self.payload.len() - self.name_length()
    }

    pub(super) fn child_count(&self) -> usize {
        self.children.as_ref().map_or(0, |children| children.len())
    }

    pub(super) fn prefix(&self) -> Prefix {
        Prefix {
            crc: self.prefix_crc,
            counted: self.name_meta & UNCOUNTED == 0,
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.prefix().with(&self.stat)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Option<Znode>>>,
    vacant: Vec<NodeId>,
    len: usize,
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, node: Znode) -> NodeId {
        self.len += 1;
        if let Some(id) = self.vacant.pop() {
            let place = self.place(id);
            assert!(place.is_none(), "a vacant place is vacant");
            *place = Some(node);
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("just pushed");
        chunk.push(Some(node));
        let id = u32::try_from(before + chunk.len() - 1).expect("memory ends before 2^32 znodes");
        NodeId(id)
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Znode {
        assert_ne!(id, NodeId::ROOT, "the root stays");
        let node = self.place(id).take().expect("a node in use");
        self.vacant.push(id);
        self.len -= 1;
        node
    }

    fn place(&mut self, id: NodeId) -> &mut Option<Znode> {
        let at = id.0 as usize;
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    pub(super) fn get(&self, id: NodeId) -> &Znode {
        let at = id.0 as usize;
        self.chunks[at / CHUNK][at % CHUNK]
            .as_ref()
            .expect("a node in use")
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut Znode {
        self.place(id).as_mut().expect("a node in use")
    }
}
