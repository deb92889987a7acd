//! One end of a meeting, and two ends with a relay between them.

use proptest::prelude::*;
use protocol::id::LeaseId;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

#[test]
fn both_ends_dial_at_the_same_moment_whatever_the_way_to_the_relay() {
    for (near, far) in [(5, 5), (80, 5), (5, 80), (400, 300)] {
        let (low, high) = two_ends(near, far);
        let moment = |dials: &[(u64, Vec<SocketAddr>)]| dials.first().expect("it dials").0;
        let apart = moment(&low.dials).abs_diff(moment(&high.dials));

        assert!(apart <= 2, "{near} and {far} ms from the relay: {apart} ms apart");
        assert_eq!(low.dials[0].1, [address(HIGH_SEEN)], "{near} {far}");
        assert_eq!(high.dials[0].1, [address(LOW_SEEN)], "{near} {far}");
    }
}

#[test]
fn an_address_is_dialled_only_if_the_neighbour_claims_it_and_the_relay_sees_it_there() {
    let victim = address(666);
    for (claimed, seen, dialled) in [
        (vec![victim], Some(HIGH_SEEN), vec![]),
        (vec![address(HIGH_SEEN)], Some(666), vec![]),
        (vec![victim], None, vec![]),
        (
            vec![victim, address(HIGH_SEEN)],
            Some(HIGH_SEEN),
            vec![address(HIGH_SEEN)],
        ),
    ] {
        let mut end = End::new(LOW, HIGH);
        end.ground(Some(ground(20)), Boot(0));
        end.hear(ask(9), claimed.clone(), Boot(10));
        if let Some(seen) = seen {
            end.meetings.handle_seen(HIGH, path(), address(seen));
        }
        end.run_to(1_000);

        assert_eq!(end.dials.len(), 1, "what the config names may work");
        assert_eq!(end.dials[0].1, dialled, "{claimed:?} {seen:?}");
    }
}

#[test]
fn a_pair_that_cannot_meet_asks_ever_more_rarely() {
    let mut end = End::new(LOW, HIGH);
    end.ground(Some(ground(20)), Boot(0));
    end.run_to(3_600_000);
    let asked = &end.said;
    let within = |from: u64, to: u64| asked.iter().filter(|(at, _)| (from..to).contains(at)).count();

    assert!((2..=4).contains(&within(0, 60_000)), "{asked:?}");
    assert!(within(600_000, 3_600_000) <= 7, "{asked:?}");
    assert!(
        within(3_000_000, 3_600_000) >= 1,
        "and never gives up for good: {asked:?}"
    );
}

#[test]
fn a_pair_asks_soon_again_when_our_own_addresses_change_and_not_when_they_do_not() {
    let mut end = End::new(LOW, HIGH);
    end.own(&[1, 2], 0);
    end.ground(Some(ground(20)), Boot(0));
    end.run_to(3_000_000);
    let before = end.said.len();
    end.own(&[2, 1], 3_000_000);
    end.run_to(3_010_000);
    assert!(end.said.len() <= before + 1, "the same addresses are no news");
    let before = end.said.len();
    end.own(&[1, 3], 3_010_000);
    end.run_to(3_020_000);

    assert!(end.said.len() > before);
    let (_, last) = end.said.last().expect("it asked");
    assert_eq!(last.addresses, [1, 3].map(|port| Address(address(port))));
}

#[test]
fn who_is_connected_or_cannot_be_heard_neither_asks_nor_agrees() {
    let mut end = End::new(LOW, HIGH);
    end.ground(None, Boot(0));
    end.hear(ask(1), vec![address(HIGH_SEEN)], Boot(5));
    end.run_to(600_000);

    assert!(end.said.is_empty() && end.dials.is_empty());
    end.ground(Some(ground(20)), Boot(600_000));
    end.hear(ask(2), Vec::new(), Boot(600_001));
    assert!(
        end.meetings.handle_linked(HIGH, Boot(600_002)),
        "an agreed meeting led to it"
    );
    end.ground(None, Boot(600_002));
    end.run_to(1_200_000);
    assert!(end.dials.is_empty(), "it was over before the moment came");
    assert!(!end.meetings.handle_linked(HIGH, Boot(600_002)));
}

#[test]
fn an_agreement_counts_once_and_only_for_what_was_asked() {
    let mut end = End::new(LOW, HIGH);
    end.ground(Some(ground(20)), Boot(0));
    end.run_to(5_000);
    let number = end.said[0].1.number;
    end.hear(agreement(number.wrapping_add(1)), Vec::new(), Boot(5_000));
    let elsewhere = Ground {
        path: PathTag::Relay {
            lease: LeaseId::from_bytes([8; 16]),
            generation: 1,
        },
        ..ground(20)
    };
    end.meetings
        .handle_meet(HIGH, elsewhere, &agreement(number), Boot(5_000));
    end.run_to(5_500);
    assert!(end.dials.is_empty(), "{:?}", end.dials);
    for _ in 0..3 {
        end.hear(agreement(number), Vec::new(), Boot(5_500));
        end.run_to(7_000);
    }

    assert_eq!(end.dials.len(), 1);
}

#[test]
fn of_two_that_ask_each_other_at_once_the_lower_one_is_heard() {
    let (mut low, mut high) = (End::new(LOW, HIGH), End::new(HIGH, LOW));
    low.ground(Some(ground(20)), Boot(0));
    high.ground(Some(ground(20)), Boot(0));
    low.run_to(6_000);
    high.run_to(6_000);
    let (from_low, from_high) = (low.said[0].1.clone(), high.said[0].1.clone());
    low.hear(from_high, Vec::new(), Boot(6_000));
    high.hear(from_low.clone(), Vec::new(), Boot(6_000));

    assert_eq!(low.said.len(), 1, "it waits for the answer to its own");
    let answer = &high.said.last().expect("it answers").1;
    assert_eq!((answer.number, answer.agreed), (from_low.number, true));
}

proptest! {
    /// Whatever a neighbour and a relay send, and whenever, nobody is made to dial more than three times a minute for
    /// them, and never at what only one of the two says.
    #[test]
    fn no_liar_makes_us_dial_often_or_where_he_likes(
        words in prop::collection::vec((0_u64..2_000, 0_u8..4, 1_u16..6, 4_u16..9), 1..400)
    ) {
        let mut end = End::new(LOW, HIGH);
        end.ground(Some(ground(20)), Boot(0));
        let (mut now, mut claims, mut sights) = (0, Vec::new(), Vec::new());
        for (pause, word, claimed, seen) in words {
            now += pause;
            end.run_to(now);
            let asked = end.said.last().map_or(0, |(_, meet)| meet.number);
            if word < 2 {
                claims.push((now, address(claimed)));
            }
            match word {
                0 => end.hear(ask(now), vec![address(claimed)], Boot(now)),
                1 => end.hear(agreement(asked), vec![address(claimed)], Boot(now)),
                2 => {
                    sights.push((now, address(seen)));
                    end.meetings.handle_seen(HIGH, path(), address(seen));
                }
                _ => end.ground(Some(ground(u64::from(claimed) * 300)), Boot(now)),
            }
        }
        end.run_to(now + 60_000);

        // Of all dials for this neighbour, ours included, its own count lets through no more (see `links/dial.rs`).
        let theirs: Vec<u64> = end.dialled_for.iter().filter(|(_, agreed)| *agreed).map(|(at, _)| *at).collect();
        prop_assert!(theirs.windows(4).all(|four| four[3] - four[0] >= 60_000), "{theirs:?}");
        let asked = end.said.iter().filter(|(_, meet)| !meet.agreed).count();
        prop_assert!(end.dials.len() - theirs.len() <= asked, "one dial for each time that we asked");
        for (at, vouched) in &end.dials {
            prop_assert!(vouched.len() <= 1, "{vouched:?}");
            let within = |said: &[(u64, SocketAddr)], address: SocketAddr| {
                let of_meeting = said.iter().filter(|(when, _)| (at.saturating_sub(8_000)..=*at).contains(when));

                of_meeting.map(|(_, said)| *said).any(|said| said == address)
            };
            for address in vouched.iter().copied() {
                prop_assert!(within(&claims, address), "the neighbour did not claim {address} at {at}");
                prop_assert!(within(&sights, address), "the relay did not see it at {address} at {at}");
            }
        }
    }
}

#[test]
fn a_hub_that_moves_asks_few_at_a_time_and_everybody_in_the_end() {
    let peers: Vec<NodeId> = (10..110).map(|peer| NodeId::from_bytes([peer; 16])).collect();
    let mut hub = End::new(LOW, HIGH);
    let grounds = peers.iter().map(|peer| (*peer, Some(ground(20)))).collect();
    hub.meetings.handle_grounds(&grounds, &mut hub.rng, Boot(0));
    hub.own(&[1], 0);
    hub.run_to(60_000);
    let at_once = |at: u64| {
        hub.said
            .iter()
            .filter(|(said, _)| (at..at + 7_999).contains(said))
            .count()
    };
    let most = (0..60_000).step_by(100).map(at_once).max();

    assert_eq!(most, Some(AT_ONCE), "nobody answers: a place is free after 8 s");
    assert!(hub.said.len() >= 6 * AT_ONCE, "{}", hub.said.len());
    let said = |hub: &End, peer: &NodeId| hub.to.iter().filter(|to| *to == peer).count();
    assert!(
        peers.iter().all(|peer| said(&hub, peer) <= 1),
        "nobody twice before all were asked"
    );
    hub.run_to(120_000);
    assert!(peers.iter().all(|peer| said(&hub, peer) >= 1));
}

#[test]
fn a_meeting_that_led_to_a_connection_makes_room_at_once() {
    let mut hub = End::new(LOW, HIGH);
    let grounds = (10..30)
        .map(|peer| (NodeId::from_bytes([peer; 16]), Some(ground(20))))
        .collect();
    hub.meetings.handle_grounds(&grounds, &mut hub.rng, Boot(0));
    hub.run_to(5_000);
    assert_eq!(hub.said.len(), AT_ONCE);
    for met in AT_ONCE..20 {
        let peer = hub.to[met - AT_ONCE];
        hub.meetings.handle_linked(peer, Boot(5_000));
        hub.run_to(5_000);
        assert_eq!(hub.said.len(), met + 1, "the next is asked in the same moment");
    }
}

#[test]
fn a_hub_agrees_to_few_at_a_time() {
    let mut hub = End::new(HIGH, LOW);
    let peers: Vec<NodeId> = (10..30).map(|peer| NodeId::from_bytes([peer; 16])).collect();
    let grounds = peers.iter().map(|peer| (*peer, Some(ground(20)))).collect();
    hub.meetings.handle_grounds(&grounds, &mut hub.rng, Boot(0));
    for peer in &peers {
        hub.meetings.handle_meet(*peer, ground(20), &ask(1), Boot(1));
        hub.take(Boot(1));
    }
    assert_eq!(hub.said.iter().filter(|(_, meet)| meet.agreed).count(), AT_ONCE);
    hub.meetings.handle_linked(peers[0], Boot(2));
    hub.meetings.handle_meet(peers[19], ground(20), &ask(2), Boot(2));
    hub.take(Boot(2));

    assert_eq!(
        hub.said.iter().filter(|(_, meet)| meet.agreed).count(),
        AT_ONCE + 1
    );
}

/// One end, driven as its mesh would.
struct End {
    meetings: Meetings,
    peer: NodeId,
    rng: StdRng,
    said: Vec<(u64, Meet)>,
    /// To whom each of these was said.
    to: Vec<NodeId>,
    looked: Vec<u64>,
    dials: Vec<(u64, Vec<SocketAddr>)>,
    /// When, and whether the other end had asked for it.
    dialled_for: Vec<(u64, bool)>,
}

impl End {
    fn new(us: NodeId, peer: NodeId) -> Self {
        Self {
            meetings: Meetings::new(us),
            peer,
            rng: StdRng::seed_from_u64(7),
            said: Vec::new(),
            to: Vec::new(),
            looked: Vec::new(),
            dials: Vec::new(),
            dialled_for: Vec::new(),
        }
    }

    fn ground(&mut self, ground: Option<Ground>, now: Boot) {
        let grounds = BTreeMap::from([(self.peer, ground)]);
        self.meetings.handle_grounds(&grounds, &mut self.rng, now);
    }

    fn own(&mut self, ports: &[u16], now: u64) {
        let own = ports.iter().map(|port| Address(address(*port))).collect();
        self.meetings.handle_own_addresses(own, &mut self.rng, Boot(now));
    }

    fn hear(&mut self, meet: Meet, claimed: Vec<SocketAddr>, now: Boot) {
        let meet = Meet {
            addresses: claimed.into_iter().map(Address).collect(),
            ..meet
        };
        self.meetings.handle_meet(self.peer, ground(20), &meet, now);
        self.take(now);
    }

    fn run_to(&mut self, end: u64) {
        while let Some(at) = self.meetings.poll_timeout().filter(|at| at.0 <= end) {
            self.meetings.handle_timeout(&mut self.rng, at);
            self.take(at);
        }
    }

    fn take(&mut self, now: Boot) {
        while let Some(effect) = self.meetings.poll_effect() {
            match effect {
                MeetingEffect::Dial { vouched, .. } => {
                    let (_, last) = self.said.last().expect("a meeting is agreed on first");
                    self.dialled_for.push((now.0, last.agreed));
                    self.dials.push((now.0, vouched));
                }
                MeetingEffect::Look { .. } => self.looked.push(now.0),
                MeetingEffect::Say { peer, meet, .. } => {
                    self.to.push(peer);
                    self.said.push((now.0, meet));
                }
            }
        }
    }
}

/// Lets two ends that are `near` and `far` milliseconds from their relay meet.
fn two_ends(near: u64, far: u64) -> (End, End) {
    let (mut low, mut high) = (End::new(LOW, HIGH), End::new(HIGH, LOW));
    low.own(&[1, LOW_SEEN], 0);
    high.own(&[1, HIGH_SEEN], 0);
    let ground = ground(2 * (near + far));
    low.ground(Some(ground), Boot(0));
    high.ground(Some(ground), Boot(0));
    let mut ends = [low, high];
    let (mut heard, mut answered) = ([0; 2], [0; 2]);
    for now in 0..20_000 {
        for end in &mut ends {
            end.run_to(now);
        }
        for (from, to_relay, port) in [(0, near, HIGH_SEEN), (1, far, LOW_SEEN)] {
            if let Some((at, meet)) = ends[from].said.get(heard[from]).cloned()
                && at + near + far <= now
            {
                heard[from] += 1;
                let to = &mut ends[1 - from];
                to.meetings.handle_meet(to.peer, ground, &meet, Boot(now));
                to.take(Boot(now));
            }
            let asked = ends[from].looked.get(answered[from]);
            if asked.is_some_and(|at| at + 2 * to_relay <= now) {
                answered[from] += 1;
                let peer = ends[from].peer;
                ends[from].meetings.handle_seen(peer, path(), address(port));
            }
        }
    }
    let [low, high] = ends;

    (low, high)
}

fn ask(number: u64) -> Meet {
    Meet {
        number,
        agreed: false,
        addresses: Vec::new(),
    }
}

fn agreement(number: u64) -> Meet {
    Meet {
        agreed: true,
        ..ask(number)
    }
}

fn ground(rtt_ms: u64) -> Ground {
    Ground {
        path: path(),
        relay: NodeId::from_bytes([5; 16]),
        rtt: Duration::from_millis(rtt_ms),
        carries: true,
    }
}

const fn path() -> PathTag {
    PathTag::Relay {
        lease: LeaseId::from_bytes([9; 16]),
        generation: 1,
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 7], port))
}

const LOW: NodeId = NodeId::from_bytes([1; 16]);
const HIGH: NodeId = NodeId::from_bytes([2; 16]);
const LOW_SEEN: u16 = 1_001;
const HIGH_SEEN: u16 = 1_002;
