//! Worlds of real agents and controllers in virtual time, by seed.

pub mod net;
pub mod seeds;
pub mod world;
