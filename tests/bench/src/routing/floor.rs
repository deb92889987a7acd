//! The least that deciding takes: every candidate of a route compared by the same order, from one flat array.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A candidate as a bare array would hold it, in the order of the comparison.
type Row = (u8, u8, u32, u8, u32, u64);

/// The evidence of many routes, route after route.
pub(super) struct Flat {
    rows: Vec<Row>,
    candidates: usize,
}

impl Flat {
    pub(super) fn of(routes: usize, candidates: usize) -> Self {
        let mut state = 1_u64;
        let rows = (0..routes * candidates).map(|_| {
            // Knuth's MMIX generator: the floor wants no cache-friendly pattern, and no more than that.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let word = state >> 32;

            (
                u8::from(word & 7 == 0),
                u8::from(word & 31 == 0),
                u32::try_from(word % 200_000).unwrap_or(0),
                1,
                u32::try_from(word & 0xff).unwrap_or(0),
                state,
            )
        });

        Self {
            rows: rows.collect(),
            candidates,
        }
    }

    /// The best three of each route.
    pub(super) fn decide(&self) -> Duration {
        let started = Instant::now();
        for route in self.rows.chunks_exact(self.candidates) {
            let mut best = [None; 3];
            for row in route {
                let mut row = Some(class(row));
                for place in &mut best {
                    if place.is_none() || row < *place {
                        std::mem::swap(place, &mut row);
                    }
                    if row.is_none() {
                        break;
                    }
                }
            }
            black_box(best);
        }

        started.elapsed()
    }
}

/// Round trips count in classes of 20 %, as they do in the product.
fn class(row: &Row) -> (u8, u8, u32, u8, u32, u64) {
    let ten_ms = row.2 / 10_000;
    let class = if ten_ms < 5 {
        ten_ms
    } else {
        5 + (ten_ms / 5).ilog2() * 4
    };

    (row.0, row.1, class, row.3, row.4 / 1_000, row.5)
}
