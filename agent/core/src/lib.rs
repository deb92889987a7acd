//! What a node decides, without a clock, a socket or a disk of its own: [`control`] is its life with the controllers,
//! [`mesh`] its life with its neighbours, [`porch`] who of those that knock may begin a handshake.

pub mod control;
pub mod mesh;
pub mod porch;
