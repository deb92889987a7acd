//! The rules of routing, judged from outside: a cluster in memory whose agents tell the truth, or lie.

mod case;
mod compile;
mod damping;
mod decide;
mod explain;
mod forecast;
mod herd;
mod journal;
mod meeting;
mod policy;
mod properties;
mod selection;
mod sick;
mod suspicion;
mod world;
