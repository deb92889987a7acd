//! Placeholder head.

pub mod control;
pub mod mesh;
