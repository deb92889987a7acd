//! Which connections are kept, by this end alone; both ends together are in the world's tests.
