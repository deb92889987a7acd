//! Letting neighbours in: the handshake, the judgement, and our first word.

use std::net::IpAddr;

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

/// Answers everybody who dials one endpoint, until that is closed.
pub(crate) async fn serve(endpoint: Endpoint, station: Station) {
    let mut porch = Porch::default();
    let mut guests: JoinSet<(IpAddr, bool)> = JoinSet::new();
    loop {
        // Places are freed before they are given, and no dice are thrown: a simulated run is a function of its seed.
        let incoming = tokio::select! {
            biased;
            Some(over) = guests.join_next() => {
                if let Ok((source, admitted)) = over {
                    porch.handle_end(source, admitted);
                }
                continue;
            }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let source = incoming.remote_address().ip();
        match porch.handle_arrival(source, incoming.remote_address_validated()) {
            Arrival::Enter => {
                let station = station.clone();
                guests.spawn(async move { (source, receive(incoming, &station).await.is_some()) });
            }
            Arrival::Prove => {
                let _ = incoming.retry();
            }
            Arrival::Full => turn_away(incoming, HandshakeRefusal::TooMany),
            Arrival::Share => turn_away(incoming, HandshakeRefusal::Source),
        }
    }
}

fn turn_away(incoming: Incoming, why: HandshakeRefusal) {
    refused_handshake(why);
    incoming.refuse();
}

/// One guest, from its first packet until it is admitted and welcomed, or refused: then none.
async fn receive(incoming: Incoming, station: &Station) -> Option<()> {
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

    Some(())
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
