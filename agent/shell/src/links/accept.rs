//! Letting neighbours in: the handshake, the judgement, and our first word.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::porch::{Arrival, Porch};
use protocol::admit::{Admitted, admit};
use protocol::certificate::{Identity, node_server_name};
use protocol::error::Code;
use protocol::id::NodeId;
use quinn::{Connection, Endpoint, Incoming};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::counters::{HandshakeRefusal, refused_handshake};
use crate::input::{Established, Input};
use crate::quic;
use crate::station::{Greeting, PATIENCE, Station};

/// The one porch that all doors of a node share: no door gives out places that another has taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedPorch(Arc<Mutex<Porch>>);

/// A place on the porch. It is free again when this is dropped, also by a task that breaks.
#[derive(Debug)]
struct Place {
    porch: SharedPorch,
    source: IpAddr,
    admitted: Option<NodeId>,
}

impl SharedPorch {
    fn enter(&self, source: IpAddr, validated: bool) -> Result<Place, Arrival> {
        match self.inside().handle_arrival(source, validated) {
            Arrival::Enter => Ok(Place {
                porch: self.clone(),
                source,
                admitted: None,
            }),
            other @ (Arrival::Prove | Arrival::Full | Arrival::Share) => Err(other),
        }
    }

    /// Nothing breaks in there, and nobody waits while it is held.
    fn inside(&self) -> MutexGuard<'_, Porch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.porch.inside().handle_end(self.source, self.admitted);
    }
}

/// Answers everybody who dials one endpoint, until that is closed.
pub(crate) async fn serve(endpoint: Endpoint, station: Station) {
    let mut guests: JoinSet<()> = JoinSet::new();
    loop {
        // No dice are thrown: a simulated run is a function of its seed.
        let incoming = tokio::select! {
            biased;
            Some(over) = guests.join_next() => {
                if let Err(error) = over && error.is_panic() {
                    tracing::error!(%error, "a handshake broke");
                }
                continue;
            }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let source = incoming.remote_address().ip();
        match station.porch.enter(source, incoming.remote_address_validated()) {
            Ok(place) => {
                guests.spawn(attend(place, incoming, station.clone()));
            }
            Err(Arrival::Prove) => {
                let _ = incoming.retry();
            }
            Err(Arrival::Share) => turn_away(incoming, HandshakeRefusal::Source),
            Err(Arrival::Full | Arrival::Enter) => turn_away(incoming, HandshakeRefusal::TooMany),
        }
    }
}

/// Keeps the place as long as the guest stands there.
async fn attend(mut place: Place, incoming: Incoming, station: Station) {
    place.admitted = receive(incoming, &station).await;
}

fn turn_away(incoming: Incoming, why: HandshakeRefusal) {
    refused_handshake(why);
    incoming.refuse();
}

/// One guest, from its first packet until it is admitted and welcomed, or refused: then none.
async fn receive(incoming: Incoming, station: &Station) -> Option<NodeId> {
    let address = incoming.remote_address();
    let connecting = incoming.accept().ok()?;
    let connection = match timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            refused_handshake(HandshakeRefusal::Tls);
            tracing::debug!(%error, "a handshake failed");
            return None;
        }
        Err(_) => {
            refused_handshake(HandshakeRefusal::Timeout);
            return None;
        }
    };
    let Some(greeting) = station.greeting.borrow().clone() else {
        refused_handshake(HandshakeRefusal::NotReady);
        quic::close(&connection, Code::Unavailable);
        return None;
    };
    let Some((peer, identity)) = judge(&connection, station, &greeting) else {
        quic::close(&connection, Code::WrongCertKind);
        return None;
    };
    if welcome(&connection, &greeting).await.is_ok() {
        let established = Established {
            connection,
            peer,
            identity,
            dialled_by_us: false,
            address,
            welcome: None,
        };
        station.tell(Input::LinkUp(Box::new(established))).await;
    }

    Some(peer)
}

/// Who the guest is, if it may come in, and meant us. Nothing was read from it before this.
fn judge(connection: &Connection, station: &Station, us: &Greeting) -> Option<(NodeId, Identity)> {
    let (alpn, called) = quic::negotiated(connection);
    let trust = station.trust.get();
    let admitted = admit(
        alpn.as_deref(),
        called.as_deref(),
        &quic::peer_chain(connection),
        &trust.anchors,
        &trust.revocations,
        station.clock.now().wall,
    );
    match admitted {
        Ok(Admitted::Neighbour { node, identity })
            if called == Some(node_server_name(us.node, us.cluster)) && node != us.node =>
        {
            Some((node, identity))
        }
        Ok(
            Admitted::Neighbour { .. }
            | Admitted::Controller { .. }
            | Admitted::Node { .. }
            | Admitted::Stranger { .. },
        ) => {
            refused_handshake(HandshakeRefusal::WrongServer);
            None
        }
        Err(refused) => {
            refused_handshake(HandshakeRefusal::Certificate);
            tracing::debug!(%refused, "a neighbour is not let in");
            None
        }
    }
}

async fn welcome(connection: &Connection, greeting: &Greeting) -> Result<(), quic::ExchangeFailed> {
    let speak = async {
        let mut send = connection
            .open_uni()
            .await
            .map_err(quic::ExchangeFailed::Connection)?;

        quic::write_frame(&mut send, &greeting.welcome).await
    };

    timeout(PATIENCE, speak)
        .await
        .map_err(|_| quic::ExchangeFailed::TimedOut)?
}

#[cfg(test)]
mod tests {
    use agent_core::porch::HANDSHAKES;

    use super::*;
    use crate::testing::{CLUSTER, Ground};

    #[tokio::test]
    async fn a_guest_whose_task_breaks_leaves_its_place() {
        let porch = SharedPorch::default();
        let mut guests: JoinSet<()> = JoinSet::new();
        for _ in 0..HANDSHAKES / 2 {
            let place = porch.enter(HERE, true).unwrap();
            guests.spawn(async move {
                let _place = place;
                panic!("as a broken one would");
            });
        }
        assert_eq!(porch.enter(HERE, true).unwrap_err(), Arrival::Full);
        while guests.join_next().await.is_some() {}

        assert!(porch.enter(HERE, true).is_ok());
    }

    #[tokio::test]
    async fn all_doors_have_one_porch() {
        let host = Ground::new(CLUSTER, 9).station(1);
        // As each door has one.
        let door = host.station.clone();
        let places: Vec<Place> = (0..HANDSHAKES / 2)
            .filter_map(|_| host.station.porch.enter(HERE, true).ok())
            .collect();

        assert_eq!(places.len(), HANDSHAKES / 2);
        assert_eq!(door.porch.enter(HERE, true).unwrap_err(), Arrival::Full);
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
}
