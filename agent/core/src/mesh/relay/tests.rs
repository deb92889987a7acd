//! The relay against each rule, and against a model that is too slow to ship.

use proptest::prelude::*;
use protocol::document::routes::{LeaseKind, LeaseRow};
use protocol::frame::{BootTag, Form, Sequence};

use super::*;

#[test]
fn frames_pass_between_the_two_ends_of_a_row_and_nobody_else() {
    let mut relay = fresh_relay();

    assert_eq!(carry(&mut relay, A, 1, 10), Ok(passage(B)));
    assert_eq!(carry(&mut relay, B, 1, 10), Ok(passage(A)));
    assert_eq!(carry(&mut relay, C, 1, 10), Err(Refusal::NotLeased));
    assert_eq!(
        ask(&mut relay, A, &header(lease(9), 1), 10),
        Err(Refusal::NotLeased)
    );
}

#[test]
fn what_a_row_carried_and_refused_is_told_once_and_again_when_it_grows() {
    let mut relay = fresh_relay();
    assert_eq!(relay.take_carried(), [], "nothing happened");
    carry(&mut relay, A, 1, 10).expect("leased");
    carry(&mut relay, B, 1, 11).expect("leased");
    carry(&mut relay, A, 2, 12).expect_err("a generation that was not granted");
    let told = relay.take_carried();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].lease, told[0].forwarded, told[0].refused),
        (lease(1), 2, 1)
    );
    assert!(told[0].forwarded_bytes > 0);
    assert_eq!(relay.take_carried(), [], "told");
    carry(&mut relay, A, 1, 13).expect("leased");

    assert_eq!(relay.take_carried()[0].forwarded, 3, "counted from the start");
}

#[test]
fn a_table_that_is_too_long_for_one_report_is_told_in_turn() {
    let mut relay = Relay::new();
    let rows: Vec<LeaseRow> = (0..2_000).map(numbered).collect();
    relay.handle_table(&LeaseTable { rows }, Boot(0));
    relay.handle_fresh(Boot(0), Boot(0));
    let touch = |relay: &mut Relay| {
        for number in 0..2_000 {
            let header = header(numbered(number).lease, 1);
            ask(relay, A, &header, 10).expect("leased");
        }
    };
    let mut told = BTreeSet::new();
    for _ in 0..4 {
        touch(&mut relay);
        let report = relay.take_carried();
        assert!(report.len() <= CARRIED);
        told.extend(report.into_iter().map(|row| row.lease));
    }

    assert_eq!(told.len(), 2_000, "each had its turn, busy as they all are");
}

fn numbered(number: u32) -> LeaseRow {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());

    LeaseRow {
        lease: LeaseId::from_bytes(id),
        ..row(1, A, B, 1)
    }
}

#[test]
fn payload_is_refused_whatever_the_lease() {
    let mut relay = fresh_relay();
    let payload = FrameHeader {
        class: Class::Payload,
        ..header(lease(1), 1)
    };

    assert_eq!(
        ask(&mut relay, A, &payload, 10),
        Err(Refusal::PayloadForwardingDisabled)
    );
}

#[test]
fn a_rendezvous_lease_lets_pass_what_ends_say_to_meet_and_nothing_else() {
    let mut relay = meeting_relay();
    let of = |class| FrameHeader {
        class,
        ..header(lease(1), 1)
    };
    for (class, why) in [
        (Class::RouteControl, Refusal::MeetingOnly),
        (Class::Synthetic, Refusal::MeetingOnly),
        (Class::Telemetry, Refusal::MeetingOnly),
        (Class::Payload, Refusal::PayloadForwardingDisabled),
    ] {
        assert_eq!(ask(&mut relay, A, &of(class), 10), Err(why));
    }
    assert_eq!(ask(&mut relay, A, &of(Class::FabricControl), 10), Ok(passage(B)));
    assert_eq!(
        ask(&mut relay, C, &of(Class::FabricControl), 10),
        Err(Refusal::NotLeased)
    );

    let told = relay.take_carried();
    assert_eq!(
        (told[0].forwarded, told[0].refused),
        (1, 3),
        "payload is refused before a row is looked for"
    );
    assert_eq!(
        Refusal::MeetingOnly.told(),
        Some(protocol::frame::RefusalReason::NotLeased)
    );
}

#[test]
fn a_rendezvous_lease_lets_a_few_frames_pass_a_second_however_short_they_are() {
    let mut relay = meeting_relay();
    let header = FrameHeader {
        class: Class::FabricControl,
        ..header(lease(1), 1)
    };
    let mut passed = 0;
    for at in 0..4_000 {
        let freight = Freight {
            from: if at % 2 == 0 { A } else { B },
            header: &header,
            bytes: 100,
        };
        passed += usize::from(relay.carry(freight, &everybody, Boot(at)).is_ok());
    }

    assert!((4 * 7..=5 * 8).contains(&passed), "{passed} in four seconds");
}

#[test]
fn a_lower_generation_is_refused_also_when_a_table_brings_it_back() {
    let mut relay = fresh_relay();
    relay.handle_table(&table(&[row(1, A, B, 3)]), Boot(10));
    assert_eq!(carry(&mut relay, A, 1, 11), Err(Refusal::GenerationStale));
    assert_eq!(carry(&mut relay, A, 3, 11), Ok(passage(B)));
    assert_eq!(carry(&mut relay, A, 4, 11), Err(Refusal::NotLeased));

    relay.handle_table(&table(&[]), Boot(12));
    relay.handle_table(&table(&[row(1, A, B, 2)]), Boot(13));
    assert_eq!(carry(&mut relay, A, 2, 14), Err(Refusal::NotLeased));
}

#[test]
fn a_relay_that_never_was_fresh_carries_nothing() {
    let mut relay = Relay::new();
    relay.handle_table(&table(&[row(1, A, B, 1)]), Boot(0));

    assert_eq!(carry(&mut relay, A, 1, 10), Err(Refusal::NotFresh));
    relay.handle_controllers_tried_in_vain(Boot(10), Boot(20));
    assert_eq!(carry(&mut relay, A, 1, 30), Err(Refusal::NotFresh));
}

#[test]
fn beyond_freshness_only_active_pairs_go_on_until_their_grace_is_over() {
    let mut relay = Relay::new();
    relay.handle_table(&table(&[row(1, A, B, 1), row(2, A, C, 1)]), Boot(0));
    relay.handle_fresh(Boot(0), Boot(0));
    for at in (0..GRACE).step_by(20_000) {
        assert_eq!(carry(&mut relay, A, 1, at), Ok(passage(B)), "at {at}");
    }

    let idle = ask(&mut relay, A, &header(lease(2), 1), 60_001);
    assert_eq!(idle, Err(Refusal::NotFresh));
    assert_eq!(carry(&mut relay, A, 1, GRACE), Err(Refusal::NotFresh));
    relay.handle_fresh(Boot(GRACE), Boot(GRACE));
    assert_eq!(carry(&mut relay, A, 1, GRACE), Ok(passage(B)));
}

#[test]
fn freshness_counts_from_when_the_poll_was_sent() {
    let mut relay = Relay::new();
    relay.handle_table(&table(&[row(1, A, B, 1)]), Boot(0));
    relay.handle_fresh(Boot(1_000), Boot(50_000));

    assert_eq!(carry(&mut relay, A, 1, 61_000), Ok(passage(B)));
    assert_eq!(relay.poll_timeout(), Some(Boot(61_001)));
    let mut other = Relay::new();
    other.handle_table(&table(&[row(1, A, B, 1)]), Boot(0));
    other.handle_fresh(Boot(1_000), Boot(50_000));
    assert_eq!(carry(&mut other, A, 1, 61_001), Err(Refusal::NotFresh));
}

#[test]
fn after_a_standstill_only_a_poll_sent_since_or_a_vain_search_opens_the_relay() {
    let mut relay = fresh_relay();
    relay.handle_still(Boot(10_000));
    assert_eq!(carry(&mut relay, A, 1, 10_000), Err(Refusal::StoodStill));
    relay.handle_fresh(Boot(9_999), Boot(10_001));
    assert_eq!(carry(&mut relay, A, 1, 10_001), Err(Refusal::StoodStill));
    relay.handle_fresh(Boot(10_001), Boot(10_020));
    assert_eq!(carry(&mut relay, A, 1, 10_021), Ok(passage(B)));

    relay.handle_still(Boot(20_000));
    relay.handle_controllers_tried_in_vain(Boot(19_999), Boot(21_000));
    assert_eq!(carry(&mut relay, A, 1, 21_001), Err(Refusal::StoodStill));
    relay.handle_controllers_tried_in_vain(Boot(20_000), Boot(22_000));
    assert_eq!(carry(&mut relay, A, 1, 22_001), Ok(passage(B)));
}

#[test]
fn a_poll_that_brings_nothing_newer_ends_a_standstill_and_renews_no_freshness() {
    let mut relay = fresh_relay();
    let fresh_at = relay.view(Boot(10)).fresh_at;
    relay.handle_still(Boot(10_000));
    relay.handle_controller_answered(Boot(9_999), Boot(10_010));
    assert_eq!(carry(&mut relay, A, 1, 10_011), Err(Refusal::StoodStill));
    relay.handle_controller_answered(Boot(10_000), Boot(10_020));

    assert_eq!(carry(&mut relay, A, 1, 10_021), Ok(passage(B)));
    assert_eq!(relay.view(Boot(10_021)).fresh_at, fresh_at);
}

#[test]
fn a_revoked_end_ends_its_pairs() {
    let mut relay = fresh_relay();
    relay.handle_revoked([B].into());

    assert_eq!(carry(&mut relay, A, 1, 10), Err(Refusal::EndRevoked));
    assert_eq!(carry(&mut relay, B, 1, 10), Err(Refusal::EndRevoked));
}

#[test]
fn the_budget_holds_for_both_directions_together() {
    let mut relay = fresh_relay();
    let mut passed = 0;
    for at in 0..2_000 {
        let from = if at % 2 == 0 { A } else { B };
        passed += usize::from(carry(&mut relay, from, 1, at).is_ok()) * FRAME;
    }

    // one second saved up, and two more
    assert!((3 * 16_384 - FRAME..=3 * 16_384).contains(&passed), "{passed}");
}

#[test]
fn a_far_end_that_is_away_costs_no_budget_and_is_no_activity() {
    let mut relay = fresh_relay();
    let nobody = |_: NodeId| None;
    for _ in 0..1_000 {
        let header = header(lease(1), 1);
        let freight = Freight {
            from: A,
            header: &header,
            bytes: FRAME,
        };
        let refused = relay.carry(freight, &nobody, Boot(10));
        assert_eq!(refused, Err(Refusal::FarEndAway));
    }

    assert_eq!(relay.view(Boot(10)).rows[0].active_at, None);
    assert_eq!(carry(&mut relay, A, 1, 10), Ok(passage(B)));
}

#[test]
fn refusals_are_told_at_a_bounded_rate_to_each() {
    let mut relay = fresh_relay();
    let told = (0..1_000).filter(|_| relay.may_tell(A, Boot(10))).count();

    assert_eq!(told as u64, TELLINGS);
    assert!(relay.may_tell(B, Boot(10)));
}

#[test]
fn a_relay_tells_when_it_stops_and_starts() {
    let mut relay = fresh_relay();
    let _ = std::iter::from_fn(|| relay.poll_change()).count();
    relay.handle_timeout(Boot(60_001));
    relay.handle_still(Boot(70_000));
    relay.handle_fresh(Boot(70_001), Boot(70_001));
    relay.handle_timeout(Boot(70_002));

    let changes: Vec<_> = std::iter::from_fn(|| relay.poll_change()).collect();
    assert_eq!(
        changes,
        [Some(RelayPause::NotFresh), Some(RelayPause::StoodStill), None]
    );
}

proptest! {
    /// The table agrees, step by step, with a model that keeps everything and looks through it.
    #[test]
    fn behaves_like_the_model(steps in prop::collection::vec(step(), 1..120)) {
        let (mut relay, mut model) = (Relay::new(), Model::default());
        let mut now = 1_000_000;
        for step in steps {
            match step {
                Step::Wait(millis) => now += millis,
                Step::Table(rows) => {
                    relay.handle_table(&table(&rows), Boot(now));
                    model.table(&rows);
                }
                Step::Fresh(ago) => {
                    relay.handle_fresh(Boot(now - ago), Boot(now));
                    model.fresh(now - ago);
                }
                Step::Still => {
                    relay.handle_still(Boot(now));
                    model.still = Some(now);
                }
                Step::Answered(ago) => {
                    relay.handle_controller_answered(Boot(now - ago), Boot(now));
                    model.heard(now - ago);
                }
                Step::Vain(ago) => {
                    relay.handle_controllers_tried_in_vain(Boot(now - ago), Boot(now));
                    model.heard(now - ago);
                }
                Step::Frame { from, lease: number, generation, class } => {
                    let header = FrameHeader { class, ..header(lease(number), generation) };
                    let found = ask(&mut relay, from, &header, now);
                    let expected = model.frame((from, class), number, generation, now);
                    prop_assert_eq!(found.map(|passage| passage.to).ok(), expected);
                }
            }
        }
    }
}

/// Every table ever, and every frame ever carried.
#[derive(Default)]
struct Model {
    tables: Vec<Vec<LeaseRow>>,
    fresh: Option<u64>,
    still: Option<u64>,
    carried: Vec<(u8, (NodeId, NodeId), u64)>,
    /// Tables since which a lease was in every one, so that its activity counts.
    dropped: Vec<(u8, usize)>,
}

impl Model {
    fn table(&mut self, rows: &[LeaseRow]) {
        self.tables.push(rows.to_vec());
        for number in 1..=3 {
            if self.row(number).is_none() {
                self.dropped.push((number, self.carried.len()));
            }
        }
    }

    fn fresh(&mut self, sent_at: u64) {
        self.fresh = self.fresh.max(Some(sent_at));
        self.heard(sent_at);
    }

    /// Controllers were heard, or all sought in vain, by what began then.
    fn heard(&mut self, began_at: u64) {
        if self.still.is_some_and(|still| began_at >= still) {
            self.still = None;
        }
    }

    /// The row in force: in the last table, and of no lower generation than in any.
    fn row(&self, number: u8) -> Option<LeaseRow> {
        let of_lease = |rows: &Vec<LeaseRow>| rows.iter().copied().find(|row| row.lease == lease(number));
        let highest = self
            .tables
            .iter()
            .filter_map(of_lease)
            .map(|row| row.generation)
            .max();

        self.tables
            .last()
            .and_then(of_lease)
            .filter(|row| Some(row.generation) == highest)
    }

    fn frame(
        &mut self,
        (from, class): (NodeId, Class),
        number: u8,
        generation: u32,
        now: u64,
    ) -> Option<NodeId> {
        let row = self.row(number)?;
        let to = match from {
            _ if from == row.low => row.high,
            _ if from == row.high => row.low,
            _ => return None,
        };
        let fresh_at = self.fresh?;
        let since = self
            .dropped
            .iter()
            .filter(|(dropped, _)| *dropped == number)
            .map(|(_, from)| *from)
            .max()
            .unwrap_or(0);
        let active = self.carried[since..].iter().any(|(carried, pair, at)| {
            *carried == number && *pair == (row.low, row.high) && now - at <= 60_000
        });
        let grace = fresh_at + 60_000 * u64::from(row.grace_minutes);
        let live = now - fresh_at <= 60_000 || (active && now < grace);
        let allowed = match row.kind {
            LeaseKind::Relay => class != Class::Payload,
            LeaseKind::Rendezvous => class == Class::FabricControl,
        };
        if row.generation != generation || self.still.is_some() || !live || !allowed {
            return None;
        }
        self.carried.push((number, (row.low, row.high), now));

        Some(to)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Table(Vec<LeaseRow>),
    Fresh(u64),
    Still,
    Answered(u64),
    Vain(u64),
    Frame {
        from: NodeId,
        lease: u8,
        generation: u32,
        class: Class,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop::sample::select(vec![A, B, C]);
    let kind = prop::sample::select(vec![LeaseKind::Relay, LeaseKind::Rendezvous]);
    let lease_row = (1_u8..4, 1_u32..4, kind).prop_map(|(number, generation, kind)| {
        let row = match number {
            1 => row(1, A, B, generation),
            2 => row(2, A, C, generation),
            _ => row(3, B, C, generation),
        };

        LeaseRow { kind, ..row }
    });
    let class = prop::sample::select(vec![
        Class::FabricControl,
        Class::RouteControl,
        Class::Synthetic,
        Class::Telemetry,
        Class::Payload,
    ]);
    let rows = prop::collection::btree_map(1_u8..4, lease_row, 0..4).prop_map(|rows| {
        let by_lease: BTreeMap<_, _> = rows.into_values().map(|row| (row.lease, row)).collect();
        by_lease.into_values().collect()
    });

    prop_oneof![
        2 => (0_u64..40_000).prop_map(Step::Wait),
        1 => (0_u64..600_000).prop_map(Step::Wait),
        2 => rows.prop_map(Step::Table),
        2 => (0_u64..90_000).prop_map(Step::Fresh),
        1 => Just(Step::Still),
        1 => (0_u64..90_000).prop_map(Step::Answered),
        1 => (0_u64..90_000).prop_map(Step::Vain),
        8 => (end, 1_u8..4, 1_u32..4, class)
            .prop_map(|(from, lease, generation, class)| Step::Frame { from, lease, generation, class }),
    ]
}

fn fresh_relay() -> Relay {
    let mut relay = Relay::new();
    relay.handle_table(&table(&[row(1, A, B, 1)]), Boot(0));
    relay.handle_fresh(Boot(0), Boot(0));
    relay
}

/// The same row, for meetings.
fn meeting_relay() -> Relay {
    let mut relay = fresh_relay();
    let meeting = LeaseRow {
        kind: LeaseKind::Rendezvous,
        budget_kib: 8,
        ..row(1, A, B, 1)
    };
    relay.handle_table(&table(&[meeting]), Boot(0));
    relay
}

fn carry(relay: &mut Relay, from: NodeId, generation: u32, at: u64) -> Result<Passage, Refusal> {
    ask(relay, from, &header(lease(1), generation), at)
}

fn ask(relay: &mut Relay, from: NodeId, header: &FrameHeader, at: u64) -> Result<Passage, Refusal> {
    let freight = Freight {
        from,
        header,
        bytes: FRAME,
    };

    relay.carry(freight, &everybody, Boot(at))
}

fn header(lease: LeaseId, generation: u32) -> FrameHeader {
    FrameHeader {
        class: Class::Synthetic,
        form: Form::Sealed,
        path: PathTag::Relay { lease, generation },
        boot: BootTag::from_bytes([1; 8]),
        sequence: Sequence(1),
    }
}

fn table(rows: &[LeaseRow]) -> LeaseTable {
    LeaseTable { rows: rows.to_vec() }
}

fn row(number: u8, low: NodeId, high: NodeId, generation: u32) -> LeaseRow {
    let budget_kib = 16;
    LeaseRow {
        lease: lease(number),
        low,
        high,
        generation,
        budget_kib,
        grace_minutes: 5,
        kind: LeaseKind::Relay,
    }
}

/// Each node's connection has the number of its first byte.
fn everybody(node: NodeId) -> Option<LinkId> {
    Some(LinkId(u64::from(node.as_bytes()[0])))
}

fn passage(to: NodeId) -> Passage {
    Passage {
        to,
        link: everybody(to).unwrap(),
    }
}

const fn lease(number: u8) -> LeaseId {
    LeaseId::from_bytes([number; 16])
}

const A: NodeId = NodeId::from_bytes([1; 16]);
const B: NodeId = NodeId::from_bytes([2; 16]);
const C: NodeId = NodeId::from_bytes([3; 16]);
const FRAME: usize = 1_000;
const GRACE: u64 = 5 * 60_000;
