//! What two machines must agree on: ids, keys, signed documents, requests, frames, names and limits.
//!
//! Pure: no clock, entropy, environment, socket or file. Time and randomness are arguments.

pub mod admit;
pub mod cbor;
pub mod certificate;
pub mod document;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod id;
pub mod key;
pub mod limits;
pub mod merkle;
pub mod net;
pub mod node;
pub mod sealed;
pub mod strict;
pub mod time;
pub mod token;
pub mod wire;
