//! A relay that comes and goes moves no route of the mesh more than ten times an hour.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::document::config::Transport;
use sim::net::Way;
use sim::world::{Ground, Host, Via, World};

#[test]
fn a_relay_that_flaps_every_ten_seconds_moves_no_route_more_than_ten_times_an_hour() {
    an_hour_of(secs(10));
}

#[test]
fn a_relay_that_flaps_every_minute_moves_no_route_more_than_ten_times_an_hour() {
    an_hour_of(secs(60));
}

#[test]
fn a_relay_that_flaps_every_five_minutes_moves_no_route_more_than_ten_times_an_hour() {
    an_hour_of(secs(300));
}

/// An hour in which the nearer of two relays is down for one half of each period and up for the other.
fn an_hour_of(period: Duration) {
    let mut mesh = Mesh::on_the_nearer_relay();
    let (decided, moved) = (mesh.world.decisions().len(), mesh.world.moves().len());
    let before = mesh.decided();
    let (mut flaps, mut served) = (0, 0);
    while period * flaps < HOUR {
        mesh.world.crash(mesh.near);
        mesh.world.run_for(period / 2);
        mesh.world.start(mesh.near);
        mesh.world.run_for(period / 2);
        flaps += 1;
        let rows = mesh.world.relay_rows(mesh.near);
        served += u32::from(rows.is_some_and(|rows| rows.live > 0));
    }

    assert!(period * flaps >= HOUR);
    assert!(
        served > flaps / 2,
        "it came back {served} times of {flaps} and carried again"
    );
    let switches = mesh.switches(before, decided);
    let moves = mesh.moves_since(moved);
    let said = format!("{period:?}: decided {switches:?}, sent {moves:?}");
    assert!(
        switches.values().chain(moves.values()).all(|times| *times <= 10),
        "{said}"
    );
    let relayed = mesh.relayed.iter().map(|ends| switches.get(ends).copied());
    assert!(relayed.flatten().all(|times| times >= 1), "it was in use: {said}");
}

/// Three members, of which one reaches the others over relays alone, and two relays, one of them nearer.
struct Mesh {
    world: World,
    near: Host,
    relayed: [(Host, Host); 2],
}

impl Mesh {
    fn on_the_nearer_relay() -> Self {
        let ground = Ground {
            transport: Transport {
                probe_fast: 1_000,
                ..Transport::default()
            },
            ..Ground::default()
        };
        let mut world = World::on(1, ground);
        let (near, far) = (world.relay("site-a"), world.relay("site-b"));
        let [hub, one, other] = [world.member(), world.member(), world.member()];
        for member in [hub, one, other] {
            for (from, to) in [(member, far), (far, member)] {
                world.set_way(from, to, Way::taking(Duration::from_millis(40)));
            }
        }
        let relayed = [(hub, one), (hub, other)];
        for (from, to) in relayed {
            world.set_cut_between(from, to, true);
        }
        world.until("both are on the nearer relay", secs(240), |world| {
            relayed.into_iter().all(|(from, to)| {
                let on_near = Some(Via::Relay(near));
                let ends = [(from, to), (to, from)];

                ends.into_iter()
                    .all(|(from, to)| world.active_path(from, to) == on_near)
                    && world.decided_path(from, to) == on_near
            })
        });
        world.run_for(secs(60));

        Self { world, near, relayed }
    }

    /// Where the routes go by decision now.
    fn decided(&mut self) -> BTreeMap<(Host, Host), Option<Via>> {
        let decisions = self.world.decisions();

        decisions.into_iter().map(|row| (row.ends, row.via)).collect()
    }

    /// How often each route was decided to go elsewhere, of the decisions from this one on.
    fn switches(
        &mut self,
        mut at: BTreeMap<(Host, Host), Option<Via>>,
        from: usize,
    ) -> BTreeMap<(Host, Host), u32> {
        let mut switches: BTreeMap<(Host, Host), u32> = at.keys().map(|ends| (*ends, 0)).collect();
        for row in self.world.decisions().into_iter().skip(from) {
            if at.insert(row.ends, row.via) != Some(row.via) {
                *switches.entry(row.ends).or_default() += 1;
            }
        }

        switches
    }

    /// How often each node sent to each other on another path, of the moves from this one on.
    fn moves_since(&self, from: usize) -> BTreeMap<(Host, Host), u32> {
        let mut moves = BTreeMap::new();
        for moved in self.world.moves().into_iter().skip(from) {
            *moves.entry((moved.from, moved.to)).or_default() += 1;
        }

        moves
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3_600);
