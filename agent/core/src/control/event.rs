//! The facts that the machine tells: for logs, metrics and the local API. None needs an answer.

use protocol::document::config::ControllerAddress;
use protocol::document::config::LeftOut;
use protocol::envelope::{Kind, OpenError, Realm, Subject};
use protocol::error::{Code, WireError};
use protocol::id::{ControllerId, NodeId, RequestId};
use protocol::key::Fingerprint;
use protocol::net::Address;
use protocol::time::Wall;

use super::feedback::Refreshed;
use super::file::FileName;
use super::input::{Disconnected, WriteFailed};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The settings of the config of this version leave this node a controller.
    ConfigConfirmed { version: u64 },
    /// Those of version `tried` did not: those of version `restored` are in force again, and nothing else of it.
    ConfigReverted { tried: u64, restored: u64 },
    /// Another controller address list is in force.
    ControllersChanged(Vec<ControllerAddress>),
    /// Could not read one file of the last known good state, and does without it.
    Damaged { file: FileName },
    /// Enrolled: identity and pin are on disk.
    Enrolled { node: NodeId, authority: Fingerprint },
    /// Succeeding authorities were verified, up to this epoch.
    EpochReached { epoch: u64 },
    /// The join request is made and waits for approval. The fingerprint is what the approver compares.
    JoinPending { request: RequestId, key: Fingerprint },
    /// Will not become a node on this run. An operator must act.
    JoinFailed(JoinFailure),
    /// The join door answered with something that may pass; asks again.
    JoinRetried { code: String },
    /// The node gave back what it held. The state directory has no identity any more.
    Left,
    /// The controller asks to go elsewhere.
    MovedAway { within_ms: u64 },
    /// Did not leave in the time that was given for it, and does not try any more.
    NotLeft(NotLeft),
    /// The controller tells nobody of these addresses of this node; none are left out any more if there are none.
    LeftOut(Vec<LeftOut>),
    /// Where the controller sees this node's packets come from.
    Observed(Option<Address>),
    /// A poll that followed a bad report was answered: what that brought for one path.
    Refreshed(Refreshed),
    /// A document was refused, and what is in force stays.
    Refused {
        kind: Kind,
        epoch: u64,
        version: u64,
        why: Refusal,
    },
    /// A new certificate is in force.
    Renewed { not_after: Wall },
    /// The certificate could not be renewed.
    RenewalFailed(RenewalFailure),
    /// This node is on the cluster's revocation list.
    Revoked,
    /// A controller answered and proved itself: polling begins.
    SessionOpened {
        controller: Option<ControllerId>,
        endpoint: String,
    },
    /// No session any more. Nothing that is in force changes.
    SessionClosed { endpoint: String, why: SessionEnd },
    /// No newer beacon came for [`STALE_AFTER`](super::STALE_AFTER): something holds the truth back.
    Stale,
    /// A newer beacon came again.
    NoLongerStale,
    /// A server's welcome does not hold: nothing was sent to it.
    WelcomeRefused { endpoint: String, why: WelcomeRefusal },
    /// A neighbour showed a beacon newer than any that our controller gave us.
    WitnessAhead { epoch: u64, number: u64 },
    /// A write failed; it is tried again, and what it guards waits for it.
    WriteFailed { files: Vec<FileName>, why: WriteFailed },
}

/// Why a document is not adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `valid_until` has passed: it is not newly adopted. What is in force never ends by its date.
    #[error("the document's validity ended before it was adopted")]
    Expired { valid_until: Wall },
    /// Another content under numbers that are known already.
    #[error("two different documents under one version")]
    Fork,
    /// A revocation list whose floor lies in the future: it could lack what still counts.
    #[error("the floor of the revocation list lies in the future")]
    FloorAhead,
    /// More rows, paths or candidates than the limits allow.
    #[error("the document is longer than its limits allow")]
    Limits,
    /// Header or body do not decode.
    #[error("the document is malformed")]
    Malformed,
    /// The beacon's tree or pins do not have it: it is of another snapshot.
    #[error("the document is not in the snapshot that the beacon pins")]
    NotInSnapshot,
    /// No valid signature of the authority of its epoch.
    #[error("not signed by the cluster authority")]
    NotSigned,
    /// Lower numbers than were adopted before.
    #[error("the document is older than what was adopted before")]
    Older,
    /// A revocation list without an entry above its floor that an earlier one had, or with a lower floor.
    #[error("the revocation list lacks entries of the one before")]
    Shrunk,
    /// Offered under a beacon that has not been renewed for too long.
    #[error("nothing new is adopted under a stale beacon")]
    Stale,
    /// Signed in an epoch whose key is not known here.
    #[error("the document is of an authority epoch that is not known here")]
    UnknownEpoch,
    /// Needs a feature that this version lacks.
    #[error("the document needs feature {feature}, which this version lacks")]
    UnknownFeature { feature: u32 },
    /// Written for a newer schema.
    #[error("the document has schema {found}, newer than this version reads")]
    UnknownSchema { found: u16 },
    /// The beacon pins it, this node lacks it, and it did not come with the beacon.
    #[error("the document was held back: the beacon pins it and it did not come")]
    Withheld,
    /// Another kind than its place in the reply allows, or one kind twice.
    #[error("a {} does not belong here", .found.name())]
    WrongKind { found: Kind },
    /// Another cluster's.
    #[error("the document belongs to cluster {found}")]
    WrongRealm { found: Realm },
    /// Another node's.
    #[error("the document is addressed to {found}")]
    WrongSubject { found: Subject },
}

impl Refusal {
    /// The code under which it is counted and reported.
    pub const fn code(&self) -> Code {
        match self {
            Self::Malformed => Code::InvalidRequest,
            Self::NotSigned | Self::UnknownEpoch => Code::SignatureInvalid,
            Self::WrongRealm { .. } => Code::WrongCluster,
            Self::NotInSnapshot | Self::Withheld => Code::ConflictState,
            Self::Fork => Code::ForkDetected,
            Self::Older | Self::Shrunk | Self::Stale => Code::GenerationStale,
            Self::Limits => Code::TooLarge,
            Self::Expired { .. }
            | Self::UnknownFeature { .. }
            | Self::UnknownSchema { .. }
            | Self::FloorAhead
            | Self::WrongKind { .. }
            | Self::WrongSubject { .. } => Code::ValidationFailed,
        }
    }

    /// Whether a neighbour that shows such a document must have made it: anything that the authority has signed, or may
    /// have signed with a key that is not known here yet, can be handed on in good faith.
    pub const fn is_forgery(&self) -> bool {
        match self {
            Self::Malformed
            | Self::NotSigned
            | Self::WrongKind { .. }
            | Self::WrongRealm { .. }
            | Self::WrongSubject { .. } => true,
            Self::Expired { .. }
            | Self::FloorAhead
            | Self::Fork
            | Self::Limits
            | Self::NotInSnapshot
            | Self::Older
            | Self::Shrunk
            | Self::Stale
            | Self::UnknownEpoch
            | Self::UnknownFeature { .. }
            | Self::UnknownSchema { .. }
            | Self::Withheld => false,
        }
    }

    /// Whether an honest controller can be the cause: a newer version of the program, or a clock. Such a document
    /// alone is left out; any other refusal discredits the whole reply.
    pub const fn is_honest(&self) -> bool {
        match self {
            Self::Expired { .. } | Self::UnknownFeature { .. } | Self::UnknownSchema { .. } => true,
            Self::FloorAhead
            | Self::Fork
            | Self::Limits
            | Self::Malformed
            | Self::NotInSnapshot
            | Self::NotSigned
            | Self::Older
            | Self::Shrunk
            | Self::Stale
            | Self::UnknownEpoch
            | Self::Withheld
            | Self::WrongKind { .. }
            | Self::WrongRealm { .. }
            | Self::WrongSubject { .. } => false,
        }
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Malformed(_) | OpenError::NotAnEnvelope => Self::Malformed,
            OpenError::NotSigned => Self::NotSigned,
            OpenError::UnknownFeature { feature } => Self::UnknownFeature { feature },
            OpenError::UnknownSchema { found } => Self::UnknownSchema { found },
            OpenError::WrongKind { found, .. } => Self::WrongKind { found },
            OpenError::WrongRealm { found } => Self::WrongRealm { found },
            OpenError::WrongSubject { found } => Self::WrongSubject { found },
        }
    }
}

/// What a beacon that a neighbour showed is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The authority has signed it, as far as can be told here.
    Believed,
    /// The neighbour has made it up, or changed it.
    Forged,
}

/// Why a server's welcome does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WelcomeRefusal {
    /// The key it names is not the authority of that epoch, by the successions from the one that is pinned.
    #[error("the authority it names does not follow from the one that is pinned")]
    Authority,
    /// The trust bundle is not what it should be.
    #[error("the trust bundle is refused")]
    Bundle(#[source] Refusal),
    /// The bundle's signature holds, and its certificates are not those of issuing CAs of this cluster.
    #[error("the trust bundle cannot be used")]
    BundleContent(#[source] protocol::admit::InvalidBundle),
    /// This very server's leaf does not come from the controller CA of the verified bundle.
    #[error("the server is no controller of this cluster")]
    Leaf(#[source] protocol::admit::Refused),
    /// The bytes are not a welcome.
    #[error("the welcome is malformed")]
    Malformed,
    /// The server's authority is not the one that is pinned.
    #[error("the server's authority {shown} is not the one that is pinned")]
    OtherAuthority { shown: Fingerprint },
    /// The revocation list is not what it should be.
    #[error("the revocation list is refused")]
    Revocations(#[source] Refusal),
    /// The claims of the token do not verify under the authority that they pin.
    #[error("the join token is refused")]
    Token(#[source] protocol::token::TokenRefused),
    /// More successions than [`SUCCESSIONS`](super::SUCCESSIONS).
    #[error("more authority epochs than are walked at once")]
    TooManyEpochs,
}

/// Why a machine will not become a node on this run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinFailure {
    /// The contract is signed, and says something else than was asked for.
    #[error("the join contract does not fit the request")]
    ContractMismatch,
    /// The contract cannot be opened or is not signed by the pinned authority.
    #[error("the join contract is refused")]
    ContractRefused,
    /// The claims of the token cannot be read.
    #[error("the join token's claims are malformed")]
    MalformedToken,
    /// There is no token, no identity, and no pending request.
    #[error("this host has neither an identity nor a join token")]
    NoToken,
    /// Neither token nor configuration name a controller.
    #[error("no controller address is known")]
    NoController,
    /// The authority that the operator configured is not that of the token.
    #[error("the configured authority is not that of the join token")]
    PinDisagrees,
    /// A controller said no; its code and sentence.
    #[error("the controller refused: {}", .0.message)]
    Refused(WireError),
    /// The configured time passed. The request stays pending, and the next run goes on asking.
    #[error("not approved within the configured time")]
    TimedOut,
    /// The configured time passed before a controller of the cluster answered: there may be no request. With how the
    /// last attempt ended.
    #[error("no controller of the token's cluster answered within the configured time")]
    Unanswered { last: Option<Disconnected> },
    /// The request was taken back.
    #[error("the join request was withdrawn")]
    Withdrawn,
}

/// Why a node that was to leave has not, when the time for it was over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLeft {
    /// A controller said no; its code and sentence.
    #[error("the controller refused: {}", .0.message)]
    Refused(WireError),
    /// A controller was asked and did not answer: it may have done it.
    #[error("a controller was asked and did not answer")]
    Unanswered,
    /// No controller was reached, so nothing was given back.
    #[error("no controller was reached")]
    Unheard,
    /// All was given back, and the state directory cannot be written. This goes on.
    #[error("the state directory cannot be written")]
    Unwritten,
}

/// Why a certificate was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewalFailure {
    /// The certificate that came begins in the future. It is renewed again until one comes that is good.
    #[error(
        "the certificate that came begins in the future: the clock of a controller, or of this host, is wrong"
    )]
    BeginsAhead { not_before: Wall },
    /// The certificate that came is not for this node and key, or not from the node CA.
    #[error("the certificate that came is refused")]
    Certificate,
    /// A controller said no for good; its code and sentence. What is in force stays.
    #[error("the controller refused: {}", .0.message)]
    Refused(WireError),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The connection went.
    Disconnected(Disconnected),
    /// The controller asked to go elsewhere.
    MovedAway,
    /// A request got no reply.
    NoReply,
    /// The config in force names other controllers.
    Readdressed,
    /// A reply did not decode, or brought documents that an honest controller has no cause to bring.
    Untrustworthy,
    /// A request was refused with this code.
    Refused(String),
    /// The next connection shows the new certificate.
    Renewed,
    /// No newer beacon came for too long: another controller may have one.
    Stale,
}
