//! What a controller does: the socket, the writer, timers, the admin API.

pub mod admin;
pub mod board;
pub mod controller;
pub mod init;
pub mod leaves;
pub mod listen;
pub mod pulse;
pub mod queue;
pub mod timers;
pub mod writer;

mod backup;
mod figures;
mod journal;
mod lobby;
mod nodes;
mod reached;
mod secrets;
mod shown;
