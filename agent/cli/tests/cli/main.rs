//! The program as an operator meets it: what it prints, where, and how it ends.

mod mistakes;
mod offline;
mod program;
mod service;
