//! Enrolment, from a token to an identity on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::certificate::Holder;
use protocol::document::join::JoinContract;
use protocol::envelope::Kind;
use protocol::error::{Code, WireError};
use protocol::id::{NodeId, RequestId, TokenId};
use protocol::key::{SealSecret, SigningKey};
use protocol::token::{self, JoinToken};

use super::super::identity::Standing;
use super::super::{
    Config, Control, Disconnected, Effect, Event, FileName, JoinFailure, JoinStatus, Payload, Persisted, Pin,
    Status, boot,
};
use super::cluster::{Ca, Cluster, node};
use super::host::{Host, config, seed};

#[test]
fn a_machine_with_a_token_becomes_a_node() {
    let host = Host::member(Cluster::new());

    assert_eq!(host.cluster.enrolled_with.len(), 1);
    assert_eq!(host.identities, 1);
    assert!(
        host.events
            .iter()
            .any(|event| matches!(event, Event::JoinPending { .. }))
    );
    assert!(host.events.contains(&Event::Enrolled {
        node: node(),
        authority: host.cluster.authority().verify_key().fingerprint(),
    }));
    let Status::Member(status) = host.control.status() else {
        panic!("a member");
    };
    assert!(status.connected);
    assert_eq!(status.node, node());
    assert_eq!(status.have.len(), 5);
    assert_eq!(status.pin, host.cluster.authority().verify_key().fingerprint());
}

#[test]
fn keys_are_on_disk_before_the_request_that_names_them() {
    let mut host = Host::new(Cluster::new());
    for step in 0.. {
        host = Host::new(Cluster::new());
        host.dies_at = Some(step);
        if host.try_run(Duration::from_secs(2)).is_ok() {
            break;
        }
        for key in &host.cluster.enrolled_with {
            assert_eq!(key_on_disk(&host), Some(*key), "step {step}");
        }
    }
    assert_eq!(host.cluster.enrolled_with.len(), 1, "the last run got that far");
}

#[test]
fn the_pending_request_is_on_disk_before_it_is_asked_about() {
    let mut cluster = Cluster::new();
    cluster.approve = false;
    let mut host = Host::new(cluster);
    host.run(Duration::from_secs(10));

    let (_, request, _) = host.cluster.only_request();
    assert!(matches!(standing(&host), Standing::Joining(joining) if joining.request == Some(request)));
    assert_eq!(
        host.control.status(),
        Status::Joining(JoinStatus {
            request: Some(request),
            key: key_on_disk(&host).map(|key| key.fingerprint()),
            authority: Some(host.cluster.authority().verify_key().fingerprint()),
            endpoint: host.cluster.endpoints[0].clone(),
            leaving: false,
        })
    );
}

#[test]
fn a_lost_reply_is_asked_for_again_with_the_same_key() {
    let mut host = Host::new(Cluster::new());
    host.faults.lose_join_replies = 3;
    host.run(Duration::from_secs(120));

    let keys = &host.cluster.enrolled_with;
    assert!(keys.len() > 1 && keys.iter().all(|key| *key == keys[0]));
    assert_eq!(host.cluster.requests.len(), 1);
    assert_eq!(host.identities, 1);
}

#[test]
fn a_refusal_for_good_ends_with_its_code() {
    for code in [
        Code::TokenUnknown,
        Code::TokenConsumed,
        Code::TokenExpired,
        Code::WrongCluster,
        Code::SourceDenied,
        Code::NameTaken,
        Code::AlreadyDecided,
        Code::SignatureInvalid,
    ] {
        for pending_first in [false, true] {
            let error = WireError::new(code, "no");
            let mut cluster = Cluster::new();
            cluster.approve = false;
            let mut host = Host::new(cluster);
            if pending_first {
                host.run(Duration::from_secs(5));
            }
            host.cluster.refuse_join = Some(error.clone());
            host.run(Duration::from_secs(5));
            let asked = host.sent.len();
            host.run(Duration::from_secs(3600));

            assert_eq!(host.sent.len(), asked, "{code:?}: asks no more");
            let failure = JoinFailure::Refused(error);
            assert!(
                host.events.contains(&Event::JoinFailed(failure.clone())),
                "{code:?}"
            );
            assert_eq!(
                host.control.status(),
                Status::Ended {
                    failure: Some(failure)
                }
            );
            assert_eq!(host.control.poll_timeout(), None);
        }
    }
}

#[test]
fn a_refusal_that_may_pass_is_waited_out() {
    for code in [
        Code::Unavailable,
        Code::RateLimited,
        Code::StoreFull,
        Code::Sealed,
        Code::ReadOnly,
    ] {
        let mut host = Host::new(Cluster::new());
        host.cluster.refuse_join = Some(WireError::new(code, "later"));
        host.run(Duration::from_secs(60));
        assert_eq!(host.identities, 0, "{code:?}");

        host.cluster.refuse_join = None;
        host.run(Duration::from_secs(60));
        assert_eq!(host.identities, 1, "{code:?}");
        assert_eq!(host.cluster.requests.len(), 1);
    }
}

#[test]
fn a_controller_says_when_to_come_back() {
    let mut host = Host::new(Cluster::new());
    host.cluster.refuse_join = Some(WireError {
        retry_after_ms: Some(90_000),
        ..WireError::new(Code::RateLimited, "slowly")
    });
    host.run(Duration::from_secs(89));

    assert_eq!(host.sent.len(), 1);
}

#[test]
fn a_contract_that_does_not_fit_makes_no_node() {
    type Change = fn(&mut Cluster, &mut JoinContract);
    let changes: [(&str, Change); 5] = [
        ("request", |_, contract| {
            contract.request = RequestId::from_bytes([9; 16])
        }),
        ("key", |_, contract| {
            contract.key = SigningKey::from_seed(&[9; 32]).verify_key()
        }),
        ("authority", |_, contract| {
            contract.authority = SigningKey::from_seed(&[9; 32]).verify_key()
        }),
        ("node", |_, contract| contract.node = NodeId::from_bytes([9; 16])),
        ("certificate", |cluster, contract| {
            let foreign = Ca::new(protocol::certificate::CertificateRole::Node, cluster.id, 77);
            let certificate = foreign.issue(Holder::Node(node()), cluster.id, contract.key, cluster.now);
            contract.certificate = certificate.to_vec().into();
        }),
    ];
    for (what, change) in changes {
        let mut host = pending();
        let (key, request, seal_key) = host.cluster.only_request();
        let mut contract = host.cluster.contract(key, request);
        change(&mut host.cluster, &mut contract);
        let sealed = host.cluster.seal_contract(request, seal_key, &contract);
        host.cluster.put_contract(sealed);

        assert_eq!(
            failure_after_approval(host),
            JoinFailure::ContractMismatch,
            "{what}"
        );
    }
}

#[test]
fn a_contract_of_another_signer_or_for_another_key_is_refused() {
    let mut host = pending();
    let (key, request, seal_key) = host.cluster.only_request();
    let contract = host.cluster.contract(key, request);
    host.cluster.authorities.push(SigningKey::from_seed(&[9; 32]));
    let forged = host.cluster.seal_contract(request, seal_key, &contract);
    host.cluster.authorities.pop();
    host.cluster.put_contract(forged);
    assert_eq!(failure_after_approval(host), JoinFailure::ContractRefused);

    let mut host = pending();
    let other = SealSecret::from_bytes([9; 32]).seal_key();
    let sealed = host.cluster.seal_contract(request, other, &contract);
    host.cluster.put_contract(sealed);
    assert_eq!(failure_after_approval(host), JoinFailure::ContractRefused);
}

#[test]
fn an_approval_that_was_fetched_late_still_makes_a_node() {
    let mut host = pending();
    host.cluster.approve = true;
    let (key, request, seal_key) = host.cluster.only_request();
    let contract = host.cluster.contract(key, request);
    let sealed = host.cluster.seal_contract(request, seal_key, &contract);
    host.cluster.put_contract(sealed);
    host.faults.unreachable = true;
    host.cut();
    host.suspend(Duration::from_secs(9 * 24 * 3600));
    host.run(Duration::from_secs(60));
    assert_eq!(host.identities, 0);

    host.faults.unreachable = false;
    host.run(Duration::from_secs(120));
    assert_eq!(host.identities, 2, "the expired certificate was renewed by proof");
    assert!(host.adopted.contains(&(Kind::SyntheticConfig, 1)));
}

#[test]
fn joining_gives_up_after_the_configured_time_and_goes_on_at_the_next_start() {
    let mut cluster = Cluster::new();
    cluster.approve = false;
    let limited = Config {
        timeout: Some(Duration::from_secs(30)),
        ..config(&cluster)
    };
    let mut host = Host::with(cluster, limited, BTreeMap::new());
    host.run(Duration::from_secs(60));
    assert!(host.events.contains(&Event::JoinFailed(JoinFailure::TimedOut)));

    host.cluster.approve = true;
    let resumed = Config {
        token: None,
        ..config(&host.cluster)
    };
    host.restart(resumed, &seed(2));
    host.run(Duration::from_secs(10));
    assert_eq!(host.identities, 1);
    assert_eq!(
        host.cluster.enrolled_with.len(),
        1,
        "the pending request was asked about"
    );
}

#[test]
fn who_reached_no_controller_in_time_is_not_told_that_a_request_is_pending() {
    let cluster = Cluster::new();
    let limited = Config {
        timeout: Some(Duration::from_secs(30)),
        ..config(&cluster)
    };
    let mut host = Host::with(cluster, limited, BTreeMap::new());
    host.faults.unreachable = true;
    host.run(Duration::from_secs(60));

    let last = Some(Disconnected::Unreachable);
    let failure = JoinFailure::Unanswered { last };
    assert!(host.events.contains(&Event::JoinFailed(failure)));
}

#[test]
fn a_joining_machine_is_settled_once_it_waits_for_others() {
    let mut fresh = Host::new(Cluster::new());
    assert!(!fresh.control.is_settled(), "nobody was asked yet");
    fresh.faults.unreachable = true;
    fresh.run(Duration::from_secs(20));
    assert!(fresh.control.is_settled(), "a controller was sought in vain");

    let mut host = pending();
    assert!(host.control.is_settled(), "an approver is waited for");
    host.faults.unreachable = true;
    let again = config(&host.cluster);
    host.restart(again, &seed(2));
    assert!(
        host.control.is_settled(),
        "and is after a restart, reached or not"
    );

    let mut refused = Host::new(Cluster::new());
    refused.cluster.refuse_join = Some(WireError::new(Code::TokenUnknown, "no"));
    refused.run(Duration::from_secs(20));
    assert!(!refused.control.is_settled(), "an operator must act");
}

#[test]
fn the_configured_interval_is_kept_between_questions() {
    let mut cluster = Cluster::new();
    cluster.approve = false;
    let slow = Config {
        poll_interval: Duration::from_secs(60),
        ..config(&cluster)
    };
    let mut host = Host::with(cluster, slow, BTreeMap::new());
    host.run(Duration::from_secs(605));

    // Enroll, the first question after 2 s as the controller asks for, then one a minute.
    assert_eq!(host.sent.len(), 2 + 10);
}

#[test]
fn another_token_begins_anew_with_other_keys() {
    let mut host = pending();
    let claims = protocol::document::join::JoinClaims {
        token: TokenId::from_bytes([0x71; 16]),
        ..host.cluster.claims()
    };
    let stamp = token::stamp(&claims, 1, host.cluster.now);
    let sealed = protocol::envelope::seal(&stamp, &claims, &[host.cluster.authority()]);
    let other = Config {
        token: Some(JoinToken::new(sealed, host.cluster.token.clone()).expect("short")),
        ..config(&host.cluster)
    };
    host.restart(other, &seed(2));
    host.run(Duration::from_secs(5));

    let keys = &host.cluster.enrolled_with;
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn what_cannot_begin_says_why() {
    let cluster = Cluster::new();
    let other = SigningKey::from_seed(&[9; 32]).verify_key();
    let right = cluster.authority().verify_key();
    let pin = |key, fingerprint| Config {
        pin: Pin { key, fingerprint },
        ..config(&cluster)
    };
    for (config, failure) in [
        (
            Config {
                token: None,
                ..config(&cluster)
            },
            JoinFailure::NoToken,
        ),
        (pin(Some(other), None), JoinFailure::PinDisagrees),
        (pin(None, Some(other.fingerprint())), JoinFailure::PinDisagrees),
        (
            pin(Some(right), Some(other.fingerprint())),
            JoinFailure::PinDisagrees,
        ),
    ] {
        let mut control = Control::new(Persisted::default(), config, &seed(1));
        assert!(
            matches!(control.poll_effect(), Some(Effect::Event(Event::JoinFailed(found))) if found == failure)
        );
        assert_eq!(control.poll_timeout(), None);
    }
    let pinned = Control::new(
        Persisted::default(),
        pin(Some(right), Some(right.fingerprint())),
        &seed(1),
    );
    assert!(matches!(pinned.status(), Status::Joining(_)));
}

#[test]
fn a_pending_request_can_be_taken_back() {
    let mut host = pending();
    host.leave(Duration::from_secs(60));
    host.run(Duration::from_secs(30));

    assert!(host.events.contains(&Event::Left));
    assert!(matches!(standing(&host), Standing::Stranger));
    assert_eq!(host.control.status(), Status::Ended { failure: None });
}

#[test]
fn a_full_disk_holds_the_request_back_until_there_is_room() {
    let mut host = Host::new(Cluster::new());
    host.faults.fail_writes = 3;
    host.run(Duration::from_millis(500));
    assert_eq!(host.sent.len(), 0, "no key that is not on disk is named");
    assert_eq!(
        host.events
            .iter()
            .filter(|event| matches!(event, Event::WriteFailed { .. }))
            .count(),
        1
    );

    host.run(Duration::from_secs(60));
    assert_eq!(host.identities, 1);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |byte| {
        let cluster = Cluster::new();
        let config = config(&cluster);
        let mut host = Host::with(cluster, config, BTreeMap::new());
        host.restart(super::host::config(&host.cluster), &seed(byte));
        host.faults.lose_join_replies = 1;
        host.run(Duration::from_secs(300));
        host.cut();
        host.run(Duration::from_secs(300));
        host.trace
    };

    assert!(trace(1).len() > 100);
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn nothing_that_can_be_printed_shows_a_secret() {
    let host = Host::member(Cluster::new());
    let Standing::Member(member) = standing(&host) else {
        panic!("a member");
    };
    let shown = format!(
        "{:?} {:?} {:?} {}",
        host.control,
        boot(&host.disk),
        member,
        host.trace.join(" ")
    );
    let node_seed = member.keys.node.reveal_seed();
    let seal = member.keys.seal.reveal();
    for secret in [node_seed.as_slice(), seal.as_slice(), &[0x5A; 32]] {
        for text in [format!("{:?}", &secret[..4]), data_text(secret)] {
            let inner = text.trim_matches(['[', ']']);
            assert!(!shown.contains(inner), "{inner}");
        }
    }
    assert!(format!("{:?}", Payload::from(vec![7; 9])).starts_with("Payload(9 bytes"));
}

fn data_text(secret: &[u8]) -> String {
    secret[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pending() -> Host {
    let mut cluster = Cluster::new();
    cluster.approve = false;
    let mut host = Host::new(cluster);
    host.run(Duration::from_secs(5));
    assert_eq!(host.cluster.requests.len(), 1);

    host
}

/// Lets the request be approved and says how that failed; nothing was kept of it.
fn failure_after_approval(mut host: Host) -> JoinFailure {
    let before = host.disk.clone();
    host.cluster.approve = true;
    host.run(Duration::from_secs(5));
    assert_eq!(host.disk, before);
    assert_eq!(host.identities, 0);
    let Status::Ended {
        failure: Some(failure),
    } = host.control.status()
    else {
        panic!("it did not fail");
    };

    failure
}

fn standing(host: &Host) -> Standing {
    Standing::read(&host.disk[&FileName::Identity]).expect("whole")
}

fn key_on_disk(host: &Host) -> Option<protocol::key::VerifyKey> {
    match Standing::read(host.disk.get(&FileName::Identity)?).expect("whole") {
        Standing::Joining(joining) => Some(joining.keys.node.verify_key()),
        Standing::Member(member) => Some(member.keys.node.verify_key()),
        Standing::Stranger => None,
    }
}
