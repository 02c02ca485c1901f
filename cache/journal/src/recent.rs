//! A small cache by segment: what was used least recently goes first. For open files and frame tables.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::SegmentId;

struct Slot<V> {
    value: V,
    weight: usize,
    used: u64,
}

struct Inner<V> {
    slots: BTreeMap<SegmentId, Slot<V>>,
    weight: usize,
    tick: u64,
}

pub(crate) struct Recent<V> {
    inner: Mutex<Inner<V>>,
    weight_max: usize,
}

impl<V: Clone> Recent<V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        Self { inner: Mutex::new(Inner { slots: BTreeMap::new(), weight: 0, tick: 0 }), weight_max }
    }

    pub(crate) fn get(&self, segment: SegmentId) -> Option<V> {
        let mut inner = self.inner.lock();
        inner.tick += 1;
        let tick = inner.tick;
        let slot = inner.slots.get_mut(&segment)?;
        slot.used = tick;
        Some(slot.value.clone())
    }

    /// Keeps `value`, and makes room for it; a value heavier than the whole cache stays alone.
    pub(crate) fn put(&self, segment: SegmentId, value: V, weight: usize) {
        let mut inner = self.inner.lock();
        inner.tick += 1;
        let used = inner.tick;
        inner.weight += weight;
        if let Some(old) = inner.slots.insert(segment, Slot { value, weight, used }) {
            inner.weight -= old.weight;
        }
        while inner.weight > self.weight_max && inner.slots.len() > 1 {
            let Some(oldest) = inner.slots.iter().min_by_key(|(_, slot)| slot.used).map(|(id, _)| *id) else { break };
            if let Some(gone) = inner.slots.remove(&oldest) {
                inner.weight -= gone.weight;
            }
        }
    }

    pub(crate) fn remove(&self, segment: SegmentId) {
        let mut inner = self.inner.lock();
        if let Some(gone) = inner.slots.remove(&segment) {
            inner.weight -= gone.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Recent::new(3);
        for id in 1..=3 {
            cache.put(SegmentId(id), id, 1);
        }
        assert_eq!(cache.get(SegmentId(1)), Some(1));
        cache.put(SegmentId(4), 4, 1);
        assert_eq!((cache.get(SegmentId(2)), cache.get(SegmentId(1))), (None, Some(1)));
        cache.put(SegmentId(5), 5, 9);
        assert_eq!((cache.get(SegmentId(4)), cache.get(SegmentId(5))), (None, Some(5)));
        cache.remove(SegmentId(5));
        assert_eq!(cache.get(SegmentId(5)), None);
    }
}
