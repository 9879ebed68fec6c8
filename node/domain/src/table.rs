//! A persistent array: values by place, from 0 on, none ever taken out.
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
    Values(Vec<T>),
    Children(Vec<Arc<Node<T>>>),
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
                Node::Values(values) => return values.get(place),
                Node::Children(children) => node = children.get(place / stride)?,
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|place| self.get(place))
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
                Node::Values(values) => return values.get_mut(place),
                Node::Children(children) => node = Arc::make_mut(children.get_mut(place / stride)?),
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    pub fn push(&mut self, value: T) {
        if self.len == self.stride * WIDTH {
            let old = std::mem::take(self);
            self.root = Arc::new(Node::Children(vec![old.root]));
            (self.stride, self.len) = (old.stride * WIDTH, old.len);
        }
        let (mut node, mut stride, mut place) = (Arc::make_mut(&mut self.root), self.stride, self.len);
        self.len += 1;
        loop {
            match node {
                Node::Values(values) => return values.push(value),
                Node::Children(children) => {
                    let child = place / stride;
                    if child == children.len() {
                        let empty = if stride == WIDTH { Node::Values(Vec::new()) } else { Node::Children(Vec::new()) };
                        children.push(Arc::new(empty));
                    }
                    node = Arc::make_mut(&mut children[child]);
                }
            }
            (place, stride) = (place % stride, stride / WIDTH);
        }
    }

    /// Every value in turn, from a clone that nobody else needs.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        (0..self.len).filter_map(move |place| self.get(place).cloned())
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
}
