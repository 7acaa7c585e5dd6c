//! Values under keys that are never used twice: a slot number with the count of its tenants.
//!
//! Access is one index, iteration is in slot order and so the same in every run.

/// See the module.
#[derive(Debug)]
pub(super) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    tenant: u32,
    value: Option<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Arena<T> {
    /// Stores a value and answers its key.
    pub fn insert(&mut self, value: T) -> u64 {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return key(index, slot.tenant);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots");
        self.slots.push(Slot { tenant: 0, value: Some(value) });
        key(index, 0)
    }

    /// The value of a key that is still in use.
    pub fn get(&self, key: u64) -> Option<&T> {
        let (index, tenant) = split(key);
        self.slots.get(index).filter(|slot| slot.tenant == tenant)?.value.as_ref()
    }

    /// The value of a key that is still in use.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (index, tenant) = split(key);
        self.slots.get_mut(index).filter(|slot| slot.tenant == tenant)?.value.as_mut()
    }

    /// Takes a value out; its key will never answer again.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let (index, tenant) = split(key);
        let slot = self.slots.get_mut(index).filter(|slot| slot.tenant == tenant)?;
        let value = slot.value.take()?;
        slot.tenant = slot.tenant.wrapping_add(1);
        self.free.push(u32::try_from(index).expect("made from a u32"));
        self.len -= 1;
        Some(value)
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All values in slot order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// All keys in slot order.
    pub fn keys(&self) -> Vec<u64> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        used.map(|(index, slot)| key(u32::try_from(index).expect("made from a u32"), slot.tenant)).collect()
    }
}

fn key(index: u32, tenant: u32) -> u64 {
    u64::from(tenant) << 32 | u64::from(index)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of the key")]
fn split(key: u64) -> (usize, u32) {
    (key as u32 as usize, (key >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_used_twice() {
        let mut arena = Arena::default();
        let a = arena.insert('a');
        let b = arena.insert('b');
        assert_eq!(arena.remove(a), Some('a'));
        let c = arena.insert('c');
        assert_ne!(a, c);
        assert_eq!((arena.get(a), arena.get(b), arena.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(arena.remove(a), None);
        assert_eq!(arena.keys(), [c, b]);
        assert_eq!(arena.len(), 2);
    }
}
