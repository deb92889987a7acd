//! The controller's kernel: who may do what to which record, decided inside one open transaction.
//!
//! ```text
//! request ──► api ──► a function of this crate(desk, ...) ──► rows and their audit record, or a refusal
//!                      desk = open transaction + keys behind a port + time + chance + who asks
//! ```
//!
//! A function that returns `Err` may have written already: the caller rolls the transaction back. Every refusal and
//! failure has a [`protocol::error::Code`], by its `code` method.

pub mod audit;
pub mod authority;
pub mod behind;
pub mod cluster;
pub mod damage;
pub mod desk;
pub mod doorkeeper;
pub mod failure;
pub mod finding;
pub mod installation;
pub mod issuing;
pub mod join;
pub mod liveness;
pub mod names;
pub mod node;
pub mod operator;
pub mod publish;
pub mod roles;
pub mod settings;
pub mod signer;
pub mod store;
pub mod testing;
pub mod token;
pub mod vault;
