//! A cluster that signs for real: authority, CAs, documents with their tree, and one controller's answers.

use std::collections::BTreeMap;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::cbor;
use protocol::certificate::{
    CertificateRole, Holder, IssuingCa, LEAF_LIFE, Leaf, Validity, issue_ca, parse_csr,
};
use protocol::document::authority::{RevocationList, Serial, Succession, TrustBundle};
use protocol::document::beacon::{Beacon, Pin};
use protocol::document::config::{ControllerAddress, SyntheticConfig, Transport};
use protocol::document::join::{ApprovalMode, JoinClaims, JoinContract};
use protocol::document::routes::{LeaseTable, Routes};
use protocol::envelope::{Document, Envelope, Stamp, Subject, seal};
use protocol::error::{Code, WireError};
use protocol::id::{ClusterId, ControllerId, LeaseId, NodeId, RequestId, TokenId};
use protocol::key::{Digest, SealKey, SigningKey, VerifyKey};
use protocol::merkle;
use protocol::node::{Labels, NodeRole};
use protocol::sealed::{JOIN_CONTRACT, seal_to};
use protocol::time::Wall;
use protocol::token::{self, JoinToken, TokenSecret};
use protocol::wire::{
    Answer, Enroll, JoinReply, JoinRequest, NodeReply, NodeRequest, Poll, PollReply, Renewed, Welcome,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls_pki_types::CertificateDer;

/// A cluster with one controller process behind any number of endpoints.
pub(super) struct Cluster {
    pub(super) id: ClusterId,
    /// By epoch, from 1.
    pub(super) authorities: Vec<SigningKey>,
    pub(super) node_ca: Ca,
    pub(super) controller_ca: Ca,
    pub(super) leaf: Vec<CertificateDer<'static>>,
    pub(super) token: TokenSecret,
    pub(super) endpoints: Vec<String>,
    pub(super) transport: Transport,
    pub(super) now: Wall,
    pub(super) term: u64,
    pub(super) number: u64,
    /// The version of the trust bundle.
    pub(super) bundle: u64,
    /// The bundle's content, where it is not that of the CAs.
    pub(super) kept_bundle: Option<TrustBundle>,
    pub(super) revocations: (u64, RevocationList),
    /// The version of every document of the node: all that are published together have one.
    pub(super) revision: u64,
    /// The version of the lease table, where it does not change with the rest.
    pub(super) leases: Option<u64>,
    pub(super) roles: Vec<NodeRole>,
    pub(super) requests: BTreeMap<VerifyKey, Request>,
    pub(super) approve: bool,
    /// Every key that was shown at the join door, in order.
    pub(super) enrolled_with: Vec<VerifyKey>,
    /// What a joiner is refused with instead.
    pub(super) refuse_join: Option<WireError>,
    pub(super) refuse_renewal: Option<WireError>,
    /// (nonce, CSR, certificate) of the last renewal.
    pub(super) renewal: Option<([u8; 16], Vec<u8>, Vec<u8>)>,
    pub(super) heard: Vec<protocol::wire::Heartbeat>,
    pub(super) reported: usize,
    rng: StdRng,
}

pub(super) struct Ca {
    pub(super) key: SigningKey,
    pub(super) certificate: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Request {
    pub(super) id: RequestId,
    seal_key: SealKey,
    contract: Option<Vec<u8>>,
}

pub(super) const START: Wall = Wall(1_800_000_000_000);

impl Cluster {
    pub(super) fn new() -> Self {
        let id = ClusterId::from_bytes([0xC1; 16]);
        let node_ca = Ca::new(CertificateRole::Node, id, 21);
        let controller_ca = Ca::new(CertificateRole::Controller, id, 22);
        let holder = Holder::Controller(ControllerId::from_bytes([0xC0; 16]));
        let leaf = controller_ca.issue(holder, id, SigningKey::from_seed(&[23; 32]).verify_key(), START);

        Self {
            id,
            authorities: vec![SigningKey::from_seed(&[11; 32])],
            node_ca,
            controller_ca,
            leaf: vec![leaf],
            token: TokenSecret::from_bytes([0x5A; 32]),
            endpoints: vec!["192.0.2.1:4433".to_owned()],
            transport: Transport::default(),
            now: START,
            term: 1,
            number: 1,
            bundle: 1,
            kept_bundle: None,
            revocations: (1, RevocationList::default()),
            revision: 1,
            leases: None,
            roles: vec![NodeRole::Member],
            requests: BTreeMap::new(),
            approve: true,
            enrolled_with: Vec::new(),
            refuse_join: None,
            refuse_renewal: None,
            renewal: None,
            heard: Vec::new(),
            reported: 0,
            rng: StdRng::seed_from_u64(99),
        }
    }

    /// The same cluster, for a controller that lies.
    pub(super) fn copy(&self) -> Self {
        Self {
            authorities: self.authorities.clone(),
            term: self.term,
            number: self.number,
            bundle: self.bundle,
            revocations: self.revocations.clone(),
            revision: self.revision,
            leases: self.leases,
            now: self.now,
            ..Self::new()
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.authorities.len() as u64
    }

    pub(super) fn authority(&self) -> &SigningKey {
        self.authorities.last().expect("there is always one")
    }

    pub(super) fn token(&self) -> JoinToken {
        let claims = self.claims();
        let stamp = token::stamp(&claims, self.epoch(), self.now);

        JoinToken::new(seal(&stamp, &claims, &[self.authority()]), self.token.clone()).expect("short")
    }

    pub(super) fn claims(&self) -> JoinClaims {
        JoinClaims {
            token: TokenId::from_bytes([0x70; 16]),
            cluster: self.id,
            authority: self.authority().verify_key().fingerprint(),
            controllers: self.endpoints.clone(),
            roles: self.roles.clone(),
            labels: Labels::default(),
            max_uses: 1,
            expires: self.now.after(Duration::from_secs(3600)),
            approval: ApprovalMode::Manual,
            sources: Vec::new(),
        }
    }

    pub(super) fn stamp(&self, subject: Subject, version: u64) -> Stamp {
        Stamp {
            realm: self.id.into(),
            subject,
            epoch: self.epoch(),
            version,
            previous: None,
            issued_at: self.now,
            valid_until: None,
        }
    }

    /// Signs a document as the cluster does.
    pub(super) fn sign<D: Document>(&self, subject: Subject, version: u64, body: &D) -> ByteVec {
        seal(&self.stamp(subject, version), body, &[self.authority()]).into()
    }

    pub(super) fn trust_bundle(&self) -> TrustBundle {
        if let Some(kept) = &self.kept_bundle {
            return kept.clone();
        }

        TrustBundle {
            node_cas: vec![self.node_ca.certificate.clone().into()],
            controller_cas: vec![self.controller_ca.certificate.clone().into()],
        }
    }

    pub(super) fn signed_bundle(&self) -> ByteVec {
        let stamp = Stamp {
            issued_at: START,
            ..self.stamp(Subject::All, self.bundle)
        };

        seal(&stamp, &self.trust_bundle(), &[self.authority()]).into()
    }

    pub(super) fn signed_revocations(&self) -> ByteVec {
        let stamp = Stamp {
            issued_at: START,
            ..self.stamp(Subject::All, self.revocations.0)
        };

        seal(&stamp, &self.revocations.1, &[self.authority()]).into()
    }

    /// The documents of one node in the present revision, in the order of their leaves.
    pub(super) fn documents(&self, node: NodeId) -> Vec<ByteVec> {
        let subject = Subject::Node(node);
        let stamp = Stamp {
            issued_at: START,
            ..self.stamp(subject, self.revision)
        };
        let leases = self.leases.unwrap_or(self.revision);
        let of_leases = Stamp {
            version: leases,
            ..stamp
        };
        let signer = self.authority();

        vec![
            seal(&stamp, &self.config(), &[signer]).into(),
            seal(&stamp, &Routes::default(), &[signer]).into(),
            seal(&of_leases, &self.lease_table(leases), &[signer]).into(),
        ]
    }

    pub(super) fn config(&self) -> SyntheticConfig {
        let config = SyntheticConfig {
            name: format!("node-{}", self.revision),
            roles: self.roles.clone(),
            labels: Labels::default(),
            generation: 1,
            neighbours: Vec::new(),
            controllers: vec![ControllerAddress {
                controller: ControllerId::from_bytes([0xC0; 16]),
                endpoints: self.endpoints.clone(),
            }],
            transport: self.transport,
            settings: None,
            offered_again: None,
        };
        let settings = config.settings().digest();

        SyntheticConfig {
            settings: Some(settings),
            ..config
        }
    }

    fn lease_table(&self, version: u64) -> LeaseTable {
        LeaseTable {
            rows: vec![protocol::document::routes::LeaseRow {
                lease: LeaseId::from_bytes([1; 16]),
                low: NodeId::from_bytes([2; 16]),
                high: NodeId::from_bytes([3; 16]),
                generation: u32::try_from(version).expect("small"),
                budget_kib: 1,
                grace_minutes: 1,
                kind: protocol::document::routes::LeaseKind::Relay,
            }],
        }
    }

    /// A reply with these documents, under a beacon that pins all of them.
    pub(super) fn reply(&self, node: NodeId, documents: Vec<ByteVec>) -> PollReply {
        let tree = merkle::Tree::new([leaf(node, &documents)]);

        PollReply {
            documents,
            shared: vec![self.signed_bundle(), self.signed_revocations()],
            ..placed(self.beacon(&tree), &tree, node)
        }
    }

    /// Everything there is, under the present beacon.
    pub(super) fn whole_reply(&self, node: NodeId) -> PollReply {
        self.reply(node, self.documents(node))
    }

    pub(super) fn beacon(&self, tree: &merkle::Tree) -> ByteVec {
        let stamp = Stamp {
            issued_at: START.after(Duration::from_secs(self.number)),
            ..self.stamp(Subject::All, self.number)
        };

        seal(&stamp, &self.beacon_body(tree), &[self.authority()]).into()
    }

    pub(super) fn beacon_body(&self, tree: &merkle::Tree) -> Beacon {
        Beacon {
            term: self.term,
            revision: self.number,
            root: tree.root(),
            leaves: tree.len(),
            bundle: pin(&self.signed_bundle()),
            revocations: pin(&self.signed_revocations()),
            audit: Pin::default(),
        }
    }

    /// Publishes the next revision of every document of the node.
    pub(super) fn publish(&mut self) {
        self.revision += 1;
        self.number += 1;
    }

    /// Goes over to the next epoch; everything is signed anew.
    pub(super) fn rotate(&mut self) {
        let seed = 100 + u8::try_from(self.authorities.len()).expect("few");
        self.authorities.push(SigningKey::from_seed(&[seed; 32]));
        self.number += 1;
    }

    pub(super) fn successions(&self) -> Vec<ByteVec> {
        (1..self.authorities.len())
            .map(|index| self.succession(index))
            .collect()
    }

    fn succession(&self, index: usize) -> ByteVec {
        let body = Succession {
            epoch: index as u64 + 1,
            key: self.authorities[index].verify_key(),
        };
        let stamp = Stamp {
            epoch: index as u64,
            ..self.stamp(Subject::All, index as u64)
        };

        seal(&stamp, &body, &[&self.authorities[index - 1]]).into()
    }

    pub(super) fn welcome(&self) -> Welcome {
        Welcome {
            controller: Some(ControllerId::from_bytes([0xC0; 16])),
            authority: self.authority().verify_key(),
            epoch: self.epoch(),
            successions: self.successions(),
            bundle: self.signed_bundle(),
            beacon: None,
            revocations: Some(self.signed_revocations()),
        }
    }

    /// Answers at the join door.
    pub(super) fn join(&mut self, body: &[u8], exported: &[u8; 32]) -> Vec<u8> {
        let request: JoinRequest = cbor::decode(body).expect("the machine sends what decodes");
        let answer: Answer<JoinReply> = match request {
            JoinRequest::Enroll(enroll) => self.enroll(&enroll, exported),
            JoinRequest::Status(status) => {
                let (key, request) = self
                    .requests
                    .iter()
                    .find(|(_, request)| request.id == status.request)
                    .map(|(key, request)| (*key, request.clone()))
                    .expect("asks about a request that there is");
                assert!(status.proof.is_by(&key, exported, request.id.as_bytes()));
                self.standing(key)
            }
            JoinRequest::Withdraw(_) => match &self.refuse_join {
                Some(error) => Answer::Refused(error.clone()),
                None => Answer::Done(JoinReply::Withdrawn),
            },
            JoinRequest::RenewExpired(renewal) => {
                let csr_hash = Digest::of(&renewal.csr);
                let about = [
                    renewal.node.as_bytes().as_slice(),
                    &renewal.nonce,
                    csr_hash.as_bytes(),
                ]
                .concat();
                let certified = self.certified_key();
                assert!(renewal.proof.is_by(&certified, exported, &about));
                match self.renew(renewal.nonce, &renewal.csr) {
                    Ok(renewed) => Answer::Done(JoinReply::Renewed(renewed)),
                    Err(error) => Answer::Refused(error),
                }
            }
        };

        cbor::encode(&answer)
    }

    fn enroll(&mut self, enroll: &Enroll, exported: &[u8; 32]) -> Answer<JoinReply> {
        let key = parse_csr(&enroll.csr).expect("a good request");
        let about = Digest::of(&enroll.csr);
        assert!(enroll.proof.is_by(&key, exported, about.as_bytes()));
        assert!(enroll.secret == self.token, "the secret of the token");
        self.enrolled_with.push(key);
        if let Some(error) = &self.refuse_join {
            return Answer::Refused(error.clone());
        }
        let id = RequestId::random(&mut self.rng);
        let request = Request {
            id,
            seal_key: enroll.seal_key,
            contract: None,
        };
        let id = self.requests.entry(key).or_insert(request).id;

        Answer::Done(JoinReply::Pending {
            request: id,
            poll_after_ms: 2_000,
        })
    }

    fn standing(&mut self, key: VerifyKey) -> Answer<JoinReply> {
        if let Some(error) = &self.refuse_join {
            return Answer::Done(JoinReply::Rejected(error.clone()));
        }
        let request = self.requests[&key].clone();
        if !self.approve {
            return Answer::Done(JoinReply::Pending {
                request: request.id,
                poll_after_ms: 2_000,
            });
        }
        let sealed = match request.contract {
            Some(sealed) => sealed,
            None => self.seal_contract(request.id, request.seal_key, &self.contract(key, request.id)),
        };
        self.requests.get_mut(&key).expect("known").contract = Some(sealed.clone());

        Answer::Done(JoinReply::Approved(sealed.into()))
    }

    pub(super) fn contract(&self, key: VerifyKey, request: RequestId) -> JoinContract {
        JoinContract {
            request,
            node: node(),
            name: "node-0".to_owned(),
            roles: self.roles.clone(),
            labels: Labels::default(),
            generation: 1,
            certificate: self
                .node_ca
                .issue(Holder::Node(node()), self.id, key, self.now)
                .to_vec()
                .into(),
            key,
            authority: self.authority().verify_key(),
            controllers: self.config().controllers,
        }
    }

    pub(super) fn seal_contract(&mut self, request: RequestId, to: SealKey, body: &JoinContract) -> Vec<u8> {
        let signed = self.sign(Subject::All, 1, body);

        seal_to(&to, JOIN_CONTRACT, request.as_bytes(), &signed, &mut self.rng).expect("a good key")
    }

    /// Answers the same bytes for a request that was answered before.
    pub(super) fn put_contract(&mut self, sealed: Vec<u8>) {
        for request in self.requests.values_mut() {
            request.contract = Some(sealed.clone());
        }
    }

    pub(super) fn only_request(&self) -> (VerifyKey, RequestId, SealKey) {
        let (key, request) = self.requests.first_key_value().expect("somebody asked");

        (*key, request.id, request.seal_key)
    }

    fn certified_key(&self) -> VerifyKey {
        match &self.renewal {
            Some((_, _, certificate)) => {
                protocol::certificate::claimed_identity(certificate)
                    .expect("ours")
                    .key
            }
            None => *self.requests.first_key_value().expect("somebody joined").0,
        }
    }

    fn renew(&mut self, nonce: [u8; 16], csr: &[u8]) -> Result<Renewed, WireError> {
        if let Some(error) = &self.refuse_renewal {
            return Err(error.clone());
        }
        let key = parse_csr(csr).map_err(|_| WireError::new(Code::CsrInvalid, "no"))?;
        let again = self.renewal.as_ref().filter(|(spent, ..)| *spent == nonce);
        let certificate = match again {
            Some((_, known, certificate)) if known == csr => certificate.clone(),
            Some(_) => return Err(WireError::new(Code::IdentityCloned, "two of you")),
            None => self
                .node_ca
                .issue(Holder::Node(node()), self.id, key, self.now)
                .to_vec(),
        };
        self.renewal = Some((nonce, csr.to_vec(), certificate.clone()));

        Ok(Renewed {
            certificate: certificate.into(),
            controllers: Vec::new(),
        })
    }

    /// Answers at the node door; `None` is a poll that waits.
    pub(super) fn node(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let request: NodeRequest = cbor::decode(body).expect("the machine sends what decodes");
        let reply: Answer<NodeReply> = match request {
            NodeRequest::Poll(poll) => Answer::Done(NodeReply::Poll(self.news(&poll)?)),
            NodeRequest::Heartbeat(heartbeat) => {
                self.heard.push(heartbeat);
                Answer::Done(NodeReply::Heard {
                    observed: None,
                    left_out: Vec::new(),
                })
            }
            NodeRequest::Report(_) => {
                self.reported += 1;
                Answer::Done(NodeReply::Reported)
            }
            NodeRequest::Renew(renew) => match self.renew(renew.nonce, &renew.csr) {
                Ok(renewed) => Answer::Done(NodeReply::Renewed(renewed)),
                Err(error) => Answer::Refused(error),
            },
            NodeRequest::Leave => Answer::Done(NodeReply::Left),
        };

        Some(cbor::encode(&reply))
    }

    /// What a poll is answered with at once; without news only one that may not wait is.
    fn news(&self, poll: &Poll) -> Option<PollReply> {
        let mut reply = self.whole_reply(node());
        let known = |bytes: &ByteVec| {
            let hash = Envelope::parse(bytes).expect("ours").hash();
            poll.have.iter().any(|have| have.hash == hash)
        };
        reply.documents.retain(|bytes| !known(bytes));
        reply.shared.retain(|bytes| !known(bytes));
        let nothing = reply.documents.is_empty() && reply.shared.is_empty();

        (!nothing || poll.wait_ms == 0).then_some(reply)
    }

    /// What a poll is answered with when its time is over.
    pub(super) fn not_modified(&mut self) -> Vec<u8> {
        self.number += 1;
        let mut reply = self.whole_reply(node());
        reply.documents.clear();
        reply.shared.clear();

        cbor::encode(&Answer::Done(NodeReply::Poll(reply)))
    }
}

impl Ca {
    pub(super) fn new(role: CertificateRole, cluster: ClusterId, seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let validity = Validity {
            not_before: START.before(Duration::from_secs(3600)),
            not_after: START.after(Duration::from_secs(3650 * 24 * 3600)),
        };
        let certificate = issue_ca(role, cluster, &key, serial(seed.into()), validity).expect("a good CA");

        Self {
            key,
            certificate: certificate.to_vec(),
        }
    }

    pub(super) fn issue(
        &self,
        holder: Holder,
        cluster: ClusterId,
        key: VerifyKey,
        now: Wall,
    ) -> CertificateDer<'static> {
        let leaf = Leaf {
            holder,
            cluster,
            key,
            serial: serial(now.0),
            validity: match holder {
                Holder::Node(_) => Validity::starting(now, LEAF_LIFE),
                // The controllers of these tests outlive every clock they are shown at.
                Holder::Controller(_) => Validity::starting(now, LEAF_LIFE * 500),
            },
        };

        IssuingCa::open(&self.certificate, &self.key)
            .expect("our own CA")
            .issue(&leaf)
            .expect("a good leaf")
    }
}

/// The node that every joiner becomes.
pub(super) fn node() -> NodeId {
    NodeId::from_bytes([0x0D; 16])
}

/// The leaf of a node that has these documents.
pub(super) fn leaf(node: NodeId, documents: &[ByteVec]) -> merkle::Leaf {
    let entry = |bytes: &ByteVec| {
        let envelope = Envelope::parse(bytes).expect("ours");
        let claimed = envelope.claimed();

        merkle::Entry::new(claimed.kind, claimed.version, envelope.hash())
    };

    merkle::Leaf::new(node, documents.iter().map(entry))
}

/// A reply that says where a node stands in the tree, and brings nothing.
pub(super) fn placed(beacon: ByteVec, tree: &merkle::Tree, node: NodeId) -> PollReply {
    PollReply {
        beacon,
        leaf: tree.leaf(node).expect("it is in the tree").entries().to_vec(),
        inclusion: tree.prove(node).expect("it is in the tree"),
        documents: Vec::new(),
        shared: Vec::new(),
        retry_within_ms: None,
    }
}

fn pin(bytes: &[u8]) -> Pin {
    let envelope = Envelope::parse(bytes).expect("ours");

    Pin {
        version: envelope.claimed().version,
        hash: envelope.hash(),
    }
}

fn serial(number: u64) -> Serial {
    let mut bytes = [0x40; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());

    Serial::from_bytes(bytes)
}
