//! Certificate requests (PKCS#10, RFC 2986): proof that the sender holds a key. Nothing else in one counts.

use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::key::{SigningKey, VerifyKey};

use super::issue::Signer;
use super::{CERTIFICATE_BYTES, outer};

/// A request, in DER, for a certificate of `key`: no names, no extensions.
pub fn csr(key: &SigningKey) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&Signer::of(key))
        .expect("an empty request and an Ed25519 key make a request");

    request.der().to_vec()
}

/// Reads the key out of a request and checks that the request is signed with it.
///
/// Names, extensions and attributes that it asks for are ignored: the controller decides what a certificate says.
pub fn parse_csr(der: &[u8]) -> Result<VerifyKey, InvalidCsr> {
    if der.len() > CERTIFICATE_BYTES {
        return Err(InvalidCsr::TooLarge);
    }
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| InvalidCsr::Malformed)?;
    let (info, signature) = (&request.certification_request_info, &request.signature_value.data);
    let key = VerifyKey::from_spki(info.subject_pki.raw).map_err(|_| InvalidCsr::NotEd25519)?;
    if !outer::is_canonical(der, info.raw, signature) {
        return Err(InvalidCsr::Malformed);
    }
    key.verify(info.raw, signature)
        .map_err(|_| InvalidCsr::BadSignature)?;

    Ok(key)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCsr {
    /// The request is not signed with the key it carries: changed on the way, or made without the key.
    #[error("the certificate request is not signed with its own key")]
    BadSignature,
    /// The bytes are not exactly one PKCS#10 request with an Ed25519 signature.
    #[error("not a certificate request")]
    Malformed,
    /// The key is of another algorithm, or of small order.
    #[error("the certificate request has no ed25519 key")]
    NotEd25519,
    /// Longer than [`CERTIFICATE_BYTES`].
    #[error("the certificate request is longer than {CERTIFICATE_BYTES} bytes")]
    TooLarge,
}
