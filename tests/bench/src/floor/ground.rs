//! Keys, certificates and settings of the floors.

use std::sync::Arc;
use std::time::Duration;

use agent_shell::clock::{Clock, SystemClock};
use agent_shell::{quic, tls};
use protocol::certificate::{CertificateRole, Holder, IssuingCa, Leaf, Validity, issue_ca};
use protocol::document::authority::Serial;
use protocol::id::{ClusterId, NodeId};
use protocol::key::SigningKey;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ServerConfig, TransportConfig, VarInt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Kind;

/// The protocol that floors speak.
pub(crate) const ALPN: &[u8] = b"floor";

/// A client of floors, by its number.
pub(crate) fn identity(number: u64) -> Arc<CertifiedKey> {
    let key = SigningKey::from_seed(&[CLIENT; 32]);
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());

    tls::certified_key(leaf(&key, NodeId::from_bytes(id)).to_vec(), &key).expect("an Ed25519 key")
}

/// A server that asks for a certificate of the floors' CA.
pub(super) fn server(kind: Kind) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority()).expect("a CA");
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = SigningKey::from_seed(&[SERVER; 32]);
    let pkcs8 = PrivatePkcs8KeyDer::from(key.reveal_pkcs8().to_vec());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(clients.build().expect("a verifier"))
        .with_single_cert(
            vec![leaf(&key, NodeId::from_bytes([SERVER; 16]))],
            PrivateKeyDer::Pkcs8(pkcs8),
        )
        .expect("a certificate with its key");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let crypto = QuicServerConfig::try_from(config).expect("a suite for QUIC");
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    let transport = match kind {
        // What a datagram meets in the product is the mesh's own settings: a window that nothing moves.
        Kind::Relays => quic::mesh_transport(),
        Kind::Handshakes | Kind::Answers(_) | Kind::Parks => lean(),
    };
    server.transport_config(Arc::new(transport));

    server
}

/// As small as a connection can be that serves requests.
fn lean() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(4));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.stream_receive_window(VarInt::from_u32(16 * 1024));
    transport.receive_window(VarInt::from_u32(32 * 1024));
    transport.send_window(64 * 1024);
    transport.datagram_receive_buffer_size(None);
    transport.crypto_buffer_size(8 * 1024);
    transport.mtu_discovery_config(None);

    transport
}

fn authority() -> CertificateDer<'static> {
    let key = SigningKey::from_seed(&[AUTHORITY; 32]);

    issue_ca(CertificateRole::Node, CLUSTER, &key, serial(), validity(CA_LIFE)).expect("a CA")
}

fn leaf(key: &SigningKey, node: NodeId) -> CertificateDer<'static> {
    let issuer = SigningKey::from_seed(&[AUTHORITY; 32]);
    let authority = authority();
    let leaf = Leaf {
        holder: Holder::Node(node),
        cluster: CLUSTER,
        key: key.verify_key(),
        serial: serial(),
        validity: validity(CA_LIFE / 2),
    };

    IssuingCa::open(&authority, &issuer)
        .expect("the CA's own key")
        .issue(&leaf)
        .expect("a leaf")
}

fn serial() -> Serial {
    Serial::random(&mut StdRng::seed_from_u64(1))
}

fn validity(life: Duration) -> Validity {
    Validity::starting(SystemClock.now().wall, life)
}

const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);
const AUTHORITY: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// Longer than any bench.
const CA_LIFE: Duration = Duration::from_secs(86_400);
