//! What one node does with its neighbours: which connections it keeps, what it probes, over which path its traffic
//! goes, and, as a relay, what it carries for others.
//!
//! Documents come in verified. Time is `CLOCK_BOOTTIME`, chance a seeded generator. The host calls a `handle_*`, then
//! takes every effect from [`Mesh::poll_effect`], then waits until [`Mesh::poll_timeout`] at the latest.
//!
//! ```text
//! Mesh::new(MeshIdentity { node, cluster, boot, seal_secret }, rng: StdRng, dev: bool)
//! handle_config(&SyntheticConfig, now)       handle_routes(&Routes, now)
//! handle_lease_table(&LeaseTable, now)       handle_revocations(&RevocationList, now)
//! handle_seal_secret(SealSecret, now)        handle_beacon(Vec<u8>)
//! handle_fresh(poll_sent_at: Boot, now)      handle_controllers_tried_in_vain(now)
//! handle_link_up(LinkUp { link, peer, dialled_by_us }, now)   handle_link_down(LinkId, now)
//! handle_link_rtt(LinkId, Duration)          handle_dial_failed(NodeId, now)
//! handle_datagram(LinkId, &[u8], now)        handle_timeout(now)
//! send_synthetic(NodeId, &[u8], now) -> Result<(), NotSent>
//! poll_timeout() -> Option<Boot>             poll_effect() -> Option<Effect>
//! wants_report(now) -> bool                  take_report(now) -> Report
//! routes(now) -> Vec<RouteView>              links() -> Vec<LinkView>
//! relay(now) -> RelayView                    flow(NodeId) -> Option<FlowView>
//! take_flow_log() -> BTreeMap<NodeId, FlowView>   stats() -> &Stats
//! ```

mod bucket;
mod cadence;
mod decision;
pub mod effect;
mod flow;
pub mod probe;
pub mod queue;
mod route;
pub mod standstill;
pub mod stats;
mod track;
pub mod view;
mod window;
