//! Killed after any single step: each effect, and each file of each write. What was not persisted is gone.

use std::time::Duration;

use protocol::envelope::Kind;
use protocol::id::NodeId;
use protocol::wire::Have;

use super::super::documents::Kept;
use super::super::identity::Standing;
use super::super::{Status, boot};
use super::cluster::Cluster;
use super::host::{Host, config, seed};

/// Updates that follow the enrolment.
const UPDATES: u64 = 5;

#[test]
fn killed_between_any_two_steps_it_boots_with_the_old_or_the_new_state() {
    let whole = life(None);
    let boundaries = whole.steps;
    assert!(
        boundaries > 60,
        "only {boundaries} boundaries: the run did not get far"
    );

    for boundary in 0..boundaries {
        let mut host = life(Some(boundary));
        judge(&host, boundary);

        let again = config(&host.cluster);
        host.restart(again, &seed(7));
        host.run(Duration::from_secs(30));
        while host.cluster.revision <= UPDATES {
            update(&mut host).expect("nobody kills this host again");
        }
        assert_eq!(
            in_force(&host),
            in_force(&whole),
            "boundary {boundary}: the end is the same"
        );
        assert_eq!(
            host.cluster.requests.len(),
            1,
            "boundary {boundary}: one key, one request"
        );
        judge(&host, boundary);
    }
}

/// A life from the token to the last update, killed after `dies_at` steps.
fn life(dies_at: Option<usize>) -> Host {
    let mut host = Host::new(Cluster::new());
    host.dies_at = dies_at;
    let lived = host
        .try_run(Duration::from_secs(6))
        .and_then(|()| (0..UPDATES).try_for_each(|_| update(&mut host)));
    assert_eq!(lived.is_err(), dies_at.is_some());

    host
}

fn update(host: &mut Host) -> Result<(), super::host::Killed> {
    host.cluster.publish();
    host.push_news();
    host.try_run(Duration::from_secs(5))
}

/// What must hold of the disk at every moment.
fn judge(host: &Host, boundary: usize) {
    let persisted = boot(&host.disk).unwrap_or_else(|error| panic!("boundary {boundary}: {error}"));
    assert_eq!(persisted.damaged(), [], "boundary {boundary}");
    if let Some(named) = host.cluster.enrolled_with.last() {
        assert_eq!(
            key(&persisted.standing),
            Some(*named),
            "boundary {boundary}: a key was named and lost"
        );
    }
    if host.identities > 0 {
        assert!(
            persisted.is_member(),
            "boundary {boundary}: an identity was used and lost"
        );
    }
    let kept = &persisted.kept;
    for have in kept.snapshot.have() {
        let mark = mark(kept, have.kind).expect("what is kept has a mark");
        assert!(
            mark >= have.version,
            "boundary {boundary}: the mark of {:?} is behind",
            have.kind
        );
    }
    // A revocation list only takes away: it is applied before it is written.
    let guarded = |kind: &Kind| *kind != Kind::RevocationList;
    for (kind, version) in host.adopted.iter().filter(|(kind, _)| guarded(kind)) {
        let mark = mark(kept, *kind);
        assert!(
            mark >= Some(*version),
            "boundary {boundary}: {kind:?} {version} was adopted above its mark"
        );
    }
    assert!(
        whole(kept),
        "boundary {boundary}: a mixed state: {:?}",
        kept.snapshot.have()
    );
    if let Some((_, adopted)) = host.adopted.iter().rfind(|(kind, _)| *kind == Kind::LeaseTable) {
        let kept = version(kept, Kind::LeaseTable).expect("kept");
        assert!(
            (*adopted..=adopted + 1).contains(&kept),
            "boundary {boundary}: neither old nor new"
        );
    }
}

/// Whether the node's own documents are all of one revision, or none is there.
fn whole(kept: &Kept) -> bool {
    let versions: Vec<Option<u64>> = [Kind::SyntheticConfig, Kind::Routes, Kind::LeaseTable]
        .map(|kind| version(kept, kind))
        .to_vec();

    versions.iter().all(|version| *version == versions[0])
}

fn version(kept: &Kept, kind: Kind) -> Option<u64> {
    let have = kept.snapshot.have();

    have.iter()
        .find(|have| have.kind == kind)
        .map(|have| have.version)
}

fn mark(kept: &Kept, kind: Kind) -> Option<u64> {
    kept.marks.of(kind).map(|have| have.version)
}

fn key(standing: &Standing) -> Option<protocol::key::VerifyKey> {
    match standing {
        Standing::Joining(joining) => Some(joining.keys.node.verify_key()),
        Standing::Member(member) => Some(member.keys.node.verify_key()),
        Standing::Stranger => None,
    }
}

fn in_force(host: &Host) -> (NodeId, Vec<Have>) {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    (status.node, status.have)
}
