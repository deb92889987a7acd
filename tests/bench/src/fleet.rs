//! A controller as it is shipped, and nodes without an agent that ask it over the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_shell::{quic, tls};
use e2e::Site;
use protocol::admit;
use protocol::cbor;
use protocol::certificate::{controller_server_name, csr};
use protocol::document::join::JoinContract;
use protocol::envelope::Envelope;
use protocol::id::{ClusterId, RequestId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::limits;
use protocol::sealed::{JOIN_CONTRACT, open_sealed};
use protocol::token::JoinToken;
use protocol::wire::{
    self, Answer, Enroll, EnrollmentStatus, Have, HostFacts, JoinReply, JoinRequest, NodeReply, NodeRequest,
    Poll, PollReply, Proof,
};
use quinn::{ClientConfig, Connection};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::sign::CertifiedKey;
use serde_json::json;

use crate::client::{self, Dialler};

/// A process with a cluster in which no pair of nodes gets a route, and a token that lets everybody in.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) site: Site,
    pub(crate) door: Door,
}

/// Where and with what hosts join. Shared by all of them.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) cluster: ClusterId,
    token: Arc<JoinToken>,
    strangers: ClientConfig,
    dialler: Dialler,
}

impl Fleet {
    /// Starts the controller. Must be called within a runtime.
    pub(crate) fn found() -> Result<Self, String> {
        let site = Site::founded();
        let policies = json!({ "policies": [
            { "name": "nobody", "priority": 10, "source": "is=absent", "target": "is=absent", "cadence": "auto" },
        ] });
        let file = site.private("policies.json", &policies.to_string());
        site.run(&["policy", "apply", &e2e::text(&file)]);
        let token = site.run(&["token", "create", "--approval", "auto", "--uses", "10000"]);
        let token = JoinToken::parse(&token).map_err(|error| error.to_string())?;
        let cluster = token
            .claims_unverified()
            .map_err(|error| error.to_string())?
            .cluster;
        let door = Door {
            address: address_of(&site)?,
            name: controller_server_name(cluster),
            cluster,
            token: Arc::new(token),
            strangers: client::config(admit::JOIN, None, quic::client_transport())?,
            dialler: Dialler::open().map_err(|error| error.to_string())?,
        };

        Ok(Self { site, door })
    }
}

/// A host that is about to join: what it prepares before it says anything.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    key: SigningKey,
    csr: Vec<u8>,
    seal: SealSecret,
}

impl Host {
    pub(crate) fn new(number: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(number as u64);
        let key = SigningKey::generate(&mut rng);

        Self {
            name: Self::name_of(number),
            csr: csr(&key),
            key,
            seal: SealSecret::generate(&mut rng),
        }
    }

    pub(crate) fn name_of(number: usize) -> String {
        format!("host-{number}")
    }
}

/// What a host has got: not looked into yet.
#[derive(Clone, Debug)]
pub(crate) struct Contract {
    request: RequestId,
    sealed: Vec<u8>,
}

/// A host that became a node.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) identity: Arc<CertifiedKey>,
}

impl Member {
    /// Opens the contract, as the agent does once it has it.
    pub(crate) fn of(host: &Host, contract: &Contract) -> Result<Self, String> {
        let Contract { request, sealed } = contract;
        let signed = open_sealed(&host.seal, JOIN_CONTRACT, request.as_bytes(), sealed)
            .map_err(|error| error.to_string())?;
        let envelope = Envelope::parse(&signed).map_err(|error| error.to_string())?;
        let body: JoinContract = envelope.claimed_body().map_err(|error| error.to_string())?;
        if body.key != host.key.verify_key() || body.request != *request {
            return Err("the contract is another host's".to_owned());
        }
        let identity = tls::certified_key(body.certificate.to_vec(), &host.key);

        Ok(Self {
            name: body.name,
            identity: identity.map_err(|error| error.to_string())?,
        })
    }
}

impl Door {
    /// From the first packet to the signed contract, on one connection: enrols, and asks for what the token approved.
    pub(crate) async fn enrol(&self, host: &Host) -> Result<Contract, String> {
        let connection = self
            .dialler
            .dial(self.address, &self.name, self.strangers.clone())
            .await?;
        welcome(&connection).await?;
        let exported = quic::exported(&connection).map_err(|error| error.to_string())?;
        let enroll = Enroll {
            claims: self.token.claims_bytes().to_vec().into(),
            secret: self.token.secret().clone(),
            proof: Proof::new(&host.key, &exported, Digest::of(&host.csr).as_bytes()),
            csr: host.csr.clone().into(),
            seal_key: host.seal.seal_key(),
            name: host.name.clone(),
            facts: HostFacts::default(),
        };
        let reply: JoinReply = exchange(&connection, &JoinRequest::Enroll(enroll)).await?;
        let JoinReply::Pending { request, .. } = reply else {
            return Err(format!("enrolling was answered with {reply:?}"));
        };
        let question = EnrollmentStatus {
            request,
            proof: Proof::new(&host.key, &exported, request.as_bytes()),
        };
        let reply: JoinReply = exchange(&connection, &JoinRequest::Status(question)).await?;
        let JoinReply::Approved(sealed) = reply else {
            return Err(format!("the contract is {reply:?}"));
        };
        connection.close(quinn::VarInt::from_u32(0), b"");

        Ok(Contract {
            request,
            sealed: sealed.to_vec(),
        })
    }

    /// A node's connection, welcomed, and the poll that it repeats: with everything that the controller has for it.
    pub(crate) async fn attach(&self, member: &Member) -> Result<Attached, String> {
        let identity = Some(Arc::clone(&member.identity));
        let config = client::config(admit::NODE, identity, quic::client_transport())?;
        let connection = self.dialler.dial(self.address, &self.name, config).await?;
        welcome(&connection).await?;
        let mut attached = Attached {
            connection,
            poll: Poll {
                beacon: None,
                have: Vec::new(),
                wait_ms: 0,
                left_out: Vec::new(),
            },
        };
        attached.catch_up().await?;

        Ok(attached)
    }
}

/// A node that has what is published to it.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) connection: Connection,
    poll: Poll,
}

impl Attached {
    /// Polls once and takes what there is.
    pub(crate) async fn catch_up(&mut self) -> Result<PollReply, String> {
        let request = NodeRequest::Poll(self.poll.clone());
        let reply: NodeReply = exchange(&self.connection, &request).await?;
        let NodeReply::Poll(reply) = reply else {
            return Err(format!("a poll was answered with {reply:?}"));
        };
        for bytes in reply.documents.iter().chain(&reply.shared) {
            let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
            let header = envelope.claimed();
            self.poll.have.retain(|have| have.kind != header.kind);
            self.poll.have.push(Have {
                kind: header.kind,
                epoch: header.epoch,
                version: header.version,
                hash: envelope.hash(),
            });
        }
        self.poll.beacon = Some(reply.beacon.clone());

        Ok(reply)
    }

    /// The bytes of its poll, to be answered after `wait` if there is nothing new.
    pub(crate) fn request(&self, wait: Duration) -> Vec<u8> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);

        cbor::encode(&NodeRequest::Poll(Poll {
            wait_ms,
            ..self.poll.clone()
        }))
    }
}

/// What the server says first.
async fn welcome(connection: &Connection) -> Result<(), String> {
    let mut stream = connection
        .accept_uni()
        .await
        .map_err(|error| format!("no welcome: {error}"))?;

    quic::read_frame(&mut stream, limits::FRAME_BYTES)
        .await
        .map(|_| ())
        .map_err(|error| format!("no welcome: {error}"))
}

pub(crate) async fn exchange<Q, A>(connection: &Connection, question: &Q) -> Result<A, String>
where
    Q: minicbor::Encode<()>,
    A: for<'b> minicbor::Decode<'b, ()>,
{
    let reply = client::ask(connection, &cbor::encode(question)).await?;
    let answer: Answer<A> = wire::read(&reply).map_err(|error| error.to_string())?;

    answer
        .into_result()
        .map_err(|refused| format!("refused: {refused:?}"))
}

fn address_of(site: &Site) -> Result<SocketAddr, String> {
    let kept = std::fs::read_to_string(site.path("controller.address")).map_err(|error| error.to_string())?;

    kept.parse().map_err(|_| format!("{kept} is no address"))
}
