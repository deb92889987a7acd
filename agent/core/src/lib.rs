//! Placeholder head.

pub mod control;
