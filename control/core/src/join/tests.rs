use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use protocol::certificate;
use protocol::error::Code;
use protocol::id::RequestId;
use protocol::key::{Digest, SealKey};
use protocol::token::TokenSecret;
use protocol::wire::{Enroll, EnrollmentStatus, JoinReply, Proof};

use super::*;
use crate::audit::{self, Action};
use crate::node::{self, NodeState};
use crate::store::{RowsMut, Table};
use crate::testing::{Joiner, World};
use crate::token::{self, CreatedToken, JoinTokenRow, NewToken};

mod model;

#[test]
fn a_request_waits_for_an_operator_and_then_gets_its_contract() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let enrolled = join(&mut world, &joiner, &token).unwrap();
    assert!(enrolled.created);
    assert!(matches!(enrolled.reply, JoinReply::Pending { request, .. } if request == enrolled.request));

    let row = approve_in(&mut world, cluster, enrolled.request).unwrap();
    let contract = contract_of(ask(&world, &joiner, enrolled.request).unwrap());
    let opened = joiner.open(&world, enrolled.request, &contract);
    let node = node::get(&world.tx, cluster, row.node.unwrap()).unwrap().unwrap();

    assert_eq!(opened.body.node, node.id);
    assert_eq!(opened.body.name, "web-1");
    assert_eq!(opened.body.key, joiner.key.verify_key());
    assert_eq!(opened.body.certificate, node.certificate);
    assert_eq!(opened.body.controllers.len(), 1);
    assert_eq!(node.state(), NodeState::Offline);
    let leaf = certificate::claimed_identity(&node.certificate).unwrap();
    assert_eq!(leaf.holder, certificate::Holder::Node(node.id));
    assert_eq!(leaf.serial, node.serial);
}

#[test]
fn the_same_contract_is_given_again_and_again() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let enrolled = join(&mut world, &joiner, &token).unwrap();
    let first = contract_of(enrolled.reply);

    assert_eq!(
        contract_of(join(&mut world, &joiner, &token).unwrap().reply),
        first
    );
    assert_eq!(
        contract_of(ask(&world, &joiner, enrolled.request).unwrap()),
        first
    );
    assert_eq!(world.tx.count(Table::Nodes), 1);
}

#[test]
fn approving_twice_makes_one_node() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let request = join(&mut world, &joiner, &token).unwrap().request;
    let first = approve_in(&mut world, cluster, request).unwrap();

    assert_eq!(approve_in(&mut world, cluster, request).unwrap(), first);
    assert_eq!(world.tx.count(Table::Nodes), 1);
}

#[test]
fn a_lost_reply_costs_no_second_use() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let mut joiner = Joiner::new(&mut world, cluster, "web-1");
    let first = join(&mut world, &joiner, &token).unwrap();
    joiner.caller.exported = [7; 32];
    let again = join(&mut world, &joiner, &token).unwrap();

    assert_eq!(again.request, first.request);
    assert!(!again.created);
    assert_eq!(used(&world, &token), 1);
    assert_eq!(actions(&world, Action::TOKEN_CONSUMED), 1);
}

#[test]
fn of_64_that_race_for_one_use_one_wins() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiners: Vec<Joiner> = (0..64)
        .map(|n| Joiner::new(&mut world, cluster, &format!("web-{n}")))
        .collect();
    let results: Vec<_> = joiners
        .iter()
        .map(|joiner| join(&mut world, joiner, &token))
        .collect();
    let lost: Vec<Code> = results
        .iter()
        .filter_map(|result| result.as_ref().err().map(EnrollError::code))
        .collect();

    assert_eq!(lost, [Code::TokenConsumed; 63]);
    assert_eq!(world.tx.count(Table::JoinRequests), 1);
    assert_eq!(actions(&world, Action::TOKEN_CONSUMED), 1);
    assert!(
        join(&mut world, &joiners[0], &token).is_ok(),
        "the winner may ask again"
    );
}

#[test]
fn a_request_made_with_a_token_outlives_it() {
    let (mut world, cluster, token) = with_token(NewToken {
        max_uses: 2,
        ..NewToken::default()
    });
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let first = join(&mut world, &joiner, &token).unwrap();
    world
        .desk(Actor::Local, |desk| token::revoke(desk, cluster, token.row.id))
        .unwrap();
    world.pass(Duration::from_secs(7200));

    assert_eq!(join(&mut world, &joiner, &token).unwrap().request, first.request);
}

#[test]
fn every_wrong_call_has_its_code_and_costs_no_use() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let cases: [Wrong<Enroll>; 8] = [
        ("no claims", Code::TokenUnknown, |call| {
            call.claims = b"nonsense".to_vec().into();
        }),
        ("wrong secret", Code::TokenUnknown, |call| {
            call.secret = TokenSecret::from_bytes([0; 32])
        }),
        ("another installation's token", Code::TokenUnknown, |call| {
            call.claims = foreign_token().claims_bytes().to_vec().into();
        }),
        ("changed signature", Code::SignatureInvalid, |call| {
            *call.claims.last_mut().unwrap() ^= 1;
        }),
        ("certificate request cut short", Code::CsrInvalid, |call| {
            call.csr.pop();
        }),
        ("not a name", Code::ValidationFailed, |call| {
            call.name = "Web 1".to_owned();
        }),
        ("long facts", Code::ValidationFailed, |call| {
            call.facts.os = "x".repeat(257);
        }),
        ("sealing key of small order", Code::ValidationFailed, |call| {
            let mut one = [0; 32];
            one[0] = 1;
            call.seal_key = SealKey::parse(one).unwrap();
        }),
    ];
    for (what, code, change) in cases {
        let mut call = joiner.enroll(&token.token);
        change(&mut call);
        let refused = world.desk(Actor::Joiner, |desk| enroll(desk, &joiner.caller, &call));
        assert_eq!(refused.unwrap_err().code(), code, "{what}");
        assert_eq!(used(&world, &token), 0, "{what}");
    }

    assert!(join(&mut world, &joiner, &token).is_ok());
}

#[test]
fn every_wrong_door_has_its_code_and_costs_no_use() {
    let (mut world, cluster, token) = with_token(NewToken {
        sources: vec!["192.0.2.0/24".parse().unwrap()],
        ..NewToken::default()
    });
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let call = joiner.enroll(&token.token);
    let cases: [Wrong<JoinCaller>; 4] = [
        ("proof of another connection", Code::SignatureInvalid, |caller| {
            caller.exported = [9; 32];
        }),
        ("address outside", Code::SourceDenied, |caller| {
            caller.source = ([198, 51, 100, 1], 1).into();
        }),
        ("address outside, as IPv6", Code::SourceDenied, |caller| {
            caller.source = (Ipv4Addr::new(198, 51, 100, 1).to_ipv6_mapped(), 1).into();
        }),
        ("another cluster", Code::WrongCluster, |caller| {
            caller.cluster = ClusterId::from_bytes([9; 16]);
        }),
    ];
    for (what, code, change) in cases {
        let mut caller = joiner.caller;
        change(&mut caller);
        let refused = world.desk(Actor::Joiner, |desk| enroll(desk, &caller, &call));
        assert_eq!(refused.unwrap_err().code(), code, "{what}");
        assert_eq!(used(&world, &token), 0, "{what}");
    }

    let inside = JoinCaller {
        source: (Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped(), 1).into(),
        ..joiner.caller
    };
    assert!(
        world
            .desk(Actor::Joiner, |desk| enroll(desk, &inside, &call))
            .is_ok()
    );
}

#[test]
fn a_repeated_call_has_to_come_through_the_same_door() {
    let (mut world, cluster, token) = with_token(NewToken {
        sources: vec!["192.0.2.0/24".parse().unwrap()],
        ..NewToken::default()
    });
    let mut joiner = Joiner::new(&mut world, cluster, "web-1");
    join(&mut world, &joiner, &token).unwrap();
    joiner.caller.source = ([198, 51, 100, 1], 1).into();

    assert_eq!(
        join(&mut world, &joiner, &token).unwrap_err().code(),
        Code::SourceDenied
    );
}

#[test]
fn the_secret_of_one_token_opens_no_other() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let generous = with_new_token(&mut world, cluster, auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let mut call = joiner.enroll(&token.token);
    call.claims = generous.token.claims_bytes().to_vec().into();
    let refused = world.desk(Actor::Joiner, |desk| enroll(desk, &joiner.caller, &call));

    assert_eq!(refused.unwrap_err().code(), Code::TokenUnknown);
}

#[test]
fn rights_edited_into_the_store_have_no_effect() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let row = JoinTokenRow {
        roles: vec![NodeRole::Relay],
        approval: ApprovalMode::Auto,
        ..token.row.clone()
    };
    world.tx.put(&row).unwrap();
    let request = join(&mut world, &joiner, &token).unwrap().request;
    let made = get(&world.tx, cluster, request).unwrap().unwrap();

    assert_eq!(made.roles, [NodeRole::Member]);
    assert_eq!(made.decided, RequestState::Pending);
    let forged = JoinTokenRow {
        claims: foreign_token().claims_bytes().to_vec().into(),
        ..row
    };
    world.tx.put(&forged).unwrap();
    let other = Joiner::new(&mut world, cluster, "web-2");
    assert_eq!(
        join(&mut world, &other, &token).unwrap_err().code(),
        Code::SignatureInvalid
    );
}

#[test]
fn a_host_that_lost_its_keys_is_told_that_another_key_spent_the_token() {
    for approval in [ApprovalMode::Manual, ApprovalMode::Auto] {
        let (mut world, cluster, token) = with_token(NewToken {
            approval,
            ..NewToken::default()
        });
        let elsewhere = with_new_token(&mut world, cluster, auto());
        let winner = Joiner::new(&mut world, cluster, "web-1");
        join(&mut world, &winner, &token).unwrap();
        let neighbour = Joiner::new(&mut world, cluster, "web-2");
        join(&mut world, &neighbour, &elsewhere).unwrap();
        let mut refused = |name: &str| {
            let joiner = Joiner::new(&mut world, cluster, name);
            join(&mut world, &joiner, &token).unwrap_err()
        };

        let same = refused("web-1");
        assert!(matches!(same, EnrollError::TokenSpentByOtherKey), "{same}");
        assert_eq!(same.code(), Code::TokenConsumed);
        for other in ["web-2", "web-3", "no name"] {
            let refused = refused(other);
            assert!(
                matches!(refused, EnrollError::TokenConsumed),
                "{other}: {refused}"
            );
        }
    }
}

#[test]
fn the_state_of_a_token_is_told_to_who_holds_its_secret() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let winner = Joiner::new(&mut world, cluster, "web-1");
    let loser = Joiner::new(&mut world, cluster, "web-2");
    join(&mut world, &winner, &token).unwrap();
    let code = |world: &mut World, secret: Option<[u8; 32]>| {
        let mut call = loser.enroll(&token.token);
        call.secret = secret.map_or(call.secret, TokenSecret::from_bytes);
        let refused = world.desk(Actor::Joiner, |desk| enroll(desk, &loser.caller, &call));
        refused.unwrap_err().code()
    };

    assert_eq!(code(&mut world, None), Code::TokenConsumed);
    assert_eq!(code(&mut world, Some([1; 32])), Code::TokenUnknown);
    world
        .desk(Actor::Local, |desk| token::revoke(desk, cluster, token.row.id))
        .unwrap();
    assert_eq!(code(&mut world, None), Code::TokenExpired);
    assert_eq!(code(&mut world, Some([1; 32])), Code::TokenUnknown);
}

#[test]
fn a_token_is_over_the_moment_it_expires() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    world.now.wall = token.row.expires;

    assert_eq!(
        join(&mut world, &joiner, &token).unwrap_err().code(),
        Code::TokenExpired
    );
    world.now.wall = Wall(token.row.expires.0 - 1);
    assert!(join(&mut world, &joiner, &token).is_ok());
}

#[test]
fn a_taken_name_costs_no_use() {
    let (mut world, cluster, token) = with_token(NewToken {
        max_uses: 3,
        ..NewToken::default()
    });
    let first = Joiner::new(&mut world, cluster, "web-1");
    let second = Joiner::new(&mut world, cluster, "web-1");
    let request = join(&mut world, &first, &token).unwrap().request;

    assert_eq!(
        join(&mut world, &second, &token).unwrap_err().code(),
        Code::NameTaken
    );
    approve_in(&mut world, cluster, request).unwrap();
    assert_eq!(
        join(&mut world, &second, &token).unwrap_err().code(),
        Code::NameTaken
    );
    assert_eq!(used(&world, &token), 1);
}

#[test]
fn a_name_is_free_again_when_its_request_has_ended() {
    let (mut world, cluster, token) = with_token(NewToken {
        max_uses: 9,
        life: token::MAX_LIFE,
        ..NewToken::default()
    });
    let next = |world: &mut World| {
        let joiner = Joiner::new(world, cluster, "web-1");
        let request = join(world, &joiner, &token).unwrap().request;
        (joiner, request)
    };
    let (_, rejected) = next(&mut world);
    world
        .desk(Actor::Local, |desk| reject(desk, cluster, rejected, "not ours"))
        .unwrap();
    let (joiner, withdrawn) = next(&mut world);
    let question = joiner.question(withdrawn);
    world
        .desk(Actor::Joiner, |desk| withdraw(desk, &joiner.caller, &question))
        .unwrap();
    let (_, forgotten) = next(&mut world);
    world.pass(PENDING_LIFE);
    let late = with_new_token(&mut world, cluster, NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    assert!(join(&mut world, &joiner, &late).unwrap().created);

    let expired = approve_in(&mut world, cluster, forgotten).unwrap_err();
    assert!(matches!(
        expired,
        DecideError::Decided {
            state: RequestState::Expired
        }
    ));
    assert_eq!(expired.code(), Code::AlreadyDecided);
}

#[test]
fn an_approver_may_give_another_name() {
    let (mut world, cluster, token) = with_token(NewToken {
        max_uses: 2,
        ..NewToken::default()
    });
    let (one, two) = (
        Joiner::new(&mut world, cluster, "localhost"),
        Joiner::new(&mut world, cluster, "localhost"),
    );
    let request = join(&mut world, &one, &token).unwrap().request;
    let named = |world: &mut World, request, name: &str| {
        let name = Some(name.parse().unwrap());
        world.desk(Actor::Local, |desk| approve(desk, cluster, request, name))
    };
    named(&mut world, request, "web-1").unwrap();
    let request = join(&mut world, &two, &token).unwrap().request;

    assert_eq!(
        named(&mut world, request, "web-1").unwrap_err().code(),
        Code::NameTaken
    );
    let row = named(&mut world, request, "web-2").unwrap();
    let found = node::find(&world.tx, cluster, &"web-2".parse().unwrap()).unwrap();
    assert_eq!(found.map(|node| node.id), row.node);
    let old = node::find(&world.tx, cluster, &"localhost".parse().unwrap()).unwrap();
    assert_eq!(old, None);
}

#[test]
fn a_rejected_joiner_hears_why() {
    let (mut world, cluster, token) = with_token(NewToken::default());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let request = join(&mut world, &joiner, &token).unwrap().request;
    for _ in 0..2 {
        world
            .desk(Actor::Local, |desk| reject(desk, cluster, request, "not ours"))
            .unwrap();
    }
    let JoinReply::Rejected(error) = ask(&world, &joiner, request).unwrap() else {
        panic!("rejected");
    };

    assert_eq!(error.message, "not ours");
    assert_eq!(
        approve_in(&mut world, cluster, request).unwrap_err().code(),
        Code::AlreadyDecided
    );
    assert_eq!(world.tx.count(Table::Nodes), 0);
}

#[test]
fn a_decided_request_cannot_be_taken_back() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let request = join(&mut world, &joiner, &token).unwrap().request;
    let question = joiner.question(request);
    let refused = world.desk(Actor::Joiner, |desk| withdraw(desk, &joiner.caller, &question));

    assert_eq!(refused.unwrap_err().code(), Code::AlreadyDecided);
}

#[test]
fn nothing_is_told_without_a_proof_over_this_connection() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let stranger = Joiner::new(&mut world, cluster, "web-2");
    let request = join(&mut world, &joiner, &token).unwrap().request;
    let right = joiner.question(request);
    let replayed = JoinCaller {
        exported: [9; 32],
        ..joiner.caller
    };
    let other_door = JoinCaller {
        cluster: ClusterId::from_bytes([9; 16]),
        ..joiner.caller
    };
    let of_enrolment = EnrollmentStatus {
        request,
        proof: Proof::new(
            &joiner.key,
            &joiner.caller.exported,
            Digest::of(b"csr").as_bytes(),
        ),
    };
    for (caller, question) in [
        (&replayed, right),
        (&other_door, joiner.question(request)),
        (&joiner.caller, stranger.question(request)),
        (&joiner.caller, joiner.question(RequestId::from_bytes([9; 16]))),
        (&joiner.caller, of_enrolment),
    ] {
        let refused = status(&world.tx, caller, &question, world.now.wall).unwrap_err();
        assert_eq!(refused.code(), Code::SignatureInvalid);
        assert!(matches!(refused, StatusError::Unknown));
    }
}

#[test]
fn a_revoked_node_gets_no_contract() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let request = join(&mut world, &joiner, &token).unwrap().request;
    let id = get(&world.tx, cluster, request).unwrap().unwrap().node.unwrap();
    world
        .desk(Actor::Local, |desk| node::revoke(desk, cluster, id, "stolen"))
        .unwrap();

    assert_eq!(
        ask(&world, &joiner, request).unwrap_err().code(),
        Code::NodeRevoked
    );
    assert_eq!(
        join(&mut world, &joiner, &token).unwrap_err().code(),
        Code::NodeRevoked
    );
}

#[test]
fn roles_and_labels_come_from_the_token() {
    let (mut world, cluster, token) = with_token(NewToken {
        roles: BTreeSet::from([NodeRole::Relay, NodeRole::Member]),
        labels: Labels::parse([("site".to_owned(), "fra".to_owned())]).unwrap(),
        ..auto()
    });
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    join(&mut world, &joiner, &token).unwrap();
    let node = &node::list(&world.tx, cluster).unwrap()[0];

    assert_eq!(node.roles, [NodeRole::Member, NodeRole::Relay]);
    assert_eq!(node.labels.get("site"), Some("fra"));
}

#[test]
fn a_controller_without_its_kek_spends_no_use() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    world.vault = crate::vault::Vault::new(Default::default());

    assert_eq!(
        join(&mut world, &joiner, &token).unwrap_err().code(),
        Code::Sealed
    );
    assert_eq!(used(&world, &token), 0);
}

#[test]
fn no_secret_reaches_a_row() {
    let (mut world, cluster, token) = with_token(auto());
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    join(&mut world, &joiner, &token).unwrap();
    let secrets = [
        crate::testing::secret_of(&token.token).to_vec(),
        joiner.key.reveal_seed().to_vec(),
        joiner.seal_secret.reveal().to_vec(),
        world.owner_key.reveal_seed().to_vec(),
        world.root.reveal_seed().to_vec(),
    ];
    for (table, _, value) in world.tx.rows() {
        for secret in &secrets {
            assert!(!value.windows(32).any(|window| window == secret), "{table:?}");
        }
    }
    assert!(audit::verify(&world.tx, None).is_ok());
}

pub(super) fn auto() -> NewToken {
    NewToken {
        approval: ApprovalMode::Auto,
        ..NewToken::default()
    }
}

fn with_token(new: NewToken) -> (World, ClusterId, CreatedToken) {
    let (mut world, cluster) = World::with_cluster(1);
    let created = with_new_token(&mut world, cluster, new);

    (world, cluster, created)
}

fn with_new_token(world: &mut World, cluster: ClusterId, new: NewToken) -> CreatedToken {
    let owner = Actor::Operator(world.owner);

    world
        .desk(owner, |desk| token::create(desk, cluster, new))
        .unwrap()
}

/// A token of another installation.
fn foreign_token() -> protocol::token::JoinToken {
    let (mut elsewhere, cluster) = World::with_cluster(99);

    with_new_token(&mut elsewhere, cluster, NewToken::default()).token
}

fn join(world: &mut World, joiner: &Joiner, token: &CreatedToken) -> Result<Enrolled, EnrollError> {
    let call = joiner.enroll(&token.token);

    world.desk(Actor::Joiner, |desk| enroll(desk, &joiner.caller, &call))
}

fn approve_in(
    world: &mut World,
    cluster: ClusterId,
    request: RequestId,
) -> Result<JoinRequestRow, DecideError> {
    let owner = Actor::Operator(world.owner);

    world.desk(owner, |desk| approve(desk, cluster, request, None))
}

fn ask(world: &World, joiner: &Joiner, request: RequestId) -> Result<JoinReply, StatusError> {
    status(
        &world.tx,
        &joiner.caller,
        &joiner.question(request),
        world.now.wall,
    )
}

fn contract_of(reply: JoinReply) -> Vec<u8> {
    match reply {
        JoinReply::Approved(contract) => contract.to_vec(),
        JoinReply::Pending { .. } | JoinReply::Rejected(_) | JoinReply::Renewed(_) | JoinReply::Withdrawn => {
            panic!("{reply:?}")
        }
    }
}

fn used(world: &World, token: &CreatedToken) -> u32 {
    token::get(&world.tx, token.row.cluster, token.row.id)
        .unwrap()
        .expect("tokens are never deleted")
        .used
}

fn actions(world: &World, action: Action) -> usize {
    audit::list(&world.tx, 0, usize::MAX)
        .unwrap()
        .iter()
        .filter(|record| record.action == action)
        .count()
}

/// What is wrong, what it gets, and how it becomes so.
type Wrong<T> = (&'static str, Code, fn(&mut T));
