//! What verified documents change.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::document::authority::RevocationList;
use protocol::document::config::{Candidate, SyntheticConfig, Unfit};
use protocol::document::routes::{LeaseTable, Routes};
use protocol::key::SealSecret;
use protocol::limits::CANDIDATES;
use protocol::time::Boot;

use super::effect::CloseReason;
use super::{Mesh, probing};

impl Mesh {
    /// Puts neighbours, their keys and addresses, and the transport's settings in force.
    pub fn handle_config(&mut self, config: &SyntheticConfig, now: Boot) {
        self.turn(now);
        self.transport = config.transport;
        self.relay.handle_transport(&config.transport);
        self.links.handle_probing(probing(&config.transport));
        let others = config.neighbours.iter().filter(|other| other.node != self.node);
        let mut candidates = BTreeMap::new();
        self.neighbours.clear();
        for neighbour in others {
            self.neighbours.insert(neighbour.node, neighbour.generation);
            self.pairs.join(neighbour.node).handle_key(neighbour.seal_key);
            candidates.insert(neighbour.node, dialled(&neighbour.candidates, self.dev));
        }
        let neighbours = &self.neighbours;
        self.pairs.part(|node| !neighbours.contains_key(node));
        self.flows.retain(|node, _| neighbours.contains_key(node));
        self.links.handle_candidates(&candidates, now);
        self.apply_revocations(now);
    }

    /// Follows the decisions. A route that the document leaves out stays as it is.
    pub fn handle_routes(&mut self, routes: &Routes, now: Boot) {
        self.turn(now);
        self.reported_at.get_or_insert(now);
        let links = &self.links;
        let linked = |node| links.current(node).is_some();
        self.routes.handle_routes(routes, &linked, &mut self.rng, now);
        self.apply_wants(now);
        self.grounds_changed = true;
        self.settle(now);
    }

    /// Puts a table of leases in force, all of it: a lease that is not in it has ended.
    pub fn handle_lease_table(&mut self, table: &LeaseTable, now: Boot) {
        self.turn(now);
        self.relay.handle_table(table, now);
        if self.relay.has_rows() {
            self.reported_at.get_or_insert(now);
        }
        self.settle(now);
    }

    /// Closes the connections of revoked nodes, and carries nothing for them any more.
    pub fn handle_revocations(&mut self, list: &RevocationList, now: Boot) {
        self.turn(now);
        for revoked in &list.nodes {
            let highest = self.revocations.entry(revoked.node).or_default();
            *highest = revoked.generation.max(*highest);
        }
        self.apply_revocations(now);
    }

    /// Gets ready for a new X25519 key of this node: call it when the key is made, before its public half leaves. The
    /// keys before it stay good until the neighbours are known to have the new one.
    pub fn handle_seal_secret(&mut self, secret: SealSecret, now: Boot) {
        self.turn(now);
        self.secrets.insert(0, secret);
        self.secrets.truncate(SECRETS);
        for pair in self.pairs.values_mut() {
            pair.handle_own_keys(&self.secrets);
        }
        self.settle(now);
    }

    /// Our newest signed beacon, to show to every neighbour that connects from now on.
    pub fn handle_beacon(&mut self, beacon: Vec<u8>) {
        self.beacon = Some(beacon);
    }

    fn apply_revocations(&mut self, now: Boot) {
        let revoked = self.revoked();
        for node in &revoked {
            self.links.close_all(*node, CloseReason::Revoked, now);
        }
        self.relay.handle_revoked(revoked);
        self.grounds_changed = true;
        self.apply_wants(now);
        self.settle(now);
    }

    fn apply_wants(&mut self, now: Boot) {
        let mut wants = self.routes.wants();
        wants.retain(|node, _| !self.is_revoked(*node));
        self.links.handle_wants(&wants, &mut self.rng, now);
    }
}

/// The addresses worth dialling, best first.
fn dialled(candidates: &[Candidate], dev: bool) -> Vec<SocketAddr> {
    let mut sorted = candidates.to_vec();
    sorted.sort_unstable();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for candidate in sorted {
        let address = candidate.address.0;
        if is_dialled(address, dev) && !addresses.contains(&address) && addresses.len() < CANDIDATES {
            addresses.push(address);
        }
    }

    addresses
}

pub(super) fn is_dialled(address: SocketAddr, dev: bool) -> bool {
    Unfit::of(address, dev).is_none()
}

/// Keys of this node that are good at a time: the one in use, one that replaces it, and one of a renewal before that
/// which was never confirmed.
const SECRETS: usize = 3;

#[cfg(test)]
mod tests {
    use protocol::document::config::CandidateKind;

    use super::*;

    #[test]
    fn only_addresses_that_can_be_a_neighbour_are_dialled_best_first() {
        let candidates: Vec<_> = [
            (CandidateKind::Reflexive, "203.0.113.7:9"),
            (CandidateKind::Lan, "10.0.0.1:9"),
            (CandidateKind::Public, "203.0.113.7:9"),
            (CandidateKind::Public, "[fe80::1]:9"),
            (CandidateKind::Public, "224.0.0.1:9"),
            (CandidateKind::Public, "0.0.0.0:9"),
            (CandidateKind::Public, "169.254.1.1:9"),
            (CandidateKind::Public, "198.51.100.1:0"),
            (CandidateKind::Lan, "127.0.0.1:9"),
            (CandidateKind::Lan, "[::ffff:127.0.0.1]:9"),
        ]
        .into_iter()
        .map(|(kind, address)| Candidate::new(kind, address.parse().unwrap()))
        .collect();

        let shown = |dev| -> Vec<String> {
            dialled(&candidates, dev)
                .into_iter()
                .map(|address| address.to_string())
                .collect()
        };
        assert_eq!(shown(false), ["203.0.113.7:9", "10.0.0.1:9"]);
        assert_eq!(
            shown(true),
            [
                "203.0.113.7:9",
                "10.0.0.1:9",
                "127.0.0.1:9",
                "[::ffff:127.0.0.1]:9"
            ]
        );
    }

    #[test]
    fn no_more_than_eight_addresses_are_dialled() {
        let candidates: Vec<_> = (1..20)
            .map(|port| Candidate::new(CandidateKind::Lan, SocketAddr::from(([10, 0, 0, 1], port))))
            .collect();

        assert_eq!(dialled(&candidates, false).len(), CANDIDATES);
    }
}
