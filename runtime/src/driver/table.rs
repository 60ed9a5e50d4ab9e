//! Connections by id. An id is a slot and a serial number, so that a lookup is an index and no id
//! is ever used twice.

/// Bits of an id that are the slot: a million connections at a time.
const SLOT_BITS: u32 = 20;

/// Values under ids that are never reused.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    serial: u64,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            serial: 0,
        }
    }

    /// Keeps what `make` builds from its id; none when every slot is taken.
    pub(super) fn insert(&mut self, make: impl FnOnce(u64) -> T) -> Option<u64> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < 1 << SLOT_BITS => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        self.serial += 1;
        let id = self.serial << SLOT_BITS | u64::from(slot);
        let previous = self.slots[slot as usize].replace((id, make(id)));
        assert!(previous.is_none(), "a free slot is empty");
        Some(id)
    }

    pub(super) fn get(&self, id: u64) -> Option<&T> {
        let (taken, value) = self.slots.get(slot(id))?.as_ref()?;
        (*taken == id).then_some(value)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        self.get(id)?;
        let (_, value) = self.slots[slot(id)].take()?;
        self.free.push(slot(id) as u32);
        Some(value)
    }

    /// In the order of their slots.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }
}

fn slot(id: u64) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_not_reused() {
        let mut table = Table::new();
        let first = table.insert(|_| 'a').expect("room");
        let second = table.insert(|_| 'b').expect("room");
        assert_eq!(
            (table.get(first), table.get(second)),
            (Some(&'a'), Some(&'b'))
        );
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.remove(first), None);
        let third = table.insert(|_| 'c').expect("room");
        assert_ne!(third, first);
        assert_eq!(slot(third), slot(first));
        assert_eq!(table.get(first), None);
        assert_eq!(table.values().collect::<String>(), "cb");
    }
}
