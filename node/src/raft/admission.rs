//! How many requests are taken on at once. Who finds no place is told so at once, instead of waiting behind thousands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Debug)]
pub struct Admission {
    count: Arc<AtomicUsize>,
    limit: usize,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Admission {
    pub fn new(limit: usize) -> Self {
        Self { count: Arc::default(), limit }
    }

    pub fn enter(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.count));
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        (before < self.limit).then_some(place)
    }

    pub fn taken(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_also_by_those_who_got_none() {
        let admission = Admission::new(1);
        let first = admission.enter();
        assert!(first.is_some());
        assert!(admission.enter().is_none());
        drop(first);
        assert_eq!(admission.taken(), 0);
        assert!(admission.enter().is_some());
    }
}
