//! The door from end to end, without a shell: what is asked, what is published, what an agent would accept.

#[path = "door/books.rs"]
mod books;
#[path = "door/damaged.rs"]
mod damaged;
#[path = "door/drain.rs"]
mod drain;
#[path = "door/health.rs"]
mod health;
#[path = "door/operators.rs"]
mod operators;
#[path = "door/policies.rs"]
mod policies;
#[path = "door/reached.rs"]
mod reached;
#[path = "door/refusals.rs"]
mod refusals;
#[path = "door/reverted.rs"]
mod reverted;
#[path = "door/why.rs"]
mod why;

use std::net::SocketAddr;

use control_api::action::Action;
use control_api::admin::{self, Reading};
use control_api::answer::{self, Bench, Call};
use control_api::failure::Failure;
use control_api::fleet::Fleet;
use control_api::journal::Retention;
use control_api::live::Live;
use control_api::publish::{self, Pen, Place, Press, Publications, Transactions};
use control_api::request::{Caller, Reply, Request};
use control_api::routing;
use control_api::touched::Touched;
use control_api::witness::{Origins, Witness};
use control_core::audit::{self, Actor, Outcome, Target};
use control_core::issuing::{self, ControllerIdentityRow};
use control_core::join::JoinCaller;
use control_core::liveness::{Addresses, Change};
use control_core::store::Tx;
use control_core::testing::{MemoryTx, World};
use protocol::admit::{self, Anchors, Revocations};
use protocol::certificate;
use protocol::document::config::{Candidate, CandidateKind, SyntheticConfig, Transport};
use protocol::document::routes::{LeaseTable, Path, Routes};
use protocol::envelope::{Envelope, Expected, Kind, Subject};
use protocol::error::Code;
use protocol::id::{BootId, ClusterId, ControllerId, NodeId, RouteId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::merkle::{Entry, Leaf};
use protocol::time::Wall;
use protocol::token::JoinToken;
use protocol::wire::{
    Enroll, Have, Heartbeat, HostFacts, JoinReply, JoinRequest, LinkObservation, Poll, Proof, Report,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

#[path = "door/behind.rs"]
mod behind;
#[path = "door/journal.rs"]
mod journal;
#[path = "door/kept.rs"]
mod kept;
#[path = "door/quiet.rs"]
mod quiet;

#[test]
fn a_host_joins_and_its_documents_verify_under_the_beacon() {
    let mut desk = Controller::new(1);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);

    let publication = desk.publications[&cluster].clone();
    let news = publication
        .news(node, &poll(Vec::new()))
        .expect("a new node lacks everything");
    let expected = Expected {
        realm: cluster.into(),
        subject: Subject::Node(node),
    };
    let mut entries = Vec::new();
    for bytes in &news.documents {
        let envelope = Envelope::parse(bytes).expect("an envelope");
        let claimed = envelope.claimed();
        assert!(envelope.is_signed_by(claimed.kind, &expected, &publication.authority));
        entries.push(Entry::new(claimed.kind, claimed.version, envelope.hash()));
    }
    let (root, leaves) = (publication.tree.root(), publication.tree.len());
    assert_eq!(news.leaf, entries);
    assert!(news.inclusion.proves(&Leaf::new(node, entries), &root, leaves));
    assert_eq!(news.documents.len(), 2, "a config and routes");
    assert_eq!(news.shared.len(), 2, "the bundle and the revocation list");
    let has_all = poll(desk.have(node));
    assert!(
        publication.news(node, &has_all).is_none(),
        "nothing is news to who has everything"
    );
    let mut lacks_one = has_all;
    let lacked = lacks_one.have.pop().expect("it has some");
    assert!(publication.news(node, &lacks_one).is_some());
    lacks_one.left_out = vec![Entry::new(lacked.kind, lacked.version, lacked.hash)];
    assert!(
        publication.news(node, &lacks_one).is_none(),
        "what it cannot use is no news"
    );
}

#[test]
fn an_unchanged_store_publishes_the_same_bytes_after_a_restart() {
    let mut desk = Controller::new(2);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);
    let before = desk.publications[&cluster].clone();
    desk.publications = Publications::new();
    desk.publish(&mut Touched::everything());
    let after = &desk.publications[&cluster];

    assert_eq!(before.documents[&node], after.documents[&node]);
    assert_eq!(before.bundle, after.bundle);
    assert!(
        after.rank > before.rank,
        "a beacon is never made twice under one number"
    );
}

#[test]
fn a_lease_reaches_its_relay_before_the_ends_hear_of_it() {
    let mut desk = Controller::new(3);
    let (cluster, [a, b, relay]) = desk.leased();

    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(table.rows.len(), 1, "the pair is offered to the relay");
    assert!(
        !desk.names_relay(a, b, relay),
        "no decision names a lease that the relay has not shown to know"
    );

    desk.acknowledge(cluster, relay);
    desk.pass(30);
    desk.links(cluster, &[(a, relay), (b, relay)]);
    desk.decide(cluster);

    assert!(
        desk.names_relay(a, b, relay),
        "once acknowledged, the decision may name it"
    );
}

#[test]
fn an_operator_without_a_role_is_refused_and_nothing_is_kept() {
    let mut desk = Controller::new(4);
    desk.create_cluster();
    let stranger = protocol::id::OperatorId::from_bytes([9; 16]);
    let request = Request::Act {
        action: Action::TokenCreate,
        input: json!({}),
    };
    let refused = desk.ask(
        &Caller::Local {
            operator: Some(stranger),
            uid: None,
        },
        &request,
    );

    assert_eq!(refused.expect_err("no grant, no token").code, Code::RoleDenied);
    assert_eq!(desk.read(Action::TokenList, json!({})), json!([]));
}

#[test]
fn what_an_operator_was_refused_is_in_the_audit_and_what_a_stranger_was_is_not() {
    let mut desk = Controller::new(6);
    let cluster = desk.create_cluster();
    let before = audit::head(&desk.tx).expect("reads").count;
    let stranger = protocol::id::OperatorId::from_bytes([9; 16]);
    let request = Request::Act {
        action: Action::NodeRevoke,
        input: json!({ "node": "web-1" }),
    };
    let operator = Caller::Local {
        operator: Some(stranger),
        uid: None,
    };
    let joiner = Caller::Joiner(JoinCaller {
        cluster,
        exported: [0; 32],
        source: address(1),
    });
    for caller in [&operator, &joiner] {
        desk.ask(caller, &request).expect_err("neither may");
    }

    let records = audit::list(&desk.tx, before, 10).expect("reads");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].actor, Actor::Operator(stranger));
    assert_eq!(records[0].action, audit::Action::ACTION_REFUSED);
    assert_eq!(records[0].outcome, Outcome::refused(Code::RoleDenied));
    assert_eq!(records[0].target, Target::Named("node/revoke".to_owned()));
}

#[test]
fn callers_cannot_ask_at_another_door() {
    let mut desk = Controller::new(5);
    let cluster = desk.create_cluster();
    let joiner = Caller::Joiner(JoinCaller {
        cluster,
        exported: [0; 32],
        source: address(1),
    });
    for request in [
        Request::Leave,
        Request::Tick,
        Request::Act {
            action: Action::TokenCreate,
            input: json!({}),
        },
        Request::Decide {
            cluster,
            outcomes: Vec::new(),
        },
    ] {
        assert_eq!(
            desk.ask(&joiner, &request).expect_err("refused").code,
            Code::WrongCertKind,
            "{request:?}"
        );
    }
}

#[test]
fn revoking_a_node_withdraws_its_documents_and_lists_it() {
    let mut desk = Controller::new(6);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    desk.act(Action::NodeRevoke, json!({ "id": "b", "reason": "stolen" }));
    let publication = desk.publications[&cluster].clone();

    assert!(
        publication.of(b).next().is_none(),
        "a revoked node has no documents"
    );
    assert_eq!(publication.revocations.version, 2, "the list has one entry more");
    let config: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert!(config.neighbours.iter().all(|neighbour| neighbour.node != b));
}

#[test]
fn a_controller_whose_clock_was_ahead_once_can_be_reached_as_soon_as_it_is_right() {
    let mut desk = Controller::new(9);
    let cluster = desk.create_cluster();
    desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
    let right = desk.world.now;
    assert_eq!(desk.leaf_stands(cluster), Ok(()));
    desk.pass(365 * 24 * 3_600);
    desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
    assert_eq!(
        desk.leaf_stands(cluster),
        Ok(()),
        "it certifies whatever its clock says"
    );
    desk.world.now = right;
    assert!(desk.leaf_stands(cluster).is_err(), "not valid yet");

    desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
    assert_eq!(desk.leaf_stands(cluster), Ok(()));
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["name"], "clock_behind", "{findings}");
    let serial = |desk: &Controller| desk.leaf(cluster).serial;
    let issued = serial(&desk);
    desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
    assert_eq!(serial(&desk), issued, "once is enough");
}

#[test]
fn a_revoked_node_leaves_the_list_when_nothing_of_it_can_count_any_more() {
    let mut desk = Controller::new(10);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);
    desk.act(Action::NodeRevoke, json!({ "id": "web-1" }));
    let listed = |desk: &Controller| {
        let list = control_core::node::revocation_list(&desk.tx, cluster).expect("reads");
        (
            list.nodes.iter().any(|entry| entry.node == node),
            list.certificates.len(),
            list.floor,
        )
    };
    for _ in 0..43 {
        desk.pass(24 * 3_600);
        desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
        assert_eq!(listed(&desk), (true, 1, Wall::default()));
    }
    let published = desk.publications[&cluster].revocations.version;
    for _ in 0..3 {
        desk.pass(24 * 3_600);
        desk.ask(&Caller::Controller, &Request::Tick).expect("ticks");
    }

    let (node_listed, certificates, floor) = listed(&desk);
    assert_eq!((node_listed, certificates), (false, 0));
    assert!(
        floor
            < desk
                .world
                .now
                .wall
                .before(std::time::Duration::from_secs(6 * 24 * 3_600))
    );
    assert_eq!(desk.publications[&cluster].revocations.version, published + 1);
    assert_eq!(desk.read(Action::AuditVerify, json!({}))["ok"], true);
}

/// A controller without a shell: one transaction a request, published at once.
struct Controller {
    tx: MemoryTx,
    world: World,
    bench: Bench,
    rng: StdRng,
    live: Live,
    publications: Publications,
    press: Press,
    cluster: Option<ClusterId>,
    term: u64,
    /// Of the store: it rises with each commit.
    revision: u64,
    origins: Origins,
    owed: Touched,
    /// What the last request touched.
    touched: Touched,
    books: books::Books,
}

/// What fails is taken back, as a group of the store does it.
struct Layers<'a>(&'a mut MemoryTx);

impl Transactions for Layers<'_> {
    fn within(&mut self, decide: &mut dyn FnMut(&mut dyn Tx) -> Result<(), Failure>) -> Result<(), Failure> {
        let before = self.0.clone();
        let decided = decide(self.0);
        if decided.is_err() {
            *self.0 = before;
        }

        decided
    }
}

impl Controller {
    fn new(seed: u64) -> Self {
        let world = World::activated(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let bench = Bench {
            controller: ControllerId::random(&mut rng),
            key: SigningKey::generate(&mut rng).verify_key(),
            endpoints: vec!["127.0.0.1:7443".to_owned()],
            transport: Transport::default(),
            version: "test",
            journal: Retention::default(),
            seals: std::sync::Arc::default(),
        };

        Self {
            tx: world.tx.clone(),
            world,
            bench,
            rng,
            live: Live::new(Addresses::AlsoLoopback),
            publications: Publications::new(),
            press: Press::default(),
            cluster: None,
            term: 1,
            revision: 1,
            origins: Origins::default(),
            owed: Touched::default(),
            touched: Touched::default(),
            books: books::Books::default(),
        }
    }

    /// As a new process that opens the store.
    fn reopen(&mut self, term: u64) {
        self.term = term;
        self.publications = Publications::new();
        self.press = Press::default();
        self.origins = Origins::open(&self.tx).expect("reads");
        self.publish(&mut Touched::everything());
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.pass(1);
            self.ask(&Caller::Controller, &Request::Tick).expect("ticks");
        }
    }

    fn ask(&mut self, caller: &Caller, request: &Request) -> Result<Reply, Failure> {
        let mut tx = self.tx.clone();
        let mut touched = Touched::default();
        let call = Call {
            bench: &self.bench,
            tx: &mut tx,
            signer: &self.world.vault,
            now: self.world.now,
            rng: &mut self.rng,
            press: &self.press,
            touched: &mut touched,
        };
        let answered = answer::answer(call, caller, request);
        match &answered {
            Ok(_) => {
                self.tx = tx;
                self.touched = touched.clone();
                self.publish(&mut touched);
            }
            Err(failure) => {
                let now = self.world.now;
                let noted = answer::note_refused(&mut self.tx, caller, request, failure, now);
                assert_eq!(noted, Ok(()));
            }
        }

        answered
    }

    fn publish(&mut self, touched: &mut Touched) {
        let mut pen = Pen {
            bench: &self.bench,
            signer: &self.world.vault,
            now: self.world.now,
            rng: &mut self.rng,
        };
        let place = Place {
            term: self.term,
            revision: self.revision,
        };
        self.revision += 1;
        touched.absorb(std::mem::take(&mut self.owed));
        let mut layers = Layers(&mut self.tx);
        self.press.publications.clone_from(&self.publications);
        let published = publish::publish(&mut pen, &mut layers, &mut self.press, touched, place);
        let published = published.expect("publishes");
        self.publications = published.publications;
        self.owed = published.owed;
        for publication in self.publications.values() {
            self.origins.note(publication);
        }
        // A row that cannot be read is told of by the publication.
        let _ = self.live.restore(&self.tx, self.world.now);
    }

    fn act(&mut self, action: Action, input: Value) -> Value {
        let request = Request::Act { action, input };
        let reply = self
            .ask(
                &Caller::Local {
                    operator: None,
                    uid: None,
                },
                &request,
            )
            .expect("the owner may");
        let Reply::View(view) = reply else {
            panic!("not a view: {reply:?}")
        };

        view
    }

    fn read(&self, action: Action, input: Value) -> Value {
        self.try_read(action, input).expect("the owner may look")
    }

    fn try_read(&self, action: Action, input: Value) -> Result<Value, Failure> {
        let reading = Reading {
            view: &self.tx,
            live: &self.live,
            publications: &self.publications,
            bench: &self.bench,
            now: self.world.now,
            revision: 1,
            read_only: None,
            writer_stood: None,
        };

        admin::read(&reading, None, action, input)
    }

    fn create_cluster(&mut self) -> ClusterId {
        let view = self.act(Action::ClusterCreate, json!({ "name": "prod" }));
        let cluster = view["id"].as_str().expect("an id").parse().expect("an id");
        self.cluster = Some(cluster);

        cluster
    }

    /// A host at the join door with a token that was made for it, and what it asks there first.
    fn joiner(&mut self, name: &str, token: Value, source: SocketAddr) -> (Caller, Enroll) {
        let cluster = self.cluster.expect("a cluster");
        let created = self.act(Action::TokenCreate, token);
        let token = JoinToken::parse(created["token"].as_str().expect("a text")).expect("a token");
        let key = SigningKey::generate(&mut self.rng);
        let csr = certificate::csr(&key);
        let exported = [7; 32];
        let enroll = Enroll {
            claims: token.claims_bytes().to_vec().into(),
            secret: token.secret().clone(),
            proof: Proof::new(&key, &exported, Digest::of(&csr).as_bytes()),
            csr: csr.into(),
            seal_key: SealSecret::generate(&mut self.rng).seal_key(),
            name: name.to_owned(),
            facts: HostFacts::default(),
        };
        let caller = Caller::Joiner(JoinCaller {
            cluster,
            exported,
            source,
        });

        (caller, enroll)
    }

    fn join(&mut self, name: &str, roles: &[&str]) -> NodeId {
        let token = json!({ "roles": roles, "approval": "auto" });
        let (caller, enroll) = self.joiner(name, token, address(9));
        let reply = self
            .ask(&caller, &Request::Join(Box::new(JoinRequest::Enroll(enroll))))
            .expect("joins");
        assert!(
            matches!(reply, Reply::Join(JoinReply::Pending { .. })),
            "{reply:?}"
        );
        let view = self.read(Action::NodeShow, json!({ "id": name }));

        view["id"].as_str().expect("an id").parse().expect("an id")
    }

    fn heartbeat(&mut self, cluster: ClusterId, node: NodeId, port: u16) {
        let changes: Vec<Change> = self.hear(cluster, node, port).into_iter().collect();
        let request = Request::Heard {
            changes: changes.clone(),
        };
        self.ask(&Caller::Controller, &request).expect("stored");
        self.live.handle_stored(&changes);
    }

    /// The same of a node that has a link-local address alone.
    fn heartbeat_from_nowhere(&mut self, cluster: ClusterId, node: NodeId) {
        let here = SocketAddr::from(([169, 254, 0, 1], 7_444));
        let claims = signs(1, vec![Candidate::new(CandidateKind::Lan, here)]);
        let heard = self
            .live
            .handle_heartbeat((cluster, node), here, &claims, self.world.now);
        let changes: Vec<Change> = heard.expect("taken").into_iter().collect();
        let request = Request::Heard {
            changes: changes.clone(),
        };
        self.ask(&Caller::Controller, &request).expect("stored");
        self.live.handle_stored(&changes);
    }

    /// Takes a heartbeat in, and stores nothing.
    fn hear(&mut self, cluster: ClusterId, node: NodeId, port: u16) -> Option<Change> {
        let heartbeat = signs(
            port as u8,
            vec![Candidate::new(CandidateKind::Lan, address(port))],
        );
        let change = self
            .live
            .handle_heartbeat((cluster, node), address(port), &heartbeat, self.world.now);

        change.expect("taken")
    }

    /// Both ends of each pair say that they are connected, and no pair has a direct path.
    fn links(&mut self, cluster: ClusterId, links: &[(NodeId, NodeId)]) {
        let now = self.world.now.boot;
        for (node, peer) in links {
            let link = LinkObservation {
                peer: *peer,
                connected: true,
                rtt_us: Some(2_000),
                reached: None,
            };
            let report = Report {
                links: vec![link],
                ..Report::default()
            };
            self.live.handle_report(cluster, *node, &report, now);
        }
    }

    fn acknowledge(&mut self, cluster: ClusterId, relay: NodeId) {
        let have = self.have(relay);
        let publication = self.publications[&cluster].clone();
        let table = self
            .live
            .handle_poll(&publication, relay, &poll(have), self.world.now)
            .expect("a table");
        let request = Request::Carried {
            cluster,
            relay,
            table,
        };
        self.ask(&Caller::Controller, &request).expect("stored");
        self.live.handle_done(&request);
    }

    fn have(&self, node: NodeId) -> Vec<Have> {
        let publication = &self.publications[&self.cluster.expect("a cluster")];
        let shared = [&publication.bundle, &publication.revocations];
        let all = publication.of(node).chain(shared);

        all.map(|document| Have {
            kind: document.kind,
            epoch: document.epoch,
            version: document.version,
            hash: document.hash,
        })
        .collect()
    }

    fn document<D: protocol::envelope::Document>(&self, node: NodeId, kind: Kind) -> D {
        let cluster = self.cluster.expect("a cluster");
        let publication = &self.publications[&cluster];
        let document = publication
            .of(node)
            .find(|document| document.kind == kind)
            .expect("published");
        let expected = Expected {
            realm: cluster.into(),
            subject: Subject::Node(node),
        };

        Envelope::parse(&document.bytes)
            .expect("parses")
            .open(&expected, &publication.authority)
            .expect("opens")
            .body
    }

    fn names_relay(&self, a: NodeId, b: NodeId, relay: NodeId) -> bool {
        let routes: Routes = self.document(a, Kind::Routes);
        let route = RouteId::between(self.cluster.expect("a cluster"), a, b);
        let decision = routes.decisions.iter().find(|decision| decision.route == route);

        decision.is_some_and(|decision| {
            decision
                .path
                .iter()
                .chain(&decision.standbys)
                .any(|path| Path::relay(path) == Some(relay))
        })
    }

    fn leaf(&self, cluster: ClusterId) -> ControllerIdentityRow {
        issuing::controller(&self.tx, cluster, self.bench.controller)
            .expect("reads")
            .expect("certified")
    }

    /// Whether an agent would talk to this controller.
    fn leaf_stands(&self, cluster: ClusterId) -> Result<(), Code> {
        let mut anchors = Anchors::default();
        let bundle = issuing::trust_bundle(&self.tx, cluster).map_err(|_| Code::Internal)?;
        anchors.put(cluster, &bundle).map_err(|_| Code::Internal)?;
        let chain = [self.leaf(cluster).certificate.to_vec().into()];
        let server = (certificate::ServerOf::Controller, cluster);
        let now = self.world.now.wall;

        admit::verify_server(&chain, server, &anchors, &Revocations::default(), now)
            .map(|_| ())
            .map_err(|refused| control_api::welcome::code_of(&refused))
    }

    fn pass(&mut self, seconds: u64) {
        self.world.pass(std::time::Duration::from_secs(seconds));
    }
}

fn poll(have: Vec<Have>) -> Poll {
    Poll {
        beacon: None,
        have,
        wait_ms: 0,
        left_out: Vec::new(),
    }
}

fn signs(boot: u8, candidates: Vec<Candidate>) -> Heartbeat {
    Heartbeat {
        boot: BootId::from_bytes([boot; 16]),
        candidates,
        epoch: 1,
        applied: Vec::new(),
        agent_version: "test".to_owned(),
        refused: Vec::new(),
        reverted: None,
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
