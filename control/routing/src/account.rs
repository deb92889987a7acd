//! Gives account of a decision: why this path, and what became of the others.

use protocol::document::routes::Reason;

use crate::candidate::Candidate;
use crate::reasons::Reasons;
use crate::route::{CONSIDERED, Considered, Verdict};
use crate::via::Via;

/// What speaks for the chosen path, what spoke against the one before, and how it compares with the others.
pub(crate) fn reasons(candidates: &[Candidate<'_>], chosen: &Candidate<'_>, before: Option<Via>) -> Reasons {
    let left = candidates
        .iter()
        .find(|found| Some(found.via) == before && found.via != chosen.via)
        .map_or(Reasons::EMPTY, |found| found.reasons);
    let class = chosen.score.class;
    let others = || {
        let open = candidates
            .iter()
            .filter(|found| found.is_open() && found.via != chosen.via);

        open.map(|found| found.score.class)
    };
    let is_alone = others().next().is_none();
    let is_kept = before == Some(chosen.via);
    let compared = [
        (is_alone, Reason::OnlyCandidate),
        (others().any(|other| other < class), Reason::HeldBack),
        (is_kept && others().any(|other| other == class), Reason::Sticky),
        (chosen.via == Via::Direct && !is_alone, Reason::DirectPreferred),
    ];
    let compared = compared.into_iter().filter(|(holds, _)| *holds);
    let grave = left.intersection(GRAVE.into_iter().collect());

    chosen
        .reasons
        .union(grave)
        .union(compared.map(|(_, reason)| reason).collect())
}

/// The candidates as they stand: the chosen one, its standbys in their order, and the others, best first.
pub(crate) fn considered(
    candidates: &[Candidate<'_>],
    chosen: &Candidate<'_>,
    standbys: &[&Candidate<'_>],
) -> Vec<Considered> {
    let is_taken = |via: Via| chosen.via == via || standbys.iter().any(|standby| standby.via == via);
    let standbys = standbys.iter().map(|standby| (*standby, Verdict::Standby));
    let others = candidates.iter().filter(|found| !is_taken(found.via));
    let all = [(chosen, Verdict::Chosen)]
        .into_iter()
        .chain(standbys)
        .chain(others.map(|found| (found, Verdict::Refused)));
    let rows = all.map(|(found, verdict)| {
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
