//! QUIC for both shells: transport settings, sockets, and one framed request per stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::error::Code;
use protocol::limits;
use protocol::wire::{self, FRAME_PREFIX};
use quinn::congestion::{Controller, ControllerFactory};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;

/// Settings of a connection between a controller and an agent, as the server has it. The receive window starts
/// at what a stranger may fill; [`admitted`] raises it.
pub fn controller_transport() -> TransportConfig {
    let mut transport = request_transport();
    transport.receive_window(VarInt::from_u32(limits::UNADMITTED_BYTES as u32));

    transport
}

/// Settings of a connection to a controller, as the agent has it.
pub fn client_transport() -> TransportConfig {
    let mut transport = request_transport();
    transport.receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW));
    transport.keep_alive_interval(Some(limits::KEEP_ALIVE));

    transport
}

fn request_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(limits::STREAMS));
    transport.max_concurrent_uni_streams(VarInt::from_u32(1));
    transport.stream_receive_window(VarInt::from_u32(limits::STREAM_WINDOW));
    transport.send_window(u64::from(limits::CONNECTION_WINDOW));
    transport.max_idle_timeout(Some(idle()));
    transport.datagram_receive_buffer_size(None);
    transport.crypto_buffer_size(CRYPTO_BUFFER);

    transport
}

/// Settings of a connection between two nodes: datagrams, one stream for `welcome`, and a window that a black hole
/// does not shrink (the default controller starves probes for seconds after the path heals).
pub fn mesh_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(1));
    transport.stream_receive_window(VarInt::from_u32(limits::UNADMITTED_BYTES as u32));
    transport.receive_window(VarInt::from_u32(limits::UNADMITTED_BYTES as u32));
    transport.datagram_receive_buffer_size(Some(MESH_RECEIVE_BUFFER));
    transport.datagram_send_buffer_size(MESH_SEND_BUFFER);
    transport.max_idle_timeout(Some(idle()));
    transport.keep_alive_interval(Some(limits::KEEP_ALIVE));
    transport.congestion_controller_factory(Arc::new(ConstantWindow));
    transport.crypto_buffer_size(CRYPTO_BUFFER);

    transport
}

/// Raises what an admitted peer may have in flight.
pub fn admitted(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(limits::CONNECTION_WINDOW));
}

/// A congestion window that nothing moves. Rates are bounded by the class queues and the lease budgets instead.
#[derive(Clone, Debug)]
struct ConstantWindow;

impl ControllerFactory for ConstantWindow {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for ConstantWindow {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        MESH_WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        MESH_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

/// Opens the role's one UDP socket: dual stack when bound to `[::]`, with large buffers that are read back.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // The kernel may grant less (net.core.rmem_max); what it granted is reported, not assumed.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    let (receive_buffer, send_buffer) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);

    Ok(Bound {
        socket: socket.into(),
        receive_buffer,
        send_buffer,
    })
}

/// A bound socket, and the buffers that the kernel granted, in bytes.
#[derive(Debug)]
pub struct Bound {
    pub socket: std::net::UdpSocket,
    pub receive_buffer: usize,
    pub send_buffer: usize,
}

/// Bounds of an endpoint that strangers can reach.
pub fn harden(server: &mut quinn::ServerConfig) {
    server.max_incoming(MAX_INCOMING);
    server.incoming_buffer_size(limits::UNADMITTED_BYTES as u64);
    server.incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
}

/// Sends one request and reads its reply.
pub async fn request(
    connection: &Connection,
    body: &[u8],
    deadline: Duration,
) -> Result<Vec<u8>, ExchangeFailed> {
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(ExchangeFailed::Connection)?;
        write_frame(&mut send, body).await?;
        read_frame(&mut receive, limits::FRAME_BYTES).await
    };

    tokio::time::timeout(deadline, exchange)
        .await
        .map_err(|_| ExchangeFailed::TimedOut)?
}

/// Writes one frame and finishes the stream.
pub async fn write_frame(send: &mut SendStream, body: &[u8]) -> Result<(), ExchangeFailed> {
    let length = u32::try_from(body.len()).map_err(|_| ExchangeFailed::TooLong)?;
    send.write_all(&length.to_be_bytes())
        .await
        .map_err(ExchangeFailed::Write)?;
    send.write_all(body).await.map_err(ExchangeFailed::Write)?;

    send.finish().map_err(|_| ExchangeFailed::Closed)
}

/// Reads one frame of at most `limit` bytes; a longer announcement is refused before anything is allocated.
pub async fn read_frame(receive: &mut RecvStream, limit: usize) -> Result<Vec<u8>, ExchangeFailed> {
    let mut prefix = [0; FRAME_PREFIX];
    receive
        .read_exact(&mut prefix)
        .await
        .map_err(ExchangeFailed::Read)?;
    let length = wire::announced_length(prefix, limit).map_err(|_| ExchangeFailed::TooLong)?;
    let mut body = vec![0; length];
    receive
        .read_exact(&mut body)
        .await
        .map_err(ExchangeFailed::Read)?;

    Ok(body)
}

/// Reads a frame that is alone on its stream: what follows it is refused, and so is an end before its own.
pub async fn read_only_frame(receive: &mut RecvStream, limit: usize) -> Result<Vec<u8>, ExchangeFailed> {
    let read = read_frame(receive, limit).await;
    if let Err(ExchangeFailed::Read(quinn::ReadExactError::FinishedEarly(_))) = read {
        return Err(ExchangeFailed::NotOneFrame);
    }
    let body = read?;
    match receive.read_to_end(0).await {
        Ok(_) => Ok(body),
        Err(quinn::ReadToEndError::TooLong) => Err(ExchangeFailed::NotOneFrame),
        Err(quinn::ReadToEndError::Read(error)) => {
            Err(ExchangeFailed::Read(quinn::ReadExactError::ReadError(error)))
        }
    }
}

/// 32 bytes that only the two ends of this connection know (RFC 5705).
pub fn exported(connection: &Connection) -> Result<[u8; 32], ExchangeFailed> {
    let mut exported = [0; 32];
    connection
        .export_keying_material(&mut exported, wire::Proof::EXPORTER_LABEL, b"")
        .map_err(|_| ExchangeFailed::Closed)?;

    Ok(exported)
}

/// The certificates that the other side showed, leaf first.
pub fn peer_chain(connection: &Connection) -> Vec<CertificateDer<'static>> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map(|chain| *chain)
        .unwrap_or_default()
}

/// The protocol and the server name that were negotiated.
pub fn negotiated(connection: &Connection) -> (Option<Vec<u8>>, Option<String>) {
    connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .map(|data| (data.protocol, data.server_name))
        .unwrap_or_default()
}

/// Closes a connection, and says why: the code's number, and its text as the reason.
pub fn close(connection: &Connection, why: Code) {
    connection.close(VarInt::from_u32(u32::from(why.number())), why.text().as_bytes());
}

/// The code with which the other side closed a connection, if this version knows it.
pub fn closed_with(error: &ConnectionError) -> Option<Code> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            std::str::from_utf8(&close.reason).ok().and_then(Code::parse)
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => None,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExchangeFailed {
    /// The stream or connection was closed under the exchange.
    #[error("the stream is closed")]
    Closed,
    /// The connection is gone.
    #[error("the connection was lost")]
    Connection(#[source] ConnectionError),
    /// The stream ended within its frame, or went on behind it.
    #[error("the stream does not hold one whole frame")]
    NotOneFrame,
    /// The stream ended, or was reset, before the frame did.
    #[error("the frame could not be read")]
    Read(#[source] quinn::ReadExactError),
    /// No reply within the deadline.
    #[error("no reply in time")]
    TimedOut,
    /// The frame is longer than this door allows.
    #[error("the frame is too long")]
    TooLong,
    /// The peer stopped reading, or the connection is gone.
    #[error("the frame could not be written")]
    Write(#[source] quinn::WriteError),
}

fn idle() -> quinn::IdleTimeout {
    limits::IDLE.try_into().expect("30 s fits QUIC's idle timeout")
}

/// Post-quantum handshakes have flights of about 1.5 KiB; this leaves room for a chain of two.
const CRYPTO_BUFFER: usize = 16 * 1024;
const MESH_WINDOW: u64 = 1024 * 1024;
/// Kept small: quinn drops the oldest of any class, so classes wait in our own queues.
const MESH_SEND_BUFFER: usize = 16 * 1024;
const MESH_RECEIVE_BUFFER: usize = 256 * 1024;
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Handshakes under way at once; quinn's default of 65,536 would be about 100 MiB.
const MAX_INCOMING: usize = 4_096;
const INCOMING_BUFFER_TOTAL: u64 = 16 * 1024 * 1024;
