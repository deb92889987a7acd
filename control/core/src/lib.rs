//! The controller's kernel: who may do what to which record, decided inside one open transaction.

pub mod store;
