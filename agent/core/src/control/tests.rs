//! The machine against a controller that signs for real, and a disk that forgets what was not written.

mod attacks;
mod booting;
mod cluster;
mod confirming;
mod crashes;
mod host;
mod joining;
mod leaving;
mod renewing;
mod sessions;
mod standstills;
mod unwritten;
mod welcomes;
mod witnesses;
