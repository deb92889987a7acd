//! Which connections are kept, by this end alone; both ends together are in the world's tests.

use proptest::prelude::*;
use protocol::frame::PathTag;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

#[test]
fn a_wanted_neighbour_is_dialled_at_once_and_again_after_it_is_lost() {
    let mut bench = Bench::wanting();
    assert_eq!(bench.take(), [dial()]);
    bench.up(1, true);
    bench.run_to(10_000);
    assert_eq!(bench.take(), []);
    bench.down(1);
    bench.run_to(10_700);
    assert_eq!(bench.take(), []);
    bench.run_to(11_300);

    assert_eq!(bench.take(), [dial()]);
}

#[test]
fn nobody_is_dialled_without_an_address_or_a_need() {
    let mut bench = Bench::new();
    bench.links.handle_wants(&want(true), &mut bench.rng, Boot(0));
    bench.run_to(60_000);
    assert_eq!(bench.take(), []);

    let mut bench = Bench::new();
    bench.links.handle_candidates(&addresses(), Boot(0));
    bench.run_to(60_000);
    assert_eq!(bench.take(), []);
}

#[test]
fn a_connection_of_ours_that_is_not_needed_is_closed_after_a_while() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.up(1, true);
    bench.run_to(1_000);
    bench
        .links
        .handle_wants(&BTreeMap::new(), &mut bench.rng, Boot(1_000));
    bench.run_to(60_999);
    assert_eq!(bench.take(), []);
    bench.run_to(61_000);

    assert_eq!(bench.take(), [close(1, CloseReason::Unneeded)]);
    bench.run_to(200_000);
    assert_eq!(bench.take(), []);
}

#[test]
fn a_connection_that_the_other_end_dialled_is_for_it_to_close() {
    let mut bench = Bench::new();
    bench.up(1, false);
    bench.run_to(600_000);

    assert_eq!(bench.take(), []);
    assert_eq!(bench.links.current(PEER), Some(LinkId(1)));
}

#[test]
fn a_dead_connection_stays_until_a_fresh_one_takes_its_place() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.up(1, true);
    bench.links.handle_path(PEER, true, Boot(1_000));
    bench.run_to(1_000);
    assert_eq!(bench.take(), [dial()]);
    assert_eq!(bench.links.current(PEER), Some(LinkId(1)));
    bench.up(2, true);

    assert_eq!(bench.take(), [close(1, CloseReason::Dead)]);
    assert_eq!(bench.links.current(PEER), Some(LinkId(2)));
}

#[test]
fn a_connection_that_answers_beats_one_that_does_not() {
    for silent in [1, 2] {
        let mut bench = Bench::wanting();
        bench.take();
        bench.up(1, true);
        bench.up(2, false);
        bench.answer_all_but(silent);
        bench.run_to(1_000);

        let closed = bench.closed();
        assert_eq!(closed, [close(silent, CloseReason::Duplicate)], "{silent}");
    }
}

#[test]
fn a_newcomer_is_not_used_before_it_answers_what_the_one_in_use_does_not() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.up(1, true);
    bench.up(2, false);
    assert_eq!(
        bench.links.current(PEER),
        Some(LinkId(1)),
        "anyone may have connected"
    );
    bench.answer_all_but(1);

    assert_eq!(bench.links.current(PEER), Some(LinkId(2)), "at its first answer");
}

#[test]
fn who_connects_with_an_old_certificate_and_cannot_answer_never_gets_a_frame() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.up(1, true);
    for stranger in 2..20 {
        bench.up(stranger, false);
        assert_eq!(bench.links.current(PEER), Some(LinkId(1)));
        bench.answer_all_but(stranger);
        bench.run_to(stranger * 1_500);
        bench.asked.clear();
        assert_eq!(bench.closed(), [close(stranger, CloseReason::Duplicate)]);
        assert_eq!(bench.links.current(PEER), Some(LinkId(1)));
    }
}

#[test]
fn of_two_that_answer_the_lower_nodes_stays_and_of_one_dialler_the_later() {
    for (ours, kept) in [
        ([true, false], 1),
        ([false, true], 2),
        ([true, true], 2),
        ([false, false], 2),
    ] {
        let mut bench = Bench::wanting();
        bench.take();
        bench.up(1, ours[0]);
        bench.up(2, ours[1]);
        bench.answer_all_but(0);

        assert_eq!(
            bench.closed(),
            [close(3 - kept, CloseReason::Duplicate)],
            "{ours:?}"
        );
        assert_eq!(bench.links.current(PEER), Some(LinkId(kept)), "{ours:?}");
    }
}

#[test]
fn a_link_that_no_path_probes_is_probed_here_and_redialled_after_three_misses() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.links.handle_wants(&want(true), &mut bench.rng, Boot(0));
    bench.up(1, true);
    bench.run_to(6_000);
    let first = bench.probed.first().copied().expect("a probe is in flight");
    assert_eq!(bench.answer(first), Reply::Answered);
    bench.run_to(36_000);
    let effects = bench.take();
    assert_eq!(effects.first(), Some(&LinkEffect::Probe { peer: PEER }));

    assert!(effects.contains(&dial()), "{effects:?}");
}

#[test]
fn a_neighbour_that_never_answered_is_not_redialled() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.links.handle_wants(&want(true), &mut bench.rng, Boot(0));
    bench.up(1, true);
    bench.run_to(30_000);
    let effects = bench.take();

    assert!(effects.contains(&LinkEffect::Probe { peer: PEER }), "{effects:?}");
    assert!(!effects.contains(&dial()), "{effects:?}");
}

#[test]
fn a_neighbour_that_moved_is_nowhere_until_it_is_back_where_it_answered() {
    let mut bench = Bench::new();
    bench.up(1, false);
    let answered = addresses()[&PEER][0];
    let (mapped, moved) = ("[::ffff:10.0.0.2]:7000", "192.0.2.9:7000");
    assert_eq!(bench.links.address(PEER), Some(answered));
    bench.links.handle_place(LinkId(1), mapped.parse().unwrap());
    assert_eq!(
        bench.links.address(PEER),
        Some(answered),
        "the same by another name"
    );
    bench.links.handle_place(LinkId(1), moved.parse().unwrap());
    assert_eq!(bench.links.address(PEER), None);
    bench.links.handle_place(LinkId(1), answered);

    assert_eq!(bench.links.address(PEER), Some(answered));
}

#[test]
fn there_is_a_bound_on_connections() {
    let mut bench = Bench::new();
    for link in 0..LINKS as u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&link.to_be_bytes());
        let stranger = LinkUp {
            peer: NodeId::from_bytes(id),
            ..link_up(link, false)
        };
        bench.links.handle_link_up(stranger, &mut bench.rng, Boot(0));
    }
    bench.up(9_999_999, false);

    assert_eq!(bench.take(), [close(9_999_999, CloseReason::TooMany)]);
}

#[test]
fn another_connection_does_not_put_off_the_end_of_a_contest() {
    let mut bench = Bench::wanting();
    bench.take();
    bench.up(1, true);
    bench.up(2, false);
    bench.run_to(900);
    bench.up(3, false);
    bench.answer_all_but(0);
    bench.run_to(1_000);

    assert_eq!(bench.closed().len(), 2);
}

#[test]
fn a_fourth_connection_closes_the_oldest_loser_at_once() {
    let mut bench = Bench::wanting();
    bench.take();
    // The other node is the higher one: what we dialled goes before what it dialled.
    for (link, dialled_by_us) in [(1, true), (2, false), (3, false)] {
        bench.up(link, dialled_by_us);
    }
    assert_eq!(bench.closed(), []);
    bench.up(4, false);

    assert_eq!(bench.closed(), [close(2, CloseReason::Duplicate)]);
    assert_eq!(bench.links.current(PEER), Some(LinkId(1)), "none has answered");
}

#[test]
fn one_peer_takes_neither_the_place_of_others_nor_more_questions_with_each_connection() {
    let mut bench = Bench::new();
    for link in 0..500 {
        // Just before a contest would end.
        bench.run_to(900 * link);
        bench.up(link, false);
    }

    assert!(bench.links.by_link.len() <= LIVE, "{}", bench.links.by_link.len());
    assert!(bench.asked.len() <= 500 * 8, "{}", bench.asked.len());
}

proptest! {
    /// Against every order of connections, answers and waits: never more than [`LIVE`], never two for longer than a
    /// contest, and questions in proportion to connections.
    #[test]
    fn the_connections_of_one_peer_are_bounded(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        let (mut open, mut several_since) = (BTreeSet::new(), None);
        let (mut next, mut asked) = (0, 0);
        for step in steps {
            match step {
                Step::Up(dialled_by_us) => {
                    next += 1;
                    open.insert(next);
                    bench.up(next, dialled_by_us);
                }
                Step::Down(nth) => {
                    if let Some(link) = open.iter().nth(nth).copied() {
                        open.remove(&link);
                        bench.down(link);
                    }
                }
                Step::Answer(silent) => {
                    asked += bench.asked.len();
                    bench.reply_to_all_but(silent);
                }
                Step::Wait(millis) => bench.run_to(bench.now.0 + millis),
            }
            for effect in bench.closed() {
                if let LinkEffect::Close { link, .. } = effect {
                    prop_assert!(open.remove(&link.0));
                }
            }
            prop_assert!(open.len() <= LIVE, "{open:?}");
            prop_assert_eq!(bench.links.by_link.len(), open.len());
            several_since = (open.len() > 1).then(|| several_since.unwrap_or(bench.now));
            let lasts = several_since.map_or(0, |since: Boot| bench.now.since(since).as_millis());
            prop_assert!(lasts <= 1_000, "{lasts} ms");
        }
        // Each is asked when it comes, and with the others at most three times more in the second of a contest.
        prop_assert!(asked + bench.asked.len() <= 8 * (next as usize), "{asked} of {next}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Up(bool),
    Down(usize),
    /// All but one are answered.
    Answer(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(Step::Up),
        1 => (0_usize..3).prop_map(Step::Down),
        1 => (0_u64..20).prop_map(Step::Answer),
        2 => (1_u64..999).prop_map(Step::Wait),
    ]
}

struct Bench {
    links: Links,
    rng: StdRng,
    now: Boot,
    effects: Vec<LinkEffect>,
    asked: Vec<(u64, u64)>,
    /// The newest probe first.
    probed: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let probing = Probing {
            rest: Duration::from_secs(5),
            doubt: Duration::from_secs(1),
        };

        Self {
            links: Links::new(US, probing),
            rng: StdRng::seed_from_u64(1),
            now: Boot(0),
            effects: Vec::new(),
            asked: Vec::new(),
            probed: Vec::new(),
        }
    }

    fn wanting() -> Self {
        let mut bench = Self::new();
        bench.links.handle_candidates(&addresses(), Boot(0));
        bench.links.handle_wants(&want(false), &mut bench.rng, Boot(0));
        bench.run_to(0);
        bench
    }

    fn up(&mut self, link: u64, dialled_by_us: bool) {
        let up = link_up(link, dialled_by_us);
        self.links.handle_link_up(up, &mut self.rng, self.now);
        self.drain();
    }

    fn down(&mut self, link: u64) {
        self.links.handle_link_down(LinkId(link), &mut self.rng, self.now);
        self.drain();
    }

    fn run_to(&mut self, at: u64) {
        while let Some(due) = self.links.poll_timeout().filter(|due| due.0 <= at) {
            self.now = self.now.max(due);
            self.links.handle_timeout(false, &mut self.rng, self.now);
            self.drain();
        }
        self.now = self.now.max(Boot(at));
    }

    /// Answers whatever was asked over other connections than this, none of which is over.
    fn answer_all_but(&mut self, silent: u64) {
        let meant = self.reply_to_all_but(silent);
        assert!(meant.iter().all(|meant| *meant == Reply::Answered), "{meant:?}");
    }

    fn reply_to_all_but(&mut self, silent: u64) -> Vec<Reply> {
        let mut meant = Vec::new();
        for (link, probe) in std::mem::take(&mut self.asked) {
            let reply = ProbeReply {
                probe,
                path: PathTag::Direct,
                observed_from: US,
                received: 1,
            };
            if link != silent {
                meant.push(self.links.handle_reply(PEER, &reply, self.now));
            }
        }
        self.drain();

        meant
    }

    fn answer(&mut self, probe: u64) -> Reply {
        let reply = ProbeReply {
            probe,
            path: PathTag::Direct,
            observed_from: US,
            received: 1,
        };

        self.links.handle_reply(PEER, &reply, self.now)
    }

    fn drain(&mut self) {
        while let Some(effect) = self.links.poll_effect() {
            match effect {
                LinkEffect::Ask { link, probe, .. } => self.asked.push((link.0, probe)),
                LinkEffect::Probe { peer } => {
                    let begun = self.links.begin_probe(peer, 1, self.now);
                    self.probed.splice(0..0, begun);
                    self.effects.push(effect);
                }
                LinkEffect::Close { .. } | LinkEffect::Dial { .. } => self.effects.push(effect),
            }
        }
    }

    fn take(&mut self) -> Vec<LinkEffect> {
        std::mem::take(&mut self.effects)
    }

    fn closed(&mut self) -> Vec<LinkEffect> {
        let is_close = |effect: &LinkEffect| matches!(effect, LinkEffect::Close { .. });
        self.take().into_iter().filter(is_close).collect()
    }
}

fn link_up(link: u64, dialled_by_us: bool) -> LinkUp {
    LinkUp {
        link: LinkId(link),
        peer: PEER,
        dialled_by_us,
        address: addresses()[&PEER][0],
    }
}

fn dial() -> LinkEffect {
    LinkEffect::Dial {
        peer: PEER,
        candidates: addresses()[&PEER].clone(),
    }
}

fn close(link: u64, why: CloseReason) -> LinkEffect {
    let peer = PEER;

    LinkEffect::Close {
        peer,
        link: LinkId(link),
        why,
    }
}

fn addresses() -> BTreeMap<NodeId, Vec<SocketAddr>> {
    [(PEER, vec!["10.0.0.2:7000".parse().unwrap()])].into()
}

fn want(probe: bool) -> BTreeMap<NodeId, Want> {
    let want = Want {
        link: true,
        probe,
        meet: false,
    };

    [(PEER, want)].into()
}

const US: NodeId = NodeId::from_bytes([1; 16]);
const PEER: NodeId = NodeId::from_bytes([2; 16]);
