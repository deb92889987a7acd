//! Gives account of a decision: why this path, and what became of the others.

use std::collections::BTreeSet;

use protocol::document::routes::Reason;

use crate::candidate::Candidate;
use crate::route::{CONSIDERED, Considered, Verdict};
use crate::via::Via;

/// What speaks for the chosen path, what spoke against the one before, and how it compares with the others.
pub(crate) fn reasons(candidates: &[Candidate], chosen: &Candidate, before: Option<Via>) -> BTreeSet<Reason> {
    let left = candidates
        .iter()
        .filter(|found| Some(found.via) == before && found.via != chosen.via)
        .flat_map(|found| found.reasons.iter().copied())
        .filter(|reason| GRAVE.contains(reason));
    let classes: Vec<_> = candidates
        .iter()
        .filter(|found| found.is_open() && found.via != chosen.via)
        .map(|found| found.score.class)
        .collect();
    let class = chosen.score.class;
    let is_alone = classes.is_empty();
    let is_kept = before == Some(chosen.via);
    let compared = [
        (is_alone, Reason::OnlyCandidate),
        (classes.iter().any(|other| *other < class), Reason::HeldBack),
        (is_kept && classes.contains(&class), Reason::Sticky),
        (chosen.via == Via::Direct && !is_alone, Reason::DirectPreferred),
    ];
    let compared = compared
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, reason)| reason);

    chosen
        .reasons
        .iter()
        .copied()
        .chain(left)
        .chain(compared)
        .collect()
}

/// The candidates as they stand: the chosen one, its standbys in their order, and the others, best first.
pub(crate) fn considered(candidates: &[Candidate], chosen: &Candidate, standbys: &[Via]) -> Vec<Considered> {
    let place = |via: Via| {
        if via == chosen.via {
            return (Verdict::Chosen, 0);
        }
        let rank = standbys.iter().position(|standby| *standby == via);

        rank.map_or((Verdict::Refused, 0), |rank| (Verdict::Standby, rank))
    };
    let mut all: Vec<((Verdict, usize), &Candidate)> =
        candidates.iter().map(|found| (place(found.via), found)).collect();
    all.sort_by_key(|(place, _)| *place);
    let rows = all.into_iter().map(|((verdict, _), found)| {
        let mut row = Considered::of(found, verdict);
        let is_slower = found.evidence.rtt_us.is_some() && found.score.class.rtt > chosen.score.class.rtt;
        if verdict == Verdict::Refused && is_slower {
            row.reasons.push(Reason::SlowerThanChosen);
            row.reasons.sort_unstable();
        }

        row
    });

    rows.take(CONSIDERED).collect()
}

/// What makes a path be left, rather than another one be preferred.
const GRAVE: [Reason; 7] = [
    Reason::Damped,
    Reason::DirectDown,
    Reason::StaleExactRelay,
    Reason::RelayOffline,
    Reason::RelayDraining,
    Reason::LossHigh,
    Reason::LinkDown,
];
