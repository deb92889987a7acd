//! Requests of nodes and joiners: what needs no write is answered from memory, the rest goes to the writer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_shell::quic;
use control_api::failure::Failure;
use control_api::live;
use control_api::pace::Asked;
use control_api::publication::Publication;
use control_api::request::{Caller, Reply, Request};
use control_api::witness::Witness;
use control_core::behind::BehindRow;
use control_core::join::JoinCaller;
use control_core::liveness::Refusal;
use control_core::node::NodeCaller;
use protocol::document::config::LeftOut;
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId};
use protocol::net::Address;
use protocol::wire::{Heartbeat, JoinReply, JoinRequest, NodeReply, NodeRequest, Poll, PollReply, Report};
use quinn::Connection;

use crate::listen::Service;
use crate::{reached, timers};

/// Answers at the join door.
pub(crate) async fn join(
    service: &Service,
    connection: &Connection,
    cluster: ClusterId,
    request: JoinRequest,
) -> Result<JoinReply, Failure> {
    let exported = quic::exported(connection).map_err(|_| unavailable("the connection is closing"))?;
    let source = connection.remote_address();
    let caller = Caller::Joiner(JoinCaller {
        cluster,
        exported,
        source,
    });
    match write(service, caller, Request::Join(Box::new(request))).await? {
        Reply::Join(reply) => Ok(reply),
        Reply::Node(_) | Reply::View(_) | Reply::Done | Reply::Refused(_) => Err(mismatch()),
    }
}

/// Answers at the node door.
pub(crate) async fn serve(
    service: &Service,
    connection: &Connection,
    caller: NodeCaller,
    request: NodeRequest,
) -> Result<NodeReply, Failure> {
    let NodeCaller { cluster, node, .. } = caller;
    control_core::node::may_ask(
        &service.board.snapshot(),
        &caller,
        &request,
        service.clock.now().wall,
    )
    .map_err(Failure::from)?;
    let source = connection.remote_address();
    let caller = Caller::Node(caller);
    match request {
        NodeRequest::Poll(poll) => self::poll(service, cluster, node, poll)
            .await
            .map(NodeReply::Poll),
        NodeRequest::Heartbeat(heartbeat) => heard(service, (cluster, node), source, &heartbeat),
        NodeRequest::Report(report) => reported(service, cluster, node, &report),
        NodeRequest::Renew(renew) => node_reply(write(service, caller, Request::Renew(renew)).await?),
        NodeRequest::Leave => node_reply(write(service, caller, Request::Leave).await?),
    }
}

/// Answers at once when there is news, else when there is, or with the beacon alone when waiting has lasted enough.
async fn poll(service: &Service, cluster: ClusterId, node: NodeId, poll: Poll) -> Result<PollReply, Failure> {
    let publication = published(service, cluster)?;
    live::check_poll(&poll)?;
    admit(service, (cluster, node), Asked::Poll)?;
    witness(service, &publication, node, &poll).await?;
    let table = service
        .board
        .live()
        .handle_poll(&publication, node, &poll, service.clock.now());
    if table.is_some() {
        // Stored beside the poll, which is answered whatever becomes of it.
        service.storing.now();
    }
    let is_relay = publication
        .of(node)
        .any(|document| document.kind == Kind::LeaseTable);
    let longest = if is_relay { RELAY_WAIT } else { NODE_WAIT };
    let wait = longest.min(Duration::from_millis(u64::from(poll.wait_ms)));

    park(service, cluster, node, &poll, wait).await
}

async fn park(
    service: &Service,
    cluster: ClusterId,
    node: NodeId,
    poll: &Poll,
    wait: Duration,
) -> Result<PollReply, Failure> {
    let mut follower = service.board.follow();
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    loop {
        let publication = follower.look(|publications| publications.get(&cluster).cloned());
        let publication = publication.ok_or_else(|| unavailable("nothing is published for this cluster"))?;
        may_speak(service)?;
        if let Some(news) = publication.news(node, poll) {
            metrics::counter!("gabion_controller_polls_total", "outcome" => "news").increment(1);
            return Ok(news);
        }
        tokio::select! {
            biased;
            () = follower.changed() => {}
            () = &mut deadline => {
                may_speak(service)?;
                metrics::counter!("gabion_controller_polls_total", "outcome" => "not_modified").increment(1);
                return publication
                    .not_modified(node)
                    .ok_or_else(|| unavailable("nothing is published for this node"));
            }
        }
    }
}

/// Looks at the beacon that the agent has. One that this store never made stops the controller for good: agents are
/// witnesses of what was published, and a restored backup must not speak for the fleet. The mark of it is on disk, if
/// there is room for it, before anybody is answered.
async fn witness(
    service: &Service,
    publication: &Publication,
    node: NodeId,
    poll: &Poll,
) -> Result<(), Failure> {
    let Some(beacon) = poll.beacon.as_ref().filter(|_| service.board.behind().is_none()) else {
        return may_speak(service);
    };
    let (rank, fork) = match service.board.witness(publication, beacon) {
        Witness::Agrees | Witness::Unproven => return Ok(()),
        Witness::Ahead { rank } => (rank, false),
        Witness::Fork { rank } => (rank, true),
    };
    let row = BehindRow {
        cluster: publication.cluster,
        node,
        rank,
        fork,
        at: service.clock.now().wall,
    };
    tracing::warn!(
        why = row.why(),
        "an agent has a beacon that is not ours: this controller goes read-only"
    );
    service.board.set_behind(row);
    timers::mark(service).await;

    may_speak(service)
}

/// What a controller that is behind tells everybody: what it has is not what its fleet has.
fn may_speak(service: &Service) -> Result<(), Failure> {
    service
        .board
        .behind()
        .map_or(Ok(()), |row| Err(control_api::witness::refusal(&row)))
}

fn heard(
    service: &Service,
    key: (ClusterId, NodeId),
    source: SocketAddr,
    heartbeat: &Heartbeat,
) -> Result<NodeReply, Failure> {
    let now = service.clock.now();
    admit(service, key, Asked::Heartbeat)?;
    let (change, left_out, is_news) = {
        let mut live = service.board.live();
        let before = live.left_out(key.0, key.1).to_vec();
        let change = live.handle_heartbeat(key, source, heartbeat, now);
        let left_out = live.left_out(key.0, key.1).to_vec();
        let is_news = left_out != before;

        (change, left_out, is_news)
    };
    let change = change.map_err(|refused| Failure::of(refused.code(), &refused))?;
    for LeftOut { address, why } in left_out.iter().filter(|_| is_news) {
        tracing::warn!(node = ?key.1, why = why.name(), "an address of a node is told to nobody");
        tracing::debug!(node = ?key.1, address = %address.0, why = why.name(), "this one");
    }
    for refused in &heartbeat.refused {
        let code = Refusal::of(refused).text();
        tracing::warn!(node = ?key.1, kind = refused.kind.name(), code, "an agent refused a document");
        metrics::counter!("gabion_controller_refused_documents_total", "kind" => refused.kind.name())
            .increment(1);
    }
    if change.is_some() {
        service.storing.now();
    }

    Ok(NodeReply::Heard {
        observed: Some(Address(source)),
        left_out,
    })
}

fn reported(
    service: &Service,
    cluster: ClusterId,
    node: NodeId,
    report: &Report,
) -> Result<NodeReply, Failure> {
    admit(service, (cluster, node), Asked::Report)?;
    let urgent = service
        .board
        .live()
        .handle_report(cluster, node, report, service.clock.now().boot);
    if urgent {
        service.routing.now();
    }
    reached::submit(service, (cluster, node), report);

    Ok(NodeReply::Reported)
}

/// Lets one request of a node in, unless it asks more often than any has to.
fn admit(service: &Service, key: (ClusterId, NodeId), asked: Asked) -> Result<(), Failure> {
    let now = service.clock.now().boot;
    service
        .board
        .live()
        .admit(key, asked, now)
        .inspect_err(|_| metrics::counter!("gabion_controller_rate_limited_total").increment(1))
}

/// Hands a write on, unless nothing may be written.
pub(crate) async fn write(service: &Service, caller: Caller, request: Request) -> Result<Reply, Failure> {
    may_speak(service)?;
    if let Some(why) = service.board.read_only() {
        let message = format!("the controller writes nothing: {why}");
        return Err(Failure::new(Code::StoreFull, message));
    }

    service.door.call(caller, request).await?.into_result()
}

fn published(service: &Service, cluster: ClusterId) -> Result<Arc<Publication>, Failure> {
    service
        .board
        .publication(cluster)
        .ok_or_else(|| unavailable("nothing is published for this cluster yet"))
}

fn node_reply(reply: Reply) -> Result<NodeReply, Failure> {
    match reply {
        Reply::Node(reply) => Ok(reply),
        Reply::Join(_) | Reply::View(_) | Reply::Done | Reply::Refused(_) => Err(mismatch()),
    }
}

fn mismatch() -> Failure {
    Failure::new(Code::Internal, "the controller answered another question")
}

fn unavailable(why: &str) -> Failure {
    Failure::new(Code::Unavailable, why)
}

/// How long a poll may be parked; relays come back sooner, since their freshness hangs on it.
const NODE_WAIT: Duration = Duration::from_secs(50);
const RELAY_WAIT: Duration = Duration::from_secs(10);
