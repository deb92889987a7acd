//! From where neighbours have come. Each has room of its own: whoever comes from everywhere forgets only itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::id::NodeId;
use protocol::net::Source;

/// The latest sources of the neighbours that came last.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    nodes: BTreeMap<NodeId, Visits>,
    /// Which neighbours have come from each; never nobody.
    sources: BTreeMap<Source, BTreeSet<NodeId>>,
    /// Counts visits: it tells who has not come for longest.
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct Visits {
    last: u64,
    /// The latest last.
    sources: VecDeque<Source>,
}

impl Known {
    pub(super) fn contains(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }

    /// Who has come from there.
    pub(super) fn visitors(&self, source: Source) -> impl Iterator<Item = NodeId> {
        self.sources.get(&source).into_iter().flatten().copied()
    }

    /// From where the node has come.
    pub(super) fn sources(&self, node: NodeId) -> impl Iterator<Item = Source> {
        let visits = self.nodes.get(&node);

        visits.into_iter().flat_map(|visits| &visits.sources).copied()
    }

    /// The source that a node would be known by no more if it came from this one too.
    pub(super) fn oldest_but_for(&self, node: NodeId, source: Source) -> Option<Source> {
        let sources = &self.nodes.get(&node)?.sources;
        let has_room = sources.len() < OF_NODE || sources.contains(&source);

        sources.front().filter(|_| !has_room).copied()
    }

    /// `node` has come from `source`. Returns the sources that are known no more: of this node, or of the one that has not
    /// come for longest when there are too many.
    pub(super) fn remember(&mut self, node: NodeId, source: Source) -> Vec<Source> {
        self.clock += 1;
        let visits = self.nodes.entry(node).or_default();
        visits.last = self.clock;
        let mut over: Vec<(NodeId, Source)> = Vec::new();
        match visits.sources.iter().position(|known| *known == source) {
            Some(place) => {
                visits.sources.remove(place);
            }
            None => {
                self.sources.entry(source).or_default().insert(node);
            }
        }
        visits.sources.push_back(source);
        if visits.sources.len() > OF_NODE {
            over.extend(visits.sources.pop_front().map(|source| (node, source)));
        }
        if self.nodes.len() > NODES {
            let longest = self.nodes.iter().min_by_key(|(_, visits)| visits.last);
            let longest = longest.map(|(node, _)| *node);
            let gone = longest.and_then(|node| Some((node, self.nodes.remove(&node)?)));
            over.extend(
                gone.into_iter()
                    .flat_map(|(node, visits)| visits.sources.into_iter().map(move |source| (node, source))),
            );
        }
        let forgotten = over
            .into_iter()
            .filter(|(node, source)| self.forget(*node, *source));

        forgotten.map(|(_, source)| source).collect()
    }

    /// One neighbour less that has come from there. Whether that was the last.
    fn forget(&mut self, node: NodeId, source: Source) -> bool {
        let Some(visitors) = self.sources.get_mut(&source) else {
            return false;
        };
        visitors.remove(&node);
        let is_last = visitors.is_empty();
        if is_last {
            self.sources.remove(&source);
        }

        is_last
    }
}

/// Neighbours of one node, roaming ones included; a relay of a large fleet may have more, and forgets who has not come for
/// longest.
const NODES: usize = 1_024;
/// A neighbour that roams between a few networks, of both families.
const OF_NODE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_until_the_last_neighbour_of_it_is_forgotten() {
        let mut known = Known::default();
        known.remember(node(1), at(1));
        known.remember(node(2), at(1));
        let over: Vec<Source> = (10..20)
            .flat_map(|from| known.remember(node(1), at(from)))
            .collect();
        assert_eq!(
            over,
            (10..16).map(at).collect::<Vec<_>>(),
            "its own, but for the one it shares"
        );
        assert!(known.contains(at(1)));
        let over: Vec<Source> = (20..24)
            .flat_map(|from| known.remember(node(2), at(from)))
            .collect();

        assert_eq!(over, [at(1)]);
        assert!(!known.contains(at(1)));
    }

    #[test]
    fn of_too_many_neighbours_the_one_goes_that_has_not_come_for_longest() {
        let mut known = Known::default();
        let most = u32::try_from(NODES).expect("small");
        for number in 0..most {
            assert_eq!(known.remember(node(number), at(number)), []);
        }
        known.remember(node(0), at(0));

        assert_eq!(known.remember(node(most), at(most)), [at(1)]);
        assert_eq!((known.nodes.len(), known.sources.len()), (NODES, NODES));
    }

    fn node(number: u32) -> NodeId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());

        NodeId::from_bytes(bytes)
    }

    fn at(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(0x0A00_0000 + number).into())
    }
}
