//! What a controller says first on every connection.

use control_core::authority;
use control_core::behind;
use control_core::store::View;
use protocol::admit::Refused;
use protocol::error::Code;
use protocol::id::ControllerId;
use protocol::wire::Welcome;

use crate::failure::Failure;
use crate::publication::Publication;

/// The authority with its history, and the cluster's newest shared documents. A store that is behind its fleet shows no
/// beacon: it may look newer than the fleet's to who has none.
pub fn welcome(
    view: &dyn View,
    publication: &Publication,
    controller: ControllerId,
) -> Result<Welcome, Failure> {
    let may_speak = behind::find(view)?.is_none();

    Ok(Welcome {
        controller: Some(controller),
        authority: publication.authority,
        epoch: publication.rank.epoch,
        successions: authority::successions(view, publication.cluster)?,
        bundle: publication.bundle.bytes.clone().into(),
        beacon: may_speak.then(|| publication.beacon.clone().into()),
        revocations: Some(publication.revocations.bytes.clone().into()),
    })
}

/// What a refused connection hears.
pub const fn code_of(refused: &Refused) -> Code {
    match refused {
        Refused::NoCertificate => Code::IdentityMissing,
        Refused::Revoked(_) => Code::NodeRevoked,
        Refused::Expired { .. } | Refused::NotYetValid { .. } | Refused::IssuerNotValid => {
            Code::SignatureInvalid
        }
        Refused::UnknownCluster { .. } | Refused::WrongCluster { .. } => Code::WrongCluster,
        Refused::MalformedCertificate(_)
        | Refused::NotServed
        | Refused::UnknownAlpn
        | Refused::UnknownServerName
        | Refused::Unverifiable(_)
        | Refused::WrongIssuer
        | Refused::WrongNode { .. }
        | Refused::WrongRole { .. }
        | Refused::WrongUsage => Code::WrongCertKind,
    }
}
