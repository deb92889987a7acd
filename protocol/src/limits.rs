//! Every bound of the wire, in one place, each with its reason.

use std::time::Duration;

/// Bytes a peer may make us hold before it has been admitted.
pub const UNADMITTED_BYTES: usize = 64 * 1024;
/// One request or reply. A synthetic config for 64 neighbours is about 40 KiB.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Nesting of any CBOR we decode; our own documents need 8.
pub const CBOR_DEPTH: usize = 16;
/// Requests in flight on one connection: a parked poll, a heartbeat, a report, and some.
pub const STREAMS: u32 = 8;
pub const STREAM_WINDOW: u32 = 256 * 1024;
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
pub const IDLE: Duration = Duration::from_secs(30);
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// A mesh frame, which must fit one datagram on any path that carries QUIC (RFC 9000 14: 1,200 bytes of UDP).
pub const MESH_FRAME_BYTES: usize = 1_100;
/// Candidates a node may publish.
pub const CANDIDATES: usize = 8;
/// Standbys of one route decision.
pub const STANDBYS: usize = 2;
/// Rows of one relay's lease table; at 64 bytes a row the document stays below [`FRAME_BYTES`].
pub const LEASE_ROWS: usize = 8_000;

/// Reports of refreshes that a node keeps: the newest of each way of a route that was bad lately. One report tells them all.
pub const REFRESHES: usize = 256;

/// Keys one request may write: with room below etcd's 128 operations a transaction.
pub const WRITE_KEYS: usize = 100;
/// Bytes one request may write: half of etcd's 1 MiB, so that two fit a group commit.
pub const WRITE_BYTES: usize = 512 * 1024;

/// Text a peer gives us and we show to people: names, reasons, host facts.
pub const TEXT_BYTES: usize = 256;
