//! How full relays are, with what a pass has promised so far: the next assignment sees it, so that many orphans of one
//! relay do not all choose the same next one.

use std::collections::BTreeMap;

use protocol::id::NodeId;

use crate::case::CASES;
use crate::decide::Snapshot;

/// What every relay of the pool carries and was promised, in the order of the pool.
#[derive(Clone, Debug)]
pub struct Reservations {
    rooms: Vec<(NodeId, Room)>,
    /// Rows of the tables of those who introduce, in the order of the pool.
    introduced: Vec<(NodeId, usize)>,
    /// Decisions of this pass whose cases were laid open.
    cases: usize,
}

/// How full one relay is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    /// Rows of its table: what may be withdrawn meanwhile gives no room yet.
    pub(crate) rows: usize,
    load: i64,
}

impl Room {
    /// As a case says that it was.
    pub(crate) fn known(load: u32, rows: u32) -> Self {
        Self {
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
            load: i64::from(load),
        }
    }

    /// Leases and routes.
    pub(crate) fn load(&self) -> u32 {
        u32::try_from(self.load.max(0)).unwrap_or(u32::MAX)
    }
}

impl Reservations {
    /// What the books say, before anything is promised.
    pub fn of(input: &Snapshot<'_>) -> Self {
        let room = |relay: NodeId| {
            let rows = input.leases.rows(relay);
            let leased = i64::try_from(rows).unwrap_or(i64::MAX);
            let load = leased.saturating_add(i64::from(input.routes.carried_by(relay)));

            Room { rows, load }
        };

        Self {
            rooms: input
                .relays
                .iter()
                .map(|relay| (relay.node, room(relay.node)))
                .collect(),
            introduced: input
                .relays
                .introducers()
                .map(|introducer| (introducer.node, input.leases.rows(introducer.node)))
                .collect(),
            cases: 0,
        }
    }

    /// As far ahead of the books as a pass was. The pool must have the same relays.
    pub(crate) fn known(rooms: BTreeMap<NodeId, Room>, introduced: BTreeMap<NodeId, usize>) -> Self {
        Self {
            rooms: rooms.into_iter().collect(),
            introduced: introduced.into_iter().collect(),
            cases: 0,
        }
    }

    pub fn add(&mut self, relay: NodeId) {
        self.change(relay, |room| room.load += 1);
    }

    pub fn release(&mut self, relay: NodeId) {
        self.change(relay, |room| room.load -= 1);
    }

    /// A lease that is asked for.
    pub fn lease(&mut self, relay: NodeId) {
        self.change(relay, |room| {
            room.rows += 1;
            room.load += 1;
        });
        if let Ok(at) = self.introduced.binary_search_by_key(&relay, |(node, _)| *node) {
            self.introduced[at].1 += 1;
        }
    }

    /// In the order of the pool.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Room> {
        self.rooms.iter().map(|(_, room)| *room)
    }

    /// Rows of those who introduce, in the order of the pool.
    pub(crate) fn introduced(&self) -> impl Iterator<Item = usize> {
        self.introduced.iter().map(|(_, rows)| *rows)
    }

    /// Whether another case may be laid open in this pass, and if so counts it.
    pub(crate) fn open_case(&mut self) -> bool {
        let has_room = self.cases < CASES;
        self.cases += usize::from(has_room);

        has_room
    }

    /// A relay that is not in the pool takes nothing.
    fn change(&mut self, relay: NodeId, change: impl FnOnce(&mut Room)) {
        if let Ok(at) = self.rooms.binary_search_by_key(&relay, |(node, _)| *node) {
            change(&mut self.rooms[at].1);
        }
    }
}
