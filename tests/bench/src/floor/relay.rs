//! A relay of datagrams that only knows who is whose far end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::certificate::claimed_identity;
use quinn::{Connection, Endpoint, Incoming};

/// Connections by the last byte of their certificate's node: an even one and the odd one above it are a pair.
type Ends = Arc<Mutex<BTreeMap<u8, Connection>>>;

/// Carries until the endpoint is closed.
pub(super) async fn carry(endpoint: &Endpoint) {
    let ends = Ends::default();
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(attend(incoming, Arc::clone(&ends)));
    }
}

async fn attend(incoming: Incoming, ends: Ends) -> Option<()> {
    let connection = incoming.await.ok()?;
    let chain = agent_shell::quic::peer_chain(&connection);
    let own = number(chain.first()?)?;
    let find = |number: u8| {
        ends.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    };
    ends.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(own, connection.clone());
    let mut far = None;
    loop {
        let datagram = connection.read_datagram().await.ok()?;
        if far.is_none() {
            far = find(own ^ 1);
        }
        if let Some(far) = &far {
            // What does not fit the queue is dropped there, as in the product.
            let _ = far.send_datagram(datagram);
        }
    }
}

fn number(leaf: &[u8]) -> Option<u8> {
    use protocol::certificate::Holder;
    let Holder::Node(node) = claimed_identity(leaf).ok()?.holder else {
        return None;
    };

    node.as_bytes().last().copied()
}
