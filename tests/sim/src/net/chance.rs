//! The chance of each packet: a function of the seed, its way, and its place on that way.

use std::net::{IpAddr, SocketAddr};

/// The chance of one packet.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64, way: (SocketAddr, SocketAddr), number: u64) -> Self {
        Self(mix(mix(seed ^ way_hash(way)) ^ number))
    }

    pub(super) fn per_mille(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(GOLDEN);

        u16::try_from(mix(self.0) % 1_000).unwrap_or(0)
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv), of both addresses.
pub(super) fn way_hash((from, to): (SocketAddr, SocketAddr)) -> u64 {
    let of = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    let bytes = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };

    [from, to].into_iter().fold(FNV_OFFSET, |hash, address| {
        let hash = bytes(address).to_be_bytes().into_iter().fold(hash, of);
        address.port().to_be_bytes().into_iter().fold(hash, of)
    })
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);

    z ^ (z >> 31)
}

/// Of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
