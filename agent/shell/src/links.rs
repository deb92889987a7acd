//! The connections to neighbours, by the numbers that the mesh knows them by.

mod accept;
mod dial;
mod flow_out;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::mesh::effect::{CloseReason, LinkId};
use agent_core::mesh::queue::QueueDrops;
use protocol::admit::Revocations;
use protocol::certificate::Identity;
use protocol::error::Code;
use protocol::frame::Class;
use protocol::id::NodeId;
use protocol::time::Boot;
use quinn::{Connection, VarInt};

use crate::input::{Established, Input};
use crate::quic;
use crate::station::{Station, Tasks};

pub(crate) use accept::{SharedPorch, serve};
pub(crate) use dial::dial;
use flow_out::Outflow;

/// Every live connection to a neighbour.
#[derive(Debug, Default)]
pub(crate) struct Links {
    next: u64,
    live: BTreeMap<LinkId, Link>,
    /// Of connections that are gone.
    drops: QueueDrops,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    identity: Identity,
    out: Outflow,
}

impl Links {
    /// Numbers a connection that came up, and begins to read from it.
    pub(crate) fn add(&mut self, up: &Established, station: &Station, tasks: &mut Tasks) -> LinkId {
        let link = LinkId(self.next);
        self.next += 1;
        let connection = up.connection.clone();
        self.live.insert(
            link,
            Link {
                out: Outflow::new(connection.clone()),
                connection: connection.clone(),
                identity: up.identity.clone(),
            },
        );
        tasks.spawn(read(link, connection, station.clone()));

        link
    }

    /// Forgets a connection that ended.
    pub(crate) fn remove(&mut self, link: LinkId) {
        if let Some(link) = self.live.remove(&link) {
            add(&mut self.drops, link.out.drops());
        }
    }

    /// Puts a frame into the link's queue, and what there is room for on the wire. What is returned sends the rest.
    pub(crate) fn send(
        &self,
        link: LinkId,
        class: Class,
        frame: Vec<u8>,
        now: Boot,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.live.get(&link)?.out.send(class, frame, now)
    }

    /// Closes a connection; its end is told when it has come.
    pub(crate) fn close(&self, link: LinkId, why: CloseReason) {
        if let Some(link) = self.live.get(&link) {
            link.connection.close(number(why), why.name().as_bytes());
        }
    }

    /// Closes every connection whose certificate, node or issuer is revoked. Returns to whom.
    pub(crate) fn close_revoked(&self, revocations: &Revocations) -> Vec<NodeId> {
        let revoked = self
            .live
            .values()
            .filter(|link| revocations.revoked(&link.identity).is_some());

        revoked
            .filter_map(|link| {
                quic::close(&link.connection, Code::NodeRevoked);
                match link.identity.holder {
                    protocol::certificate::Holder::Node(node) => Some(node),
                    protocol::certificate::Holder::Controller(_) => None,
                }
            })
            .collect()
    }

    /// The transport's own estimate of every connection's round trip, and where it sends to.
    pub(crate) fn measured(&self) -> Vec<(LinkId, Duration, SocketAddr)> {
        let of = |(id, link): (&LinkId, &Link)| {
            let connection = &link.connection;

            (*id, connection.rtt(), connection.remote_address())
        };

        self.live.iter().map(of).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Frames that never reached a link, since the start.
    pub(crate) fn drops(&self) -> QueueDrops {
        let mut drops = self.drops;
        for link in self.live.values() {
            add(&mut drops, link.out.drops());
        }

        drops
    }
}

/// Hands on what comes, all of what came together at once, until the connection ends.
async fn read(link: LinkId, connection: Connection, station: Station) {
    while let Ok(first) = connection.read_datagram().await {
        let mut datagrams = vec![first];
        while datagrams.len() < TOGETHER
            && let Some(next) = waiting(&connection)
        {
            datagrams.push(next);
        }
        station.tell(Input::Datagrams { link, datagrams }).await;
    }
    if let Some(why) = connection.close_reason() {
        tracing::debug!(?link, %why, "a link ended");
    }
    station.tell(Input::LinkDown { link }).await;
}

/// A datagram that is there already.
fn waiting(connection: &Connection) -> Option<bytes::Bytes> {
    let next = std::pin::pin!(connection.read_datagram());
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    match next.poll(&mut nobody) {
        std::task::Poll::Ready(Ok(datagram)) => Some(datagram),
        std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => None,
    }
}

fn add(drops: &mut QueueDrops, more: QueueDrops) {
    drops.control_refused += more.control_refused;
    drops.synthetic_refused += more.synthetic_refused;
    drops.telemetry_dropped += more.telemetry_dropped;
}

/// The number that goes with a reason, with the meaning HTTP gives it; 0 where nothing is wrong.
fn number(why: CloseReason) -> VarInt {
    VarInt::from_u32(match why {
        CloseReason::Unneeded => 0,
        CloseReason::Malformed => 400,
        CloseReason::Revoked | CloseReason::Forger => 403,
        CloseReason::Duplicate => 409,
        CloseReason::TooMany => 429,
        CloseReason::Dead => 503,
    })
}

/// Datagrams that are handed on in one input: a turn of the loop stays below a millisecond.
const TOGETHER: usize = 32;

#[cfg(test)]
mod tests;
