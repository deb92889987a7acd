//! The pairs of this process: those with its neighbours, and what is remembered of those who were neighbours.
//!
//! A node leaves the configuration when it is disabled or its policy changes, and may come back within the same boot of
//! both ends. Its pair waits for that, so that no sequence is used twice.

use std::collections::{BTreeMap, VecDeque};

use protocol::id::NodeId;

use super::pair::{Floor, Pair};

#[derive(Debug, Default)]
pub(super) struct Pairs {
    present: BTreeMap<NodeId, Pair>,
    /// The one that left first is first.
    parted: VecDeque<(NodeId, Pair)>,
    /// Above the sequences of all that were forgotten.
    floor: Floor,
}

impl Pairs {
    /// The pair with a neighbour, which may have been one before.
    pub(super) fn join(&mut self, node: NodeId) -> &mut Pair {
        let (parted, floor) = (&mut self.parted, self.floor);

        self.present.entry(node).or_insert_with(|| {
            let place = parted.iter().position(|(known, _)| *known == node);
            let known = place.and_then(|place| parted.remove(place));

            known.map_or_else(|| Pair::above(floor), |(_, pair)| pair)
        })
    }

    /// Those of whom `is_gone` are no neighbours any more.
    pub(super) fn part(&mut self, is_gone: impl Fn(&NodeId) -> bool) {
        for (node, mut pair) in self.present.extract_if(.., |node, _| is_gone(node)) {
            pair.part();
            self.parted.push_back((node, pair));
        }
        while self.parted.len() > PARTED {
            if let Some((_, pair)) = self.parted.pop_front() {
                self.floor.raise(pair.floor());
            }
        }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Pair> {
        self.present.get(&node)
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut Pair> {
        self.present.get_mut(&node)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.present.values_mut()
    }
}

/// Who left is remembered until this many left after it: under 1 KiB each.
const PARTED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_goes_on_where_it_was_and_no_sequence_is_used_twice() {
        let mut pairs = Pairs::default();
        let first = node(0);
        let highest = (0..5).map(|_| pairs.join(first).next_sequence()).max();
        pairs.part(|gone| *gone == first);
        assert!(pairs.get(first).is_none(), "it is no neighbour");
        assert!(Some(pairs.join(first).next_sequence()) > highest);
        assert_eq!(pairs.join(node(1)).next_sequence().0, 1, "others are not touched");
    }

    #[test]
    fn of_who_was_forgotten_the_height_of_the_sequence_is_kept() {
        let mut pairs = Pairs::default();
        let first = node(0);
        let highest = (0..5).map(|_| pairs.join(first).next_sequence()).max();
        pairs.part(|_| true);
        for other in 1..=PARTED {
            pairs.join(node(other));
            pairs.part(|_| true);
        }
        assert_eq!(pairs.parted.len(), PARTED);

        assert!(Some(pairs.join(first).next_sequence()) > highest);
    }

    fn node(number: usize) -> NodeId {
        NodeId::from_bytes((number as u128).to_be_bytes())
    }
}
