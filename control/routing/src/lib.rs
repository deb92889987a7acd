//! The routing of one cluster: which pairs get a route, over which path, and why.
//!
//! ```text
//! policies + members ─ policy ─▶ wanted routes ─┐
//! reports ──────────── observations ────────────┤
//! lease rows ───────── lease, pool ─────────────┼─ decide ─▶ outcomes ─▶ rows ─ compile ─▶ documents
//! route rows ────────────────────────────────────┘                         └─ explain ─▶ text
//! ```
//!
//! Pure: rows, reports and [`protocol::time::Now`] go in, outcomes come out. The caller writes the rows, keeps the
//! in-memory parts ([`observations::Observations`], [`trend::Trends`], the books) and publishes the documents.

mod account;
mod assign;
pub mod candidate;
pub mod case;
pub mod choose;
pub mod compile;
pub mod damping;
pub mod decide;
pub mod evidence;
pub mod explain;
pub mod forecast;
pub mod journal;
pub mod lease;
pub mod meeting;
pub mod member;
pub mod neighbour;
pub mod observations;
pub mod policy;
pub mod pool;
pub mod reasons;
pub mod recall;
pub mod rendezvous;
pub mod reservation;
mod retire;
pub mod route;
pub mod score;
pub mod selection;
pub mod suspicion;
pub mod tally;
pub mod trend;
pub mod via;
