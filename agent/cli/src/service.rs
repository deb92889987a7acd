//! Services: what runs until it is asked to stop.

pub(crate) mod agent;
pub(crate) mod controller;
pub(crate) mod facts;
pub(crate) mod metrics;
pub(crate) mod notify;
pub(crate) mod stop;

use zeroize::Zeroizing;

/// Chance of the system, from which a role draws all of its own. Never given out twice.
fn seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::Rng::fill_bytes(&mut rand::rng(), seed.as_mut_slice());

    seed
}
