//! Reading certificates: what they say of themselves, held to our profile. Nothing here says who signed them.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_ORGANIZATION_NAME,
};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{X509Name, X509Version};

use crate::document::authority::Serial;
use crate::id::ClusterId;
use crate::key::{Digest, VerifyKey};
use crate::time::Wall;

use super::{CERTIFICATE_BYTES, CertificateRole, Holder, Identity, Validity, name, outer};

/// What a leaf says of itself. **Unverified**: anybody can write such a certificate; see [`crate::admit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedIdentity {
    pub cluster: ClusterId,
    pub holder: Holder,
    pub serial: Serial,
    pub key: VerifyKey,
    pub validity: Validity,
}

impl ClaimedIdentity {
    /// The identity that this is once `issuer` is known to have signed it.
    pub(crate) fn issued_by(self, issuer: Digest) -> Identity {
        Identity {
            cluster: self.cluster,
            holder: self.holder,
            serial: self.serial,
            issuer,
            key: self.key,
            validity: self.validity,
        }
    }
}

/// Reads a leaf (DER) and holds it to the form that we issue. **Authenticates nothing.**
pub fn claimed_identity(der: &[u8]) -> Result<ClaimedIdentity, InvalidCertificate> {
    let leaf = Read::parse(der)?;
    if leaf.x509.is_ca() {
        return Err(InvalidCertificate::Ca);
    }
    let usage = leaf.x509.key_usage().map_err(|_| InvalidCertificate::KeyUsage)?;
    if !usage.is_some_and(|usage| usage.value.digital_signature() && !usage.value.key_cert_sign()) {
        return Err(InvalidCertificate::KeyUsage);
    }
    let (holder, cluster) = names(&leaf.x509)?;

    Ok(ClaimedIdentity {
        cluster,
        holder,
        serial: leaf.serial,
        key: leaf.key,
        validity: leaf.validity,
    })
}

/// The certificate of an issuing CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaCertificate {
    pub role: CertificateRole,
    pub cluster: ClusterId,
    pub serial: Serial,
    pub key: VerifyKey,
    pub validity: Validity,
}

impl CaCertificate {
    /// What a revocation calls this CA: SHA-256 of its SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::of(&self.key.spki())
    }
}

/// Reads a CA certificate (DER), holds it to the form that we issue, and checks that it signed itself. Whether to
/// trust it is for the signed trust bundle to say.
pub fn read_ca(der: &[u8]) -> Result<CaCertificate, InvalidCertificate> {
    let ca = Read::parse(der)?;
    let constraints = ca
        .x509
        .basic_constraints()
        .map_err(|_| InvalidCertificate::NotCa)?;
    let alone = constraints
        .is_some_and(|found| found.critical && found.value.ca && found.value.path_len_constraint == Some(0));
    let usage = ca.x509.key_usage().map_err(|_| InvalidCertificate::KeyUsage)?;
    if !alone {
        return Err(InvalidCertificate::NotCa);
    }
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err(InvalidCertificate::KeyUsage);
    }
    let (role, cluster) = ca_subject(ca.x509.subject()).ok_or(InvalidCertificate::Subject)?;
    if ca.x509.subject().as_raw() != ca.x509.issuer().as_raw() {
        return Err(InvalidCertificate::Subject);
    }
    ca.key
        .verify(ca.x509.tbs_certificate.as_ref(), &ca.x509.signature_value.data)
        .map_err(|_| InvalidCertificate::SelfSignature)?;

    Ok(CaCertificate {
        role,
        cluster,
        serial: ca.serial,
        key: ca.key,
        validity: ca.validity,
    })
}

/// What is not as we issue it. Variants say which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// A CA certificate stands where a leaf should.
    #[error("a ca certificate is no leaf")]
    Ca,
    /// An extension is critical and not one that we know.
    #[error("the certificate has a critical extension that this version does not know")]
    CriticalExtension,
    /// One extension stands there twice.
    #[error("the certificate has an extension twice")]
    DuplicateExtension,
    /// The public key is not Ed25519, or of small order.
    #[error("the certificate has no ed25519 key")]
    Key,
    /// A leaf whose key may not sign, or may sign certificates; a CA whose key may not.
    #[error("the certificate's key usage does not fit")]
    KeyUsage,
    /// The bytes are not exactly one X.509 v3 certificate with an Ed25519 signature.
    #[error("not an X.509 v3 certificate signed with ed25519")]
    Malformed,
    /// The alternative names are not exactly one DNS name and one URI in our form, lower case.
    #[error("the certificate's names are not one dns name and one uri of gabion")]
    Names,
    /// The DNS name and the URI name different things.
    #[error("the certificate's dns name and uri do not agree")]
    NamesDisagree,
    /// Not a CA, or one that may have CAs below it.
    #[error("not a ca of leaves")]
    NotCa,
    /// The CA certificate is not signed with its own key.
    #[error("the ca certificate did not sign itself")]
    SelfSignature,
    /// The serial is not a positive number of 16 bytes.
    #[error("the certificate's serial number is not of 16 bytes")]
    Serial,
    /// Subject or issuer of a CA is not one of our role and cluster names.
    #[error("the ca's subject is not one of gabion's")]
    Subject,
    /// Longer than [`CERTIFICATE_BYTES`].
    #[error("the certificate is longer than {CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// The times are before 1970, or end before they begin.
    #[error("the certificate's validity is not a period")]
    Validity,
}

/// Whether 16 bytes are a positive number that DER writes in exactly 16 bytes, none of them padding.
pub(super) fn is_canonical(serial: &[u8; 16]) -> bool {
    (0x01..=0x7f).contains(&serial[0])
}

/// A certificate of either sort, with what both have.
struct Read<'a> {
    x509: X509Certificate<'a>,
    key: VerifyKey,
    serial: Serial,
    validity: Validity,
}

impl<'a> Read<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, InvalidCertificate> {
        if der.len() > CERTIFICATE_BYTES {
            return Err(InvalidCertificate::TooLarge);
        }
        let (_, x509) = X509Certificate::from_der(der).map_err(|_| InvalidCertificate::Malformed)?;
        let (signed, signature) = (x509.tbs_certificate.as_ref(), &x509.signature_value.data);
        if x509.version() != X509Version::V3 || !outer::is_canonical(der, signed, signature) {
            return Err(InvalidCertificate::Malformed);
        }
        check_extensions(&x509)?;
        let key = VerifyKey::from_spki(x509.public_key().raw).map_err(|_| InvalidCertificate::Key)?;
        let serial: [u8; 16] = x509
            .raw_serial()
            .try_into()
            .map_err(|_| InvalidCertificate::Serial)?;
        if !is_canonical(&serial) {
            return Err(InvalidCertificate::Serial);
        }
        let validity = validity(&x509)?;

        Ok(Self {
            x509,
            key,
            serial: Serial::from_bytes(serial),
            validity,
        })
    }
}

/// No extension twice, none unreadable, and no critical one that nobody here would look at.
fn check_extensions(x509: &X509Certificate<'_>) -> Result<(), InvalidCertificate> {
    x509.extensions_map()
        .map_err(|_| InvalidCertificate::DuplicateExtension)?;
    let understood = [
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
    ];
    for extension in x509.extensions() {
        if extension.critical && !understood.contains(&extension.oid) {
            return Err(InvalidCertificate::CriticalExtension);
        }
        if matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. }) {
            return Err(InvalidCertificate::Malformed);
        }
    }

    Ok(())
}

fn validity(x509: &X509Certificate<'_>) -> Result<Validity, InvalidCertificate> {
    let validity = Validity {
        not_before: wall(x509.validity().not_before)?,
        not_after: wall(x509.validity().not_after)?,
    };
    match validity.not_before < validity.not_after {
        true => Ok(validity),
        false => Err(InvalidCertificate::Validity),
    }
}

fn wall(time: ASN1Time) -> Result<Wall, InvalidCertificate> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| InvalidCertificate::Validity)?;

    Ok(Wall(seconds.saturating_mul(1000)))
}

/// The holder and cluster that both names agree on.
fn names(x509: &X509Certificate<'_>) -> Result<(Holder, ClusterId), InvalidCertificate> {
    let extension = x509
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::Names)?
        .ok_or(InvalidCertificate::Names)?;
    let ([GeneralName::DNSName(dns), GeneralName::URI(uri)]
    | [GeneralName::URI(uri), GeneralName::DNSName(dns)]) = extension.value.general_names.as_slice()
    else {
        return Err(InvalidCertificate::Names);
    };
    let (holder, cluster) = name::parse_uri(uri).ok_or(InvalidCertificate::Names)?;
    if *dns == name::dns_name(holder, cluster) {
        return Ok((holder, cluster));
    }
    match name::parse_server_name(dns) {
        Some(_) => Err(InvalidCertificate::NamesDisagree),
        None => Err(InvalidCertificate::Names),
    }
}

/// Role and cluster of a CA's subject: an organisation and a common name, each alone in its set, nothing else.
fn ca_subject(subject: &X509Name<'_>) -> Option<(CertificateRole, ClusterId)> {
    let sets: Vec<Vec<_>> = subject.iter().map(|set| set.iter().collect()).collect();
    let [organization, common] = sets.as_slice() else {
        return None;
    };
    let ([organization], [common]) = (organization.as_slice(), common.as_slice()) else {
        return None;
    };
    if *organization.attr_type() != OID_X509_ORGANIZATION_NAME || *common.attr_type() != OID_X509_COMMON_NAME
    {
        return None;
    }
    let cluster = organization.as_str().ok()?.parse().ok()?;
    let common = common.as_str().ok()?;
    let role = [CertificateRole::Node, CertificateRole::Controller]
        .into_iter()
        .find(|role| role.ca_name() == common)?;

    Some((role, cluster))
}
