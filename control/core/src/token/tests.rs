use protocol::id::TokenId;

use super::*;
use crate::testing::{World, secret_of};

#[test]
fn a_token_says_what_was_asked_for_and_verifies() {
    let (mut world, cluster) = World::with_cluster(1);
    let created = make(&mut world, cluster, NewToken::default()).unwrap();
    let authority = authority::current(&world.tx, cluster).unwrap();
    let read = JoinToken::parse(&created.reveal()).unwrap();
    let claims = read.verify(&authority.key).unwrap();

    assert_eq!(claims.token, created.row.id);
    assert_eq!(claims.roles, [NodeRole::Member]);
    assert_eq!(claims.controllers, ["127.0.0.1:4433"]);
    assert_eq!(claims.max_uses, 1);
    assert_eq!(claims.approval, ApprovalMode::Manual);
    assert_eq!(claims.expires, world.now.wall.after(Duration::from_secs(3600)));
}

#[test]
fn the_store_keeps_nothing_that_lets_a_reader_join() {
    let (mut world, cluster) = World::with_cluster(1);
    let created = make(&mut world, cluster, NewToken::default()).unwrap();
    let secret = secret_of(&created.token);
    let text = created.reveal();
    for (table, _, value) in world.tx.rows() {
        assert!(!contains(value, &secret), "{table:?}");
        assert!(!contains(value, &text.as_bytes()[..24]), "{table:?}");
    }
    let shown = format!("{created:?}");

    assert!(!shown.contains(text.as_str()));
}

#[test]
fn a_token_ends_by_use_by_time_or_by_hand() {
    let (mut world, cluster) = World::with_cluster(1);
    let created = make(&mut world, cluster, NewToken::default()).unwrap();
    let now = world.now.wall;
    let used = JoinTokenRow {
        used: 1,
        ..created.row.clone()
    };

    assert_eq!(created.row.state(now), TokenState::Active);
    assert_eq!(used.state(now), TokenState::Exhausted);
    assert_eq!(created.row.state(created.row.expires), TokenState::Expired);
    for _ in 0..2 {
        let revoked = world
            .desk(Actor::Local, |desk| revoke(desk, cluster, created.row.id))
            .unwrap();
        assert_eq!(revoked.state(now), TokenState::Revoked);
    }
    assert_eq!(list(&world.tx, cluster).unwrap().len(), 1);
}

#[test]
fn what_a_token_cannot_be_is_refused() {
    let (mut world, cluster) = World::with_cluster(1);
    let day = Duration::from_secs(24 * 3600);
    let label = |n: usize| (format!("{n:0>60}"), "v".repeat(60));
    let wrong = [
        NewToken {
            life: 7 * day + Duration::from_secs(1),
            ..NewToken::default()
        },
        NewToken {
            life: Duration::ZERO,
            ..NewToken::default()
        },
        NewToken {
            max_uses: 0,
            ..NewToken::default()
        },
        NewToken {
            max_uses: MAX_USES + 1,
            ..NewToken::default()
        },
        NewToken {
            sources: vec!["10.0.0.0/8".parse().unwrap(); MAX_SOURCES + 1],
            ..NewToken::default()
        },
        NewToken {
            controllers: vec!["no port".to_owned()],
            ..NewToken::default()
        },
        NewToken {
            controllers: vec![format!("{}:1", "h".repeat(200)); 12],
            labels: Labels::parse((0..16).map(label)).unwrap(),
            ..NewToken::default()
        },
    ];
    for new in wrong {
        let refused = make(&mut world, cluster, new.clone()).unwrap_err();
        assert_eq!(refused.code(), Code::ValidationFailed, "{new:?}");
    }
    assert_eq!(world.tx.count(Table::JoinTokens), 0);
    let longest = NewToken {
        life: 7 * day,
        ..NewToken::default()
    };
    assert!(make(&mut world, cluster, longest).is_ok());
}

#[test]
fn a_cluster_without_controllers_makes_no_token_unless_told_where_they_are() {
    let (mut world, _) = World::with_cluster(1);
    let name = "empty".parse().unwrap();
    let cluster = world
        .desk(Actor::Local, |desk| crate::cluster::create(desk, name))
        .unwrap()
        .id;
    let refused = make(&mut world, cluster, NewToken::default()).unwrap_err();

    assert!(matches!(refused, CreateTokenError::NoController));
    let told = NewToken {
        controllers: vec!["controller.example:4433".to_owned()],
        ..NewToken::default()
    };
    assert!(make(&mut world, cluster, told).is_ok());
}

#[test]
fn unknown_tokens_and_clusters_are_not_found() {
    let (mut world, cluster) = World::with_cluster(1);
    let nowhere = make(&mut world, ClusterId::from_bytes([9; 16]), NewToken::default());
    let unknown = world.desk(Actor::Local, |desk| {
        revoke(desk, cluster, TokenId::from_bytes([9; 16]))
    });

    assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_sealed_controller_says_so() {
    let (mut world, cluster) = World::with_cluster(1);
    world.vault = crate::vault::Vault::new(Default::default());
    let refused = make(&mut world, cluster, NewToken::default()).unwrap_err();

    assert_eq!(refused.code(), Code::Sealed);
}

fn make(world: &mut World, cluster: ClusterId, new: NewToken) -> Result<CreatedToken, CreateTokenError> {
    let owner = Actor::Operator(world.owner);

    world.desk(owner, |desk| create(desk, cluster, new))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
