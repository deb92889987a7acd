//! Who is where in the demo, and which pairs carry frames.

use std::fmt;
use std::time::Duration;

use super::underlay::Machine;

/// Everybody but the controller, relays first.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seats: Vec<Seat>,
}

/// One node and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) site: Site,
    pub(crate) machine: Machine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Relay,
    Member,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Member => "member",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    North,
    South,
}

impl Site {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::North => "north",
            Self::South => "south",
        }
    }

    /// One way between two machines.
    pub(crate) fn latency_to(self, other: Self) -> Duration {
        match self == other {
            true => WITHIN_A_SITE,
            false => BETWEEN_SITES,
        }
    }
}

/// Two nodes, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) one: String,
    pub(crate) other: String,
}

impl Pair {
    pub(crate) fn new(one: &str, other: &str) -> Self {
        Self {
            one: one.to_owned(),
            other: other.to_owned(),
        }
    }

    /// Either end, with the end opposite.
    pub(crate) fn ends(&self) -> [(&str, &str); 2] {
        [(&self.one, &self.other), (&self.other, &self.one)]
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.one, self.other)
    }
}

impl Plan {
    /// Three relays, two of them in one site, and members in both sites by turns. `nodes` is at least [`LEAST`].
    pub(crate) fn of(nodes: u8) -> Self {
        let relays = [("r1", Site::North), ("r2", Site::North), ("r3", Site::South)];
        let relays = relays
            .into_iter()
            .map(|(name, site)| (name.to_owned(), Role::Relay, site));
        let members = (1..=usize::from(nodes) - RELAYS).map(|number| {
            let site = if number % 2 == 1 { Site::North } else { Site::South };
            (format!("m{number}"), Role::Member, site)
        });
        let machines = (CONTROLLER_NUMBER + 1..).map(Machine::new);
        let seats = relays.chain(members).zip(machines);

        Self {
            seats: seats
                .map(|((name, role, site), machine)| Seat {
                    name,
                    role,
                    site,
                    machine,
                })
                .collect(),
        }
    }

    /// Machines, with that of the controller.
    pub(crate) fn machines(&self) -> u8 {
        u8::try_from(self.seats.len())
            .ok()
            .and_then(|nodes| nodes.checked_add(CONTROLLER_NUMBER))
            .unwrap_or(u8::MAX)
    }

    /// The members among which every pair carries frames and suffers faults, and those added, each with the one
    /// before it: frames between everybody would measure the machine and not the mesh.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let members: Vec<&Seat> = self
            .seats
            .iter()
            .filter(|seat| seat.role == Role::Member)
            .collect();
        let mut pairs = Vec::new();
        for (place, other) in members.iter().enumerate() {
            let first = if place < MEMBERS { 0 } else { place - 1 };
            pairs.extend(
                members[first..place]
                    .iter()
                    .map(|one| Pair::new(&one.name, &other.name)),
            );
        }

        pairs
    }

    /// The names of the nodes in a role.
    pub(crate) fn names(&self, role: Role) -> Vec<String> {
        let seats = self.seats.iter().filter(|seat| seat.role == role);

        seats.map(|seat| seat.name.clone()).collect()
    }
}

const RELAYS: usize = 3;
/// The walk needs six pairs with an end in common now and then, and two that have none.
const MEMBERS: usize = 4;
const CONTROLLER_NUMBER: u8 = 1;

/// The controller's machine.
pub(crate) const CONTROLLER: Machine = Machine::new(CONTROLLER_NUMBER);
pub(crate) const CONTROLLER_SITE: Site = Site::North;
/// What the processes of the controller are called.
pub(crate) const CONTROLLER_NAME: &str = "controller";

/// The fewest nodes with which the walk can be made, and as many as a policy joins pair by pair.
pub(crate) const LEAST: u8 = 7;
pub(crate) const MOST: u8 = 64;

const WITHIN_A_SITE: Duration = Duration::from_millis(1);
const BETWEEN_SITES: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_smallest_demo_has_three_relays_in_two_sites_and_four_members() {
        let plan = Plan::of(LEAST);
        let sites: BTreeSet<Site> = plan
            .seats
            .iter()
            .filter(|seat| seat.role == Role::Relay)
            .map(|seat| seat.site)
            .collect();

        assert_eq!(plan.names(Role::Relay), ["r1", "r2", "r3"]);
        assert_eq!(plan.names(Role::Member), ["m1", "m2", "m3", "m4"]);
        assert_eq!(sites.len(), 2);
        assert_eq!(plan.machines(), 8);
    }

    #[test]
    fn nobody_shares_a_machine() {
        let plan = Plan::of(MOST);
        let machines: BTreeSet<Machine> = plan
            .seats
            .iter()
            .map(|seat| seat.machine)
            .chain([CONTROLLER])
            .collect();

        assert_eq!(machines.len(), usize::from(plan.machines()));
        assert_eq!(plan.seats.len(), usize::from(MOST));
    }

    #[test]
    fn members_that_are_added_carry_frames_to_one_other() {
        let pairs = Plan::of(LEAST + 2).pairs();
        let text: Vec<String> = pairs.iter().map(Pair::to_string).collect();

        assert_eq!(
            text,
            [
                "m1-m2", "m1-m3", "m2-m3", "m1-m4", "m2-m4", "m3-m4", "m4-m5", "m5-m6"
            ]
        );
    }
}
