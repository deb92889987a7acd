//! What `gabion status`, `why` and the metrics show of the mesh. Plain values, copied out.

use std::time::Duration;

use protocol::document::routes::{Cadence, LeaseKind, Path};
use protocol::frame::{BootTag, Mark, RefusalReason};
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::time::Boot;

use super::effect::{LinkId, RelayPause};
use super::probe::Health;

/// One route as this end sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    pub route: RouteId,
    pub peer: NodeId,
    pub generation: u64,
    pub priority: u8,
    pub cadence: Cadence,
    /// What the decision says.
    pub decided: Path,
    /// Where our traffic goes.
    pub active: Path,
    /// Times this end moved within the generation, for whatever reason.
    pub counter: u64,
    /// Whether our traffic goes over two paths at the moment, and over which second one.
    pub doubling: Option<Path>,
    /// The far end's newest choice: its route generation and counter, and the path its traffic came over last.
    pub peer_choice: Option<Mark>,
    pub peer_path: Option<Path>,
    /// The decided path first, then the standbys in their order, then one of the generation before if it still
    /// carries.
    pub paths: Vec<PathView>,
    /// Where the ends are to meet while they have no path that works.
    pub meets_over: Option<MeetingView>,
}

/// A node over which both ends can agree when to dial each other. It carries nothing else for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeetingView {
    pub node: NodeId,
    pub lease: LeaseId,
    pub generation: u32,
    /// What the probes over it say: whether the far end can be asked there.
    pub health: Health,
    pub linked: bool,
    pub refused: Option<RefusalReason>,
}

/// One path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    pub path: Path,
    pub active: bool,
    pub health: Health,
    /// Misses in a row.
    pub misses: u16,
    pub rtt: Option<Duration>,
    /// Of the last `window` probes: lost on the way to the peer, and answers lost on the way back.
    pub lost_out: u8,
    pub lost_in: u8,
    pub window: u8,
    /// Whether there is a connection to the first hop.
    pub linked: bool,
    pub observed_hops: Vec<NodeId>,
    pub answered_at: Option<Boot>,
    /// Why the relay said it does not carry this path, if it did since the last answer.
    pub refused: Option<RefusalReason>,
}

/// One neighbour and the connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    pub peer: NodeId,
    /// The connection in use.
    pub link: Option<LinkId>,
    /// Whether our routes need it.
    pub needed: bool,
    pub dialled_by_us: Option<bool>,
    pub up_since: Option<Boot>,
    /// The transport's own estimate.
    pub rtt: Option<Duration>,
    /// The far end's run of its process, once proven.
    pub boot: Option<BootTag>,
    /// Dials in a row that failed.
    pub failures: u32,
    pub next_dial: Option<Boot>,
    /// Whether a handshake has confirmed one of the addresses we know.
    pub confirmed: bool,
    /// Connections that came up when both ends had agreed to dial at the same moment, since there is a route.
    pub met: u32,
}

/// The relay that this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayView {
    pub fresh_at: Option<Boot>,
    pub pause: Option<RelayPause>,
    pub rows: Vec<RowView>,
    /// Rows that would be carried now.
    pub live: usize,
}

/// One row of the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowView {
    pub lease: LeaseId,
    pub low: NodeId,
    pub high: NodeId,
    pub generation: u32,
    pub kind: LeaseKind,
    pub live: bool,
    pub active_at: Option<Boot>,
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub refused: u64,
    /// When the row ends if no beacon comes, once fresh.
    pub grace_ends_at: Option<Boot>,
}

/// What arrived from one peer in class `synthetic`, by the receiver's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowView {
    pub received: u64,
    /// Numbers below the highest that never came.
    pub missing: u64,
    /// Second copies, from sending on both paths.
    pub duplicates: u64,
    /// The longest time between two new frames.
    pub largest_gap: Duration,
    /// When that gap ended.
    pub gap_ended_at: Option<Boot>,
    pub last_at: Option<Boot>,
}
