//! Letting neighbours in: the handshake, the judgement, and our first word.

use std::sync::Arc;

use protocol::admit::{Admitted, admit};
use protocol::certificate::{Identity, node_server_name};
use protocol::error::Code;
use protocol::id::NodeId;
use quinn::{Connection, Incoming};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::counters::{HandshakeRefusal, refused_handshake};
use crate::input::{Established, Input};
use crate::quic;
use crate::station::{Greeting, PATIENCE, Station};

/// Answers everybody who dials, until the endpoint is closed.
pub(crate) async fn serve(station: Station) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    let mut guests = JoinSet::new();
    while let Some(incoming) = station.endpoint.accept().await {
        while guests.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            refused_handshake(HandshakeRefusal::TooMany);
            incoming.refuse();
            continue;
        };
        // Under load a source has to show that it is where it says it is.
        if room.available_permits() < HANDSHAKES / 2 && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let station = station.clone();
        guests.spawn(async move {
            receive(incoming, &station).await;
            drop(place);
        });
    }
}

/// One guest, from its first packet until it is admitted and welcomed, or refused.
async fn receive(incoming: Incoming, station: &Station) {
    let Ok(connecting) = incoming.accept() else {
        return;
    };
    let connection = match timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            refused_handshake(HandshakeRefusal::Tls);
            return tracing::debug!(%error, "a handshake failed");
        }
        Err(_) => return refused_handshake(HandshakeRefusal::Timeout),
    };
    let Some(greeting) = station.greeting.borrow().clone() else {
        refused_handshake(HandshakeRefusal::NotReady);
        return quic::close(&connection, Code::Unavailable);
    };
    let Some((peer, identity)) = judge(&connection, station, &greeting) else {
        return quic::close(&connection, Code::WrongCertKind);
    };
    if welcome(&connection, &greeting).await.is_ok() {
        let established = Established {
            connection,
            peer,
            identity,
            dialled_by_us: false,
            welcome: None,
        };
        station.tell(Input::LinkUp(Box::new(established))).await;
    }
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

/// Handshakes under way at once: a post-quantum one takes a third of a millisecond of a core and up to 64 KiB.
const HANDSHAKES: usize = 256;
