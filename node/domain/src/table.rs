//! A persistent array: values by place, from 0 on. What is taken out leaves its place empty, and a stretch of empty
//! places costs nothing.
//!
//! A clone shares everything; a write copies the nodes on its way that are shared, and with each node the references
//! in it. Those lie all over the memory, so nodes are narrower than in most such structures: at 64 to a node, as in
//! `imbl::Vector`, a booking with a fresh view beside it spent most of its time on counting references.

use std::sync::Arc;

/// Places per node.
const WIDTH: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    root: Arc<Node<T>>,
    /// How many places lie below one child of the root; 1: the root holds values.
    stride: usize,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<T> {
    Values(Vec<Option<T>>),
    Children(Vec<Arc<Node<T>>>),
    /// Full, and everything was taken out.
    Gone,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Values(Vec::new())), stride: 1, len: 0 }
    }
}

impl<T> Table<T> {
    pub const fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        if place >= self.len {
            return None;
        }
        let (mut node, mut stride, mut place) = (&self.root, self.stride, place);
        loop {
            match &**node {
                Node::Values(values) => return values.get(place)?.as_ref(),
                Node::Children(children) => node = children.get(place / stride)?,
                Node::Gone => return None,
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    /// The first value at this place or behind it.
    pub fn first_from(&self, place: usize) -> Option<(usize, &T)> {
        let mut wanted = place;
        while wanted < self.len {
            // How many places the node covers that has no value there.
            let (mut node, mut covers, mut place) = (&self.root, self.stride * WIDTH, wanted);
            let empty = loop {
                match &**node {
                    Node::Values(values) => match values.get(place)?.as_ref() {
                        Some(value) => return Some((wanted, value)),
                        None => break 1,
                    },
                    Node::Children(children) => {
                        let stride = covers / WIDTH;
                        node = children.get(place / stride)?;
                        (place, covers) = (place % stride, stride);
                    }
                    Node::Gone => break covers,
                }
            };
            wanted = (wanted / empty + 1) * empty;
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.iter_from(0).map(|(_, value)| value)
    }

    /// With their places.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = (usize, &T)> {
        let mut next = place;
        std::iter::from_fn(move || {
            let (found, value) = self.first_from(next)?;
            next = found + 1;
            Some((found, value))
        })
    }
}

impl<T: Clone> Table<T> {
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        if place >= self.len {
            return None;
        }
        let (mut node, mut stride, mut place) = (Arc::make_mut(&mut self.root), self.stride, place);
        loop {
            match node {
                Node::Values(values) => return values.get_mut(place)?.as_mut(),
                Node::Children(children) => node = Arc::make_mut(children.get_mut(place / stride)?),
                Node::Gone => return None,
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    pub fn push(&mut self, value: T) {
        self.append(1, Some(value));
    }

    /// As if so many values had been put in and taken out again.
    pub fn skip(&mut self, mut count: usize) {
        while count > 0 {
            self.make_room();
            let mut span = 1;
            while span < self.stride && span * WIDTH <= count && self.len.is_multiple_of(span * WIDTH) {
                span *= WIDTH;
            }
            self.append(span, None);
            count -= span;
        }
    }

    pub fn take(&mut self, place: usize) -> Option<T> {
        // What is not there copies nothing.
        self.get(place)?;
        Self::take_from(&mut self.root, self.stride, place)
    }

    fn take_from(node: &mut Arc<Node<T>>, stride: usize, place: usize) -> Option<T> {
        let node = Arc::make_mut(node);
        let (taken, is_gone) = match node {
            Node::Values(values) => {
                let taken = values.get_mut(place)?.take();
                (taken, values.len() == WIDTH && values.iter().all(Option::is_none))
            }
            Node::Children(children) => {
                let taken = Self::take_from(children.get_mut(place / stride)?, stride / WIDTH, place % stride);
                (taken, children.len() == WIDTH && children.iter().all(|child| matches!(**child, Node::Gone)))
            }
            Node::Gone => return None,
        };
        if is_gone {
            *node = Node::Gone;
        }
        taken
    }

    fn make_room(&mut self) {
        if self.len == self.stride * WIDTH {
            let old = std::mem::take(self);
            self.root = Arc::new(Node::Children(vec![old.root]));
            (self.stride, self.len) = (old.stride * WIDTH, old.len);
        }
    }

    /// One value, or as many empty places as a node covers, at whose beginning the table ends.
    fn append(&mut self, span: usize, value: Option<T>) {
        self.make_room();
        let (mut node, mut stride, mut place) = (Arc::make_mut(&mut self.root), self.stride, self.len);
        self.len += span;
        loop {
            match node {
                Node::Values(values) => return values.push(value),
                Node::Children(children) => {
                    let child = place / stride;
                    if child == children.len() {
                        let empty = if stride == span && span > 1 {
                            Node::Gone
                        } else if stride == WIDTH {
                            Node::Values(Vec::new())
                        } else {
                            Node::Children(Vec::new())
                        };
                        children.push(Arc::new(empty));
                    }
                    if stride == span && span > 1 {
                        return;
                    }
                    node = Arc::make_mut(&mut children[child]);
                }
                Node::Gone => unreachable!("only what is full is gone, and the end of a table is not"),
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    /// Every value in turn, from a clone that nobody else needs.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let (found, value) = self.first_from(next)?;
            next = found + 1;
            Some(value.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_holds_what_was_put_there_whatever_clones_exist() {
        let mut table = Table::default();
        let mut views = Vec::new();
        for value in 0..5_000 {
            table.push(value);
            if value % 97 == 0 {
                views.push(table.clone());
            }
        }
        assert_eq!(table.len(), 5_000);
        for place in (0..5_000).step_by(3) {
            *table.get_mut(place).expect("it is there") += 10_000;
        }
        assert_eq!(table.get(5_000), None);
        assert_eq!(table.get_mut(5_000), None);
        let changed = (0..5_000).map(|place| if place % 3 == 0 { place + 10_000 } else { place });
        assert!(table.into_values().eq(changed));
        for view in views {
            assert!(view.iter().copied().eq(0..view.len()), "a view of {}", view.len());
        }
    }
    #[test]
    fn what_is_taken_out_is_gone_and_everything_else_is_where_it_was() {
        let mut table = Table::default();
        (0..5_000).for_each(|value| table.push(value));
        let before = table.clone();
        for place in (0..4_100).filter(|place| place % 1_000 != 7) {
            assert_eq!(table.take(place), Some(place));
            assert_eq!(table.take(place), None);
        }
        let left: Vec<usize> = table.iter().copied().collect();
        assert_eq!(left, [7, 1_007, 2_007, 3_007, 4_007].into_iter().chain(4_100..5_000).collect::<Vec<_>>());
        assert_eq!(table.first_from(8), Some((1_007, &1_007)));
        assert_eq!((table.get(8), table.len()), (None, 5_000));
        assert_eq!(table.get_mut(9), None);
        assert!(before.iter().copied().eq(0..5_000), "a view keeps what it had");
        table.push(5_000);
        assert_eq!(table.get(5_000), Some(&5_000));
    }

    #[test]
    fn what_is_skipped_is_as_if_it_had_been_there() {
        for (first, gap) in [(0, 1), (0, 16), (3, 300), (16, 4_096), (5, 70_000), (0, 1 << 40)] {
            let mut table = Table::default();
            (0..first).for_each(|value| table.push(value));
            table.skip(gap);
            assert_eq!(table.len(), first + gap);
            (first + gap..first + gap + 40).for_each(|value| table.push(value));
            assert_eq!(table.get(first), None);
            assert!(table.iter().copied().eq((0..first).chain(first + gap..first + gap + 40)), "{first} {gap}");
        }
    }
}
