//! The program as an operator meets it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mistakes;
mod offline;
mod program;
mod replay;
mod service;
mod units;
