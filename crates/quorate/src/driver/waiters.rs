//! Who waits for which request: a slab.
//!
//! A request id is the place of its waiter and a count of how often that place was used, so an id
//! is never re-used, finding a waiter is an index, and a write costs no allocation here once the
//! slab has grown to the number of requests under way.

use quorate_core::RequestId;

/// Places of waiters by request id.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    used: u32,
    waiter: Option<T>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Waiters<T> {
    /// Lets `waiter` wait and returns the name of its request.
    pub(crate) fn add(&mut self, waiter: T) -> RequestId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                used: 0,
                waiter: None,
            });
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 requests fit in memory")
        });
        let slot = &mut self.places[place as usize];
        slot.waiter = Some(waiter);
        RequestId(u64::from(slot.used) << 32 | u64::from(place))
    }

    /// Returns the waiter of a request, if it still waits.
    pub(crate) fn get_mut(&mut self, request: RequestId) -> Option<&mut T> {
        let place = (request.0 & u64::from(u32::MAX)) as u32;
        let slot = self.places.get_mut(place as usize)?;
        if u64::from(slot.used) != request.0 >> 32 {
            return None;
        }
        slot.waiter.as_mut()
    }

    /// Takes the waiter of a request, once.
    pub(crate) fn take(&mut self, request: RequestId) -> Option<T> {
        let place = (request.0 & u64::from(u32::MAX)) as u32;
        let slot = self.places.get_mut(place as usize)?;
        if u64::from(slot.used) != request.0 >> 32 {
            return None;
        }
        let waiter = slot.waiter.take()?;
        // A place that was used 2^32 times is left alone, so that no id comes twice.
        if let Some(used) = slot.used.checked_add(1) {
            slot.used = used;
            self.free.push(place);
        }
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_and_its_id_never_comes_back() {
        let mut waiters = Waiters::default();
        let first = waiters.add("first");
        let second = waiters.add("second");
        assert_eq!(waiters.get_mut(first), Some(&mut "first"));
        assert_eq!(waiters.take(first), Some("first"));
        assert_eq!(waiters.get_mut(first), None);
        assert_eq!(waiters.take(first), None);
        let third = waiters.add("third");
        assert_ne!(third, first);
        assert_eq!(waiters.take(first), None);
        assert_eq!(waiters.take(second), Some("second"));
        assert_eq!(waiters.take(third), Some("third"));
    }

    #[test]
    fn places_are_used_again() {
        let mut waiters = Waiters::default();
        for round in 0..1_000 {
            let request = waiters.add(round);
            assert_eq!(waiters.take(request), Some(round));
        }
        assert_eq!(waiters.places.len(), 1);
    }

    #[test]
    fn an_id_from_nowhere_names_nobody() {
        let mut waiters = Waiters::<()>::default();
        assert_eq!(waiters.take(RequestId(u64::MAX)), None);
    }
}
