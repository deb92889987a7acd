//! What this node shares with one neighbour: keys, sequences, and which run of the neighbour's process is the real one.
//!
//! A relay could play back frames of a run that ended long ago to a node that has forgotten it. So a run is believed
//! only once it has answered a probe of ours, whose number nobody could know before; until then it is asked, and its
//! own probes are answered.

use std::collections::BTreeMap;

use protocol::frame::{
    BootTag, Content, ContentTooLong, FrameHeader, OpenBodyError, PairKeys, PathTag, ReplayGuard, Sequence,
};
use protocol::id::{ClusterId, NodeId};
use protocol::key::{SealKey, SealSecret};

use super::effect::Refusal;

/// Sequences, and which of theirs were seen, last as long as this process: a neighbour that comes back goes on with
/// them. Begun anew they would look like frames played back.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// Ours newest first, and for each theirs newest first. More than one only while a key is being replaced.
    keys: Vec<Key>,
    /// Newest first.
    theirs: Vec<SealKey>,
    /// Keys of ours that they sealed to, so that they have them.
    known_to_them: Vec<SealKey>,
    sequence: Sequence,
    /// Counts our `synthetic` frames to them, over all paths.
    number: u64,
    guard: ReplayGuard,
    /// Newest first; the one before may still have frames under way.
    proven: [Option<BootTag>; 2],
    probes_sent: BTreeMap<PathTag, u64>,
    /// Probes received from the run that is proven, and from one that is not yet.
    probes_received: [Option<(BootTag, BTreeMap<PathTag, u64>)>; 2],
}

/// Where the sequences of a pair begin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    sequence: Sequence,
    number: u64,
}

impl Floor {
    pub(super) fn raise(&mut self, other: Self) {
        self.sequence = self.sequence.max(other.sequence);
        self.number = self.number.max(other.number);
    }
}

#[derive(Debug)]
struct Key {
    ours: SealKey,
    theirs: SealKey,
    keys: PairKeys,
}

/// Our identity towards neighbours: who we are, and our X25519 keys, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours<'a> {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) secrets: &'a [SealSecret],
}

impl Pair {
    /// Begins with a neighbour of whom nothing is remembered, above every sequence that was forgotten.
    pub(super) fn above(floor: Floor) -> Self {
        Self {
            sequence: floor.sequence,
            number: floor.number,
            ..Self::default()
        }
    }

    /// It is no neighbour any more: nothing is sealed for it, nothing of its opens.
    pub(super) fn part(&mut self) {
        self.keys.clear();
        self.theirs.clear();
        self.known_to_them.clear();
    }

    /// How far its sequences went.
    pub(super) fn floor(&self) -> Floor {
        Floor {
            sequence: self.sequence,
            number: self.number,
        }
    }

    /// Takes in the neighbour's newest key. The one before stays good for what is under way.
    pub(super) fn handle_key(&mut self, key: SealKey) {
        if self.theirs.first() == Some(&key) {
            return;
        }
        self.theirs.retain(|known| *known != key);
        self.theirs.insert(0, key);
        self.theirs.truncate(KEYS);
        self.keys.clear();
    }

    /// Our keys are others now.
    pub(super) fn handle_own_keys(&mut self, secrets: &[SealSecret]) {
        self.known_to_them
            .retain(|key| secrets.iter().any(|secret| secret.seal_key() == *key));
        self.keys.clear();
    }

    /// Derives what both sides' keys share, unless that is done. A key of theirs that is unusable shares nothing.
    pub(super) fn derive_once(&mut self, ours: Ours<'_>, peer: NodeId) {
        if !self.keys.is_empty() {
            return;
        }
        for secret in ours.secrets {
            for theirs in &self.theirs {
                let derived = PairKeys::derive(ours.cluster, (ours.node, secret), (peer, theirs));
                self.keys.extend(derived.ok().map(|keys| Key {
                    ours: secret.seal_key(),
                    theirs: *theirs,
                    keys,
                }));
            }
        }
    }

    /// Writes a frame to `out`.
    pub(super) fn seal(
        &self,
        header: &FrameHeader,
        content: &Content,
        rng: &mut dyn rand::CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(), SealRefused> {
        let key = self.sealing_key().ok_or(SealRefused::NoKey)?;

        key.keys
            .seal(header, content, rng, out)
            .map_err(SealRefused::TooLong)
    }

    pub(super) fn open(
        &mut self,
        header: &FrameHeader,
        body: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Content, Refusal> {
        for key in &self.keys {
            match key.keys.open(header, body, scratch) {
                Ok(content) => {
                    if !self.known_to_them.contains(&key.ours) {
                        self.known_to_them.push(key.ours);
                    }
                    return Ok(content);
                }
                Err(OpenBodyError::Malformed(_)) => return Err(Refusal::Unreadable),
                Err(OpenBodyError::NotSealedToUs | OpenBodyError::TooShort { .. }) => {}
            }
        }

        Err(Refusal::Forged)
    }

    pub(super) fn next_sequence(&mut self) -> Sequence {
        self.sequence = self.sequence.next();

        self.sequence
    }

    /// The number of our next `synthetic` frame to them.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;

        self.number
    }

    /// Counts a probe of ours on a path, and says how many that makes.
    pub(super) fn count_sent(&mut self, path: PathTag) -> u64 {
        count(&mut self.probes_sent, path)
    }

    /// Counts a probe of theirs on a path, and says how many that makes for this run of theirs.
    pub(super) fn count_received(&mut self, boot: BootTag, path: PathTag) -> u64 {
        let place = usize::from(!self.is_newest(boot));
        let slot = &mut self.probes_received[place];
        if slot.as_ref().is_none_or(|(of, _)| *of != boot) {
            *slot = None;
        }
        let (_, counts) = slot.get_or_insert_with(|| (boot, BTreeMap::new()));

        count(counts, path)
    }

    pub(super) fn is_proven(&self, boot: BootTag) -> bool {
        self.proven.contains(&Some(boot))
    }

    pub(super) fn proven_boot(&self) -> Option<BootTag> {
        self.proven[0]
    }

    /// This run answered a probe of ours. Says whether that is news.
    pub(super) fn prove(&mut self, boot: BootTag) -> bool {
        if self.is_proven(boot) {
            return false;
        }
        self.proven = [Some(boot), self.proven[0]];
        self.probes_received.swap(0, 1);
        if self.probes_received[0]
            .as_ref()
            .is_some_and(|(of, _)| *of != boot)
        {
            self.probes_received[0] = None;
        }

        true
    }

    /// Takes each frame of a proven run once.
    pub(super) fn accept(&mut self, header: &FrameHeader) -> bool {
        self.guard.accept(header.boot, header.sequence).is_ok()
    }

    fn is_newest(&self, boot: BootTag) -> bool {
        self.proven[0] == Some(boot)
    }

    /// Sealed to their newest key, with our newest that they are known to have, or else with our oldest.
    fn sealing_key(&self) -> Option<&Key> {
        let mut usable = self
            .keys
            .iter()
            .filter(|key| Some(&key.theirs) == self.theirs.first());
        let oldest = usable.clone().next_back();

        usable
            .find(|key| self.known_to_them.contains(&key.ours))
            .or(oldest)
    }
}

/// Why a frame could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealRefused {
    NoKey,
    TooLong(ContentTooLong),
}

fn count(counts: &mut BTreeMap<PathTag, u64>, path: PathTag) -> u64 {
    if counts.len() >= PATHS && !counts.contains_key(&path) {
        counts.clear();
    }
    let counted = counts.entry(path).or_default();
    *counted += 1;

    *counted
}

/// Keys of a neighbour that are good at a time: the newest, and the one it replaced.
const KEYS: usize = 2;

/// Paths whose probes are counted: those of a few generations of one route. Starting over costs the direction of a
/// loss, once.
const PATHS: usize = 16;

#[cfg(test)]
mod tests {
    use protocol::frame::{Class, Form, Mark, Message, Probe};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_new_key_is_used_only_once_the_neighbour_has_shown_that_it_knows_it() {
        let (old, new, theirs) = (secret(1), secret(2), secret(3));
        let (mut us, mut them) = (Pair::default(), Pair::default());
        us.handle_key(theirs.seal_key());
        them.handle_key(old.seal_key());
        us.handle_own_keys(&[new.clone(), old.clone()]);
        us.derive_once(ours(US, &[new.clone(), old]), THEM);
        them.derive_once(ours(THEM, std::slice::from_ref(&theirs)), US);

        assert!(travels(&us, &mut them), "they know the old key alone");
        assert!(travels(&them, &mut us));
        them.handle_key(new.seal_key());
        them.derive_once(ours(THEM, std::slice::from_ref(&theirs)), US);
        assert!(travels(&us, &mut them), "they still take the old one");
        assert!(travels(&them, &mut us), "they seal to the new one");
        assert_eq!(us.sealing_key().unwrap().ours, new.seal_key());
        assert!(travels(&us, &mut them));
    }

    #[test]
    fn a_run_counts_as_real_only_once_it_is_proven_and_stays_so_for_one_more() {
        let mut pair = Pair::default();
        assert!(!pair.is_proven(boot(1)));
        assert!(pair.prove(boot(1)));
        assert!(!pair.prove(boot(1)));
        assert!(pair.prove(boot(2)));

        assert!(pair.is_proven(boot(1)));
        assert_eq!(pair.proven_boot(), Some(boot(2)));
        assert!(pair.prove(boot(3)));
        assert!(!pair.is_proven(boot(1)));
    }

    #[test]
    fn counts_of_a_proven_run_are_not_touched_by_another() {
        let mut pair = Pair::default();
        assert_eq!(pair.count_received(boot(1), PathTag::Direct), 1);
        pair.prove(boot(1));
        assert_eq!(pair.count_received(boot(1), PathTag::Direct), 2);
        assert_eq!(pair.count_received(boot(9), PathTag::Direct), 1);
        assert_eq!(pair.count_received(boot(8), PathTag::Direct), 1);

        assert_eq!(pair.count_received(boot(1), PathTag::Direct), 3);
    }

    #[test]
    fn without_a_usable_key_nothing_is_sealed() {
        let pair = Pair::default();
        let sealed = pair.seal(&header(), &content(), &mut rng(), &mut Vec::new());

        assert_eq!(sealed, Err(SealRefused::NoKey));
    }

    fn travels(from: &Pair, to: &mut Pair) -> bool {
        let mut frame = Vec::new();
        from.seal(&header(), &content(), &mut rng(), &mut frame).unwrap();
        let (header, body) = FrameHeader::parse(&frame).unwrap();

        to.open(&header, body, &mut Vec::new()) == Ok(content())
    }

    fn ours(node: NodeId, secrets: &[SealSecret]) -> Ours<'_> {
        Ours {
            cluster: ClusterId::from_bytes([7; 16]),
            node,
            secrets,
        }
    }

    fn header() -> FrameHeader {
        FrameHeader {
            class: Class::RouteControl,
            form: Form::Sealed,
            path: PathTag::Direct,
            boot: boot(1),
            sequence: Sequence(1),
        }
    }

    fn content() -> Content {
        Content {
            mark: Mark::default(),
            message: Message::Probe(Probe {
                probe: 1,
                path: PathTag::Direct,
                sent: 1,
            }),
        }
    }

    fn secret(byte: u8) -> SealSecret {
        SealSecret::from_bytes([byte; 32])
    }

    fn boot(byte: u8) -> BootTag {
        BootTag::from_bytes([byte; 8])
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    const US: NodeId = NodeId::from_bytes([1; 16]);
    const THEM: NodeId = NodeId::from_bytes([2; 16]);
}
