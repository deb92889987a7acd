//! The store: memory is the index, an [`Engine`] is the log.
//!
//! ```text
//!  request ─► Group ─► layer ─► overlay ─► engine commit ─► view ─► Snapshot
//!             (one writer)      (in memory) (durable)       (every reader)
//! ```
//!
//! The one writer decides requests on an overlay of the resident view, [`Group::commit`] makes their writes durable
//! and only then visible; readers on any thread take a [`Snapshot`].

pub mod engine;
pub mod memory;
pub mod sqlite;

mod key;
mod overlay;
mod rows;
mod snapshot;
mod store;
mod view;

pub use engine::{Engine, EngineReader, Revision, Term};
pub use key::{Key, Span};
pub use overlay::Bound;
pub use snapshot::{ChangedRow, Snapshot, StoreReader};
pub use store::{Group, GroupFailed, Store, StoreOpenFailed};
