//! The router as the shell drives it: told of every row that changed, and as good as one that reads everything anew.

use std::collections::{BTreeMap, BTreeSet};

use control_api::books::Book;
use control_api::fleet::Fleet;
use control_api::request::{Caller, Request};
use control_api::router::{Passed, Router};
use control_core::store::View;
use protocol::id::{ClusterId, NodeId};

use crate::Controller;

/// What a router knows of the store.
#[derive(Default)]
pub(crate) struct Books {
    router: Option<Router>,
    rows: BTreeMap<(Book, Vec<u8>), Vec<u8>>,
}

impl Controller {
    /// Two members and a relay that both have a link to, with a lease offered: the ends, then the relay.
    pub(crate) fn leased(&mut self) -> (ClusterId, [NodeId; 3]) {
        let cluster = self.create_cluster();
        let (a, b) = (self.join("a", &["member"]), self.join("b", &["member"]));
        let relay = self.join("r", &["relay"]);
        for (node, port) in [(a, 1), (b, 2), (relay, 3)] {
            self.heartbeat(cluster, node, port);
        }
        self.links(cluster, &[(a, relay), (b, relay)]);
        self.decide(cluster);

        (cluster, [a, b, relay])
    }

    pub(crate) fn decide(&mut self, cluster: ClusterId) {
        let passed = self.pass_over(cluster);
        let request = Request::Decide {
            cluster,
            outcomes: passed.outcomes,
        };
        self.ask(&Caller::Controller, &request).expect("stored");
    }

    /// One pass over the routes, nothing stored.
    pub(crate) fn pass_over(&mut self, cluster: ClusterId) -> Passed {
        let life = self.live.of_mut(cluster);
        let (evidence, trends) = (life.evidence(), life.trends.clone());
        let mut router = self
            .books
            .router
            .take()
            .unwrap_or_else(|| Router::read(&self.tx, cluster, trends).expect("reads"));
        let rows = rows(&self.tx, cluster);
        let gone = self.books.rows.keys().filter(|place| !rows.contains_key(*place));
        let changed = rows
            .iter()
            .filter(|(place, row)| self.books.rows.get(*place) != Some(row));
        let changes = gone
            .map(|place| (place, None))
            .chain(changed.map(|(place, row)| (place, Some(row.as_slice()))));
        for ((book, key), row) in changes {
            router.handle_row(*book, key, row).expect("readable");
        }
        let passed = router.pass(evidence, self.world.now);
        let readable = Fleet {
            unreadable: Vec::new(),
            ..Fleet::read(&self.tx, cluster).expect("reads")
        };
        assert_eq!(router.fleet(), &readable, "the router knows what the store holds");
        self.books = Books {
            router: Some(router),
            rows,
        };
        self.live.of_mut(cluster).handle_pass(&passed, &BTreeSet::new());

        passed
    }
}

fn rows(view: &dyn View, cluster: ClusterId) -> BTreeMap<(Book, Vec<u8>), Vec<u8>> {
    let of = |book: Book| {
        let rows = view.scan_bytes(book.table(), cluster.as_bytes(), None, usize::MAX);

        rows.expect("reads")
            .into_iter()
            .map(move |(key, row)| ((book, key), row))
    };

    Book::ALL.into_iter().flat_map(of).collect()
}
