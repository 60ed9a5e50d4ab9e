//! The table of ACLs in use: each distinct list once, counted, known by a small number.
//!
//! The numbers are this server's own (ZooKeeper's `ReferenceCountedACLCache`); they reach
//! snapshots, which carry the table, and nobody else. `world:anyone` with all permissions is in no
//! table.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::wire::jute::Write;
use crate::wire::records::{Acl, perms};

/// A list shared by the nodes that carry it.
pub type AclList = Arc<[Acl]>;

/// Place in the table, or [`AclId::OPEN`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct AclId(u32);

impl AclId {
    /// `world:anyone` with all permissions.
    const OPEN: Self = Self(u32::MAX);

    /// The number that snapshots know it by.
    pub(crate) fn stored(self) -> i64 {
        if self == Self::OPEN {
            -1
        } else {
            i64::from(self.0) + 1
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    list: AclList,
    /// Nodes that carry it.
    uses: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct AclTable {
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    ids: BTreeMap<AclList, u32>,
    open: AclList,
}

impl AclTable {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            vacant: Vec::new(),
            ids: BTreeMap::new(),
            open: Arc::from([Acl::world(perms::ALL)]),
        }
    }

    /// One more use of this list.
    pub(crate) fn retain(&mut self, list: &[Acl]) -> AclId {
        if *list == *self.open {
            return AclId::OPEN;
        }
        if let Some(&at) = self.ids.get(list) {
            let entry = self.entries[at as usize]
                .as_mut()
                .expect("a listed entry is in use");
            entry.uses += 1;
            return AclId(at);
        }
        let list: AclList = Arc::from(list);
        let entry = Some(Entry {
            list: list.clone(),
            uses: 1,
        });
        let at = if let Some(at) = self.vacant.pop() {
            self.entries[at as usize] = entry;
            at
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).expect("fewer lists than nodes")
        };
        assert_ne!(at, AclId::OPEN.0);
        self.ids.insert(list, at);
        AclId(at)
    }

    /// One more use of a list that is in the table.
    pub(crate) fn retain_id(&mut self, id: AclId) {
        if id != AclId::OPEN {
            let entry = self.entries[id.0 as usize]
                .as_mut()
                .expect("an id in use is listed");
            entry.uses += 1;
        }
    }

    /// One use less; the last one removes the list.
    pub(crate) fn release(&mut self, id: AclId) {
        if id == AclId::OPEN {
            return;
        }
        let place = &mut self.entries[id.0 as usize];
        let entry = place.as_mut().expect("an id in use is listed");
        assert!(entry.uses > 0);
        entry.uses -= 1;
        if entry.uses == 0 {
            self.ids.remove(&entry.list);
            *place = None;
            self.vacant.push(id.0);
        }
    }

    pub(crate) fn get(&self, id: AclId) -> &AclList {
        if id == AclId::OPEN {
            return &self.open;
        }
        &self.entries[id.0 as usize]
            .as_ref()
            .expect("an id in use is listed")
            .list
    }

    /// Appends the table as snapshots carry it: count, then id and list of each.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_count(self.ids.len());
        for (at, entry) in (0..).zip(&self.entries) {
            if let Some(entry) = entry {
                out.put_i64(AclId(at).stored());
                Acl::write_list(&entry.list, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_share_a_place_until_the_last_use() {
        let mut table = AclTable::new();
        let read = [Acl::world(perms::READ)];
        let a = table.retain(&read);
        let b = table.retain(&read);
        assert_eq!((a, a.stored()), (b, 1));
        table.release(a);
        assert_eq!(**table.get(b), read);
        table.release(b);
        let other = table.retain(&[Acl::world(perms::WRITE)]);
        assert_eq!(other.stored(), 1, "the place is free again");
    }

    #[test]
    fn the_open_list_is_in_no_table() {
        let mut table = AclTable::new();
        let open = table.retain(&[Acl::world(perms::ALL)]);
        assert_eq!(open.stored(), -1);
        table.release(open);
        assert_eq!(**table.get(open), [Acl::world(perms::ALL)]);
        let mut out = Vec::new();
        table.encode(&mut out);
        assert_eq!(out, [0, 0, 0, 0]);
    }
}
