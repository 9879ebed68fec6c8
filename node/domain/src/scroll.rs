//! A queue of things that are kept by the hundred thousand and hardly ever looked at: encoded, in blocks, each under
//! the place that it was given. As values they took three times the memory.
//!
//! A clone shares all blocks; a write copies the newest one if it is shared, which is some two kilobytes.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::table::Table;

/// Things of a block: as many as make what is kept beside their bytes not count.
const BLOCK: usize = 32;

#[derive(Clone, Debug)]
pub(crate) struct Scroll<T> {
    /// The place of the oldest.
    first: u64,
    /// The place of what comes next. Places count up from 0, and none is given twice.
    next: u64,
    /// Of `BLOCK` places each, from place 0 on; those of which all is gone are empty.
    blocks: Table<Arc<Block>>,
    things: PhantomData<fn() -> T>,
}

#[derive(Clone, Debug, Default)]
struct Block {
    /// Of each thing, in the bytes.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl<T> Default for Scroll<T> {
    fn default() -> Self {
        Self { first: 0, next: 0, blocks: Table::default(), things: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Scroll<T> {
    pub fn len(&self) -> usize {
        usize::try_from(self.next - self.first).expect("it lies in memory")
    }

    pub fn places(&self) -> Range<u64> {
        self.first..self.next
    }

    pub fn push(&mut self, thing: &T) -> u64 {
        let place = self.next;
        self.next += 1;
        let (number, _) = lies(place);
        if number == self.blocks.len() {
            self.blocks.push(Arc::default());
        }
        self.block_mut(number).push(thing);
        place
    }

    pub fn get(&self, place: u64) -> Option<T> {
        self.begin(place)
    }

    /// What the thing in a place begins with: its first fields, and nothing behind them is looked at.
    pub fn begin<F: DeserializeOwned>(&self, place: u64) -> Option<F> {
        if !self.places().contains(&place) {
            return None;
        }
        let (number, index) = lies(place);
        let bytes = self.blocks.get(number)?.bytes(index);
        Some(postcard::take_from_bytes(bytes).expect("it was encoded here").0)
    }

    pub fn replace(&mut self, place: u64, thing: &T) {
        if self.places().contains(&place) {
            let (number, index) = lies(place);
            self.block_mut(number).replace(index, thing);
        }
    }

    pub fn pop(&mut self) -> Option<T> {
        let oldest = self.get(self.first)?;
        self.first += 1;
        if let (number, 0) = lies(self.first) {
            self.blocks.take(number - 1);
        }
        Some(oldest)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> {
        self.places().filter_map(|place| self.get(place))
    }

    pub fn into_things(self) -> impl Iterator<Item = T> {
        self.places().filter_map(move |place| self.get(place))
    }

    fn block_mut(&mut self, number: usize) -> &mut Block {
        Arc::make_mut(self.blocks.get_mut(number).expect("a block goes with the last of its places"))
    }
}

/// In which block, and where in it.
fn lies(place: u64) -> (usize, usize) {
    let place = usize::try_from(place).expect("places count what was in memory");
    (place / BLOCK, place % BLOCK)
}

impl Block {
    fn push<T: Serialize>(&mut self, thing: &T) {
        if self.ends.is_empty() {
            self.ends.reserve_exact(BLOCK);
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(thing, bytes).expect("memory is the only thing that encoding needs");
        self.ends.push(u32::try_from(self.bytes.len()).expect("a thing is some kilobytes"));
        if self.ends.len() == BLOCK {
            self.bytes.shrink_to_fit();
        }
    }

    fn bytes(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    fn range(&self, index: usize) -> Range<usize> {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        begin as usize..self.ends[index] as usize
    }

    fn replace<T: Serialize>(&mut self, index: usize, thing: &T) {
        let thing = postcard::to_stdvec(thing).expect("memory is the only thing that encoding needs");
        let range = self.range(index);
        let length = u32::try_from(range.len()).expect("it lies between two such places");
        let new_length = u32::try_from(thing.len()).expect("a thing is some kilobytes");
        self.bytes.splice(range, thing);
        for end in &mut self.ends[index..] {
            *end = *end - length + new_length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_where_it_was_put_until_it_is_taken() {
        let thing = |number: u64| (number, "x".repeat(number as usize % 7));
        let mut scroll = Scroll::default();
        let mut views = Vec::new();
        for number in 0..300 {
            assert_eq!(scroll.push(&thing(number)), number);
            if number % 37 == 0 {
                views.push((number + 1, scroll.clone()));
            }
        }
        scroll.replace(100, &(100, "something longer".to_owned()));
        scroll.replace(101, &(101, String::new()));
        for number in 0..95 {
            assert_eq!(scroll.pop(), Some(thing(number)));
        }
        assert_eq!((scroll.get(94), scroll.get(95), scroll.get(300)), (None, Some(thing(95)), None));
        assert_eq!((scroll.begin(299), scroll.begin::<u64>(300)), (Some(299_u64), None));
        assert_eq!(scroll.get(100), Some((100, "something longer".to_owned())));
        assert_eq!((scroll.get(101), scroll.get(102)), (Some((101, String::new())), Some(thing(102))));
        assert_eq!((scroll.len(), scroll.places()), (205, 95..300));
        assert!(scroll.iter().map(|(number, _)| number).eq(95..300));
        assert!(scroll.iter().rev().map(|(number, _)| number).eq((95..300).rev()));
        while scroll.pop().is_some() {}
        assert_eq!((scroll.len(), scroll.push(&thing(1))), (0, 300));
        assert!(scroll.into_things().eq([thing(1)]));
        for (count, view) in views {
            assert!(view.iter().eq((0..count).map(thing)), "a view keeps what it had");
        }
    }
}
