//! Making certificates: self-signed issuing CAs, and the leaves below them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::document::authority::Serial;
use crate::id::ClusterId;
use crate::key::{Digest, SigningKey, VerifyKey};
use crate::time::Wall;

use super::read::is_canonical;
use super::{CaCertificate, CertificateRole, Holder, InvalidCertificate, Validity, name, read_ca};

/// Makes the self-signed certificate of an issuing CA: no CA below it, critical key usage, and a subject that
/// names role and cluster, so that no two CAs of different purpose share one.
pub fn issue_ca(
    role: CertificateRole,
    cluster: ClusterId,
    key: &SigningKey,
    serial: Serial,
    validity: Validity,
) -> Result<CertificateDer<'static>, NotIssued> {
    let mut params = params(serial, validity)?;
    params
        .distinguished_name
        .push(DnType::OrganizationName, cluster.to_string());
    params.distinguished_name.push(DnType::CommonName, role.ca_name());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = Issuer::from_params(&params, Signer::of(key));

    Ok(sign(&params, &Public(key.verify_key()), &issuer))
}

/// The key of an issuing CA together with its certificate.
#[derive(Debug)]
pub struct IssuingCa<'a> {
    profile: CaCertificate,
    issuer: Issuer<'static, Signer<'a>>,
}

impl<'a> IssuingCa<'a> {
    /// Reads the CA's certificate (DER) and checks that `key` is its key.
    pub fn open(certificate: &[u8], key: &'a SigningKey) -> Result<Self, NotAnIssuer> {
        let profile = read_ca(certificate)?;
        if profile.key != key.verify_key() {
            return Err(NotAnIssuer::WrongKey);
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(certificate), Signer::of(key))
            .map_err(|_| InvalidCertificate::Subject)?;

        Ok(Self { profile, issuer })
    }

    /// What a revocation calls this CA: SHA-256 of its SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        self.profile.id()
    }

    /// Certifies `leaf`, if it is of this CA's role and cluster and ends no later than this CA.
    pub fn issue(&self, leaf: &Leaf) -> Result<CertificateDer<'static>, NotIssued> {
        self.may_issue(leaf)?;
        let mut params = params(leaf.serial, leaf.validity)?;
        params.subject_alt_names = vec![
            SanType::DnsName(ascii(name::dns_name(leaf.holder, leaf.cluster))),
            SanType::URI(ascii(name::uri(leaf.holder, leaf.cluster))),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;

        Ok(sign(&params, &Public(leaf.key), &self.issuer))
    }

    fn may_issue(&self, leaf: &Leaf) -> Result<(), NotIssued> {
        if leaf.holder.role() != self.profile.role {
            return Err(NotIssued::WrongRole {
                ca: self.profile.role,
            });
        }
        if leaf.cluster != self.profile.cluster {
            return Err(NotIssued::WrongCluster {
                ca: self.profile.cluster,
            });
        }
        let ends = self.profile.validity.not_after;
        match leaf.validity.not_after.seconds() > ends.seconds() {
            true => Err(NotIssued::OutlivesIssuer { ends }),
            false => Ok(()),
        }
    }
}

/// What a certificate is to say. Its names follow from holder and cluster; its subject is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub holder: Holder,
    pub cluster: ClusterId,
    pub key: VerifyKey,
    pub serial: Serial,
    pub validity: Validity,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// `not_after` is not later than `not_before`.
    #[error("the certificate would end before it begins")]
    EmptyValidity,
    /// The leaf would end after its CA, which would then be the one to run out.
    #[error("the certificate would outlive its issuer")]
    OutlivesIssuer { ends: Wall },
    /// The serial's first byte is zero or has its top bit set: DER would not keep it at 16 bytes.
    #[error("the serial number is not a positive number of 16 bytes")]
    Serial,
    /// A time is past the year 9999.
    #[error("a time has no X.509 form")]
    TimeOutOfRange,
    /// The leaf names another cluster than that of the CA.
    #[error("this issuer certifies for cluster {ca} only")]
    WrongCluster { ca: ClusterId },
    /// The leaf names a node and the CA certifies controllers, or the other way round.
    #[error("this issuer certifies {} certificates only", .ca.name())]
    WrongRole { ca: CertificateRole },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIssuer {
    /// The certificate is not that of one of our CAs.
    #[error("not the certificate of an issuing ca")]
    Certificate(#[from] InvalidCertificate),
    /// The certificate belongs to another key.
    #[error("the key is not that of the issuing ca's certificate")]
    WrongKey,
}

/// What CAs and leaves have in common.
fn params(serial: Serial, validity: Validity) -> Result<CertificateParams, NotIssued> {
    if !is_canonical(serial.as_bytes()) {
        return Err(NotIssued::Serial);
    }
    if validity.not_after.seconds() <= validity.not_before.seconds() {
        return Err(NotIssued::EmptyValidity);
    }
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.not_before = x509_time(validity.not_before)?;
    params.not_after = x509_time(validity.not_after)?;
    params.distinguished_name = DistinguishedName::new();

    Ok(params)
}

fn sign(
    params: &CertificateParams,
    key: &Public,
    issuer: &Issuer<'_, Signer<'_>>,
) -> CertificateDer<'static> {
    let certificate = params
        .signed_by(key, issuer)
        .expect("there is a serial and no distribution point, and Ed25519 signs anything");

    certificate.der().clone()
}

fn x509_time(at: Wall) -> Result<OffsetDateTime, NotIssued> {
    let seconds = i64::try_from(at.seconds()).map_err(|_| NotIssued::TimeOutOfRange)?;

    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| NotIssued::TimeOutOfRange)
}

fn ascii(name: String) -> rcgen::string::Ia5String {
    name.try_into().expect("names made of ids are ASCII")
}

/// A public key, as the certificate builder takes it.
#[derive(Debug)]
struct Public(VerifyKey);

impl rcgen::PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// A private key, as the certificate builder takes it.
#[derive(Debug)]
pub(crate) struct Signer<'a> {
    key: &'a SigningKey,
    public: Public,
}

impl<'a> Signer<'a> {
    pub(crate) fn of(key: &'a SigningKey) -> Self {
        let public = Public(key.verify_key());

        Self { key, public }
    }
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}
