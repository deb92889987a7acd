//! TLS 1.3 without resumption, tickets or early data, on both sides of every connection.
//!
//! rustls proves possession of the leaf's key; which leaf opens which door is decided by [`protocol::admit`]. The
//! verifiers here delegate to it, so that a stranger's certificate already fails in the handshake.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::admit::{self, Anchors, Revocations};
use protocol::certificate::{ServerOf, controller_server_name, node_server_name};
use protocol::id::{ClusterId, NodeId};
use protocol::key::SigningKey;
use protocol::time::Wall;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::clock::Clock;

/// What both sides are judged by; replaced whole when a new bundle or revocation list is adopted.
#[derive(Clone, Default)]
pub struct Trust {
    state: Arc<RwLock<Arc<TrustState>>>,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Debug, Default)]
pub struct TrustState {
    pub anchors: Anchors,
    pub revocations: Revocations,
}

impl Trust {
    pub fn new(anchors: Anchors, revocations: Revocations) -> Self {
        let trust = Self::default();
        trust.replace(anchors, revocations);

        trust
    }

    /// Judges certificates by the time of `clock` instead of the system's.
    pub fn timed_by(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }

    pub fn replace(&self, anchors: Anchors, revocations: Revocations) {
        let state = Arc::new(TrustState { anchors, revocations });
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn get(&self) -> Arc<TrustState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self, system: UnixTime) -> Wall {
        match &self.clock {
            Some(clock) => clock.now().wall,
            None => Wall(system.as_secs() * 1_000),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.get()).finish()
    }
}

/// The certificate that a server shows: none until the first is put in, another from the next handshake on. No
/// connection is closed by that.
#[derive(Clone, Debug, Default)]
pub struct OwnLeaf(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl OwnLeaf {
    pub fn replace(&self, leaf: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(leaf);
    }

    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for OwnLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// A leaf with its key, ready for a handshake.
pub fn certified_key(leaf: Vec<u8>, key: &SigningKey) -> Result<Arc<CertifiedKey>, Error> {
    let pkcs8 = key.reveal_pkcs8();
    let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
    let signer = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&der)?;

    Ok(Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(leaf)],
        signer,
    )))
}

/// A server for `alpns`. `doors` says whether a client may come without a certificate.
pub fn server_config(
    alpns: &[&[u8]],
    resolver: Arc<dyn ResolvesServerCert>,
    doors: ClientDoors,
) -> Result<quinn::crypto::rustls::QuicServerConfig, TlsUnusable> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsUnusable::Rustls)?
        .with_client_cert_verifier(Arc::new(doors))
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});

    quinn::crypto::rustls::QuicServerConfig::try_from(config).map_err(|_| TlsUnusable::NoInitialSuite)
}

/// A client that dials `expected`, and shows `identity` if it has one.
pub fn client_config(
    alpn: &[u8],
    expected: ExpectedServer,
    identity: Option<Arc<CertifiedKey>>,
) -> Result<quinn::crypto::rustls::QuicClientConfig, TlsUnusable> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsUnusable::Rustls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(expected));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();

    quinn::crypto::rustls::QuicClientConfig::try_from(config).map_err(|_| TlsUnusable::NoInitialSuite)
}

#[derive(Debug, thiserror::Error)]
pub enum TlsUnusable {
    /// The provider lacks the suite that QUIC's first packets need.
    #[error("the TLS provider has no suite for QUIC's first packets")]
    NoInitialSuite,
    /// rustls refuses the configuration.
    #[error("the TLS configuration is refused")]
    Rustls(#[source] Error),
}

/// Which clients a server lets finish a handshake.
#[derive(Clone)]
pub struct ClientDoors {
    pub trust: Trust,
    /// Whether some ALPN is open to strangers.
    pub strangers: bool,
    /// The doors of which a shown certificate must open one: [`admit::NODE`], [`admit::PEER`], [`admit::MESH`].
    pub doors: &'static [&'static [u8]],
}

impl fmt::Debug for ClientDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientDoors")
            .field("strangers", &self.strangers)
            .finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientDoors {
    fn client_auth_mandatory(&self) -> bool {
        !self.strangers
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trust = self.trust.get();
        let chain = std::slice::from_ref(leaf);
        let now = self.trust.now(now);
        let known = trust.anchors.clusters().any(|cluster| {
            self.doors.iter().any(|alpn| {
                admit::admit(
                    Some(alpn),
                    Some(&name_at(alpn, cluster)),
                    chain,
                    &trust.anchors,
                    &trust.revocations,
                    now,
                )
                .is_ok()
            })
        });
        match known {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            leaf,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Whom a client expects to reach.
#[derive(Clone, Debug)]
pub enum ExpectedServer {
    /// Exactly this, under the trust in force at the time of the handshake.
    Known {
        server: ServerOf,
        cluster: ClusterId,
        trust: Trust,
    },
    /// Whoever holds the key of the leaf it shows: the joiner judges the leaf after `welcome`.
    Unjudged,
}

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Self::Known {
            server,
            cluster,
            trust,
        } = self
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let now = trust.now(now);
        let trust = trust.get();
        let chain = std::slice::from_ref(leaf);
        admit::verify_server(
            chain,
            (*server, *cluster),
            &trust.anchors,
            &trust.revocations,
            now,
        )
        .map(|_| ServerCertVerified::assertion())
        .map_err(|refused| {
            tracing::debug!(%refused, "the server is not the one expected");
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            leaf,
            signed,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A server name that fits a door: whether it is ours is seen at admission, when the name that was asked for is known.
fn name_at(alpn: &[u8], cluster: ClusterId) -> String {
    match alpn == admit::MESH {
        true => node_server_name(NodeId::from_bytes([0; 16]), cluster),
        false => controller_server_name(cluster),
    }
}

/// aws-lc-rs with the post-quantum hybrid first (X25519MLKEM768) and plain X25519 behind it.
fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    let groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];

    Arc::new(CryptoProvider {
        kx_groups: groups,
        ..default_provider()
    })
}
