//! How many polls a second are answered with nothing new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_shell::quic;
use protocol::wire::{self, Answer, NodeReply};
use quinn::Connection;
use tokio::task::JoinSet;

use crate::bench::{Bench, Budget, Findings, NotMeasured};
use crate::client::{self, Dialler};
use crate::enrol::enrol_all;
use crate::fleet::{Attached, Fleet, Host, Member};
use crate::floor::{self, Floor, Kind};
use crate::rounds::{PATIENCE, Rounds, Work, crowd};

pub(crate) const BENCH: Bench = Bench { name: "poll", run };

fn run() -> Result<Findings, NotMeasured> {
    let runtime = client::runtime()?;
    let _inside = runtime.enter();
    let fleet = Fleet::found()?;
    let hosts: Vec<Host> = (0..CONNECTIONS).map(Host::new).collect();
    let members = runtime.block_on(enrol_all(&fleet, hosts))?;
    let mut nodes = runtime.block_on(attach_all(&fleet, &members))?;
    let (request, reply) = runtime.block_on(sizes(&nodes[0]))?;
    let floor = Floor::start(Kind::Answers(reply))?;
    let bare = runtime.block_on(connect_all(&floor))?;
    let rounds = Rounds::take(
        ROUNDS,
        || runtime.block_on(ask_all(&bare, vec![vec![7; request]; bare.len()], |_| Ok(()))),
        || {
            runtime.block_on(async {
                catch_up_all(&mut nodes).await?;
                let requests = nodes.iter().map(|node| node.request(Duration::ZERO)).collect();
                let connections: Vec<Connection> = nodes.iter().map(|node| node.connection.clone()).collect();

                ask_all(&connections, requests, not_modified).await
            })
        },
    )?;
    let row = rounds.row("poll_per_s", "/s", Budget::AtLeastOfFloor(0.5))?;
    let words = format!(
        "{WORDS}\n\nA request is {request} bytes and a reply {reply}. {}",
        rounds.note()
    );

    Ok(Findings {
        words,
        rows: vec![row],
    })
}

/// Connects every node, and lets it take what is published to it.
pub(crate) async fn attach_all(fleet: &Fleet, members: &[Member]) -> Result<Vec<Attached>, String> {
    let attached: Arc<std::sync::Mutex<Vec<Attached>>> = Arc::default();
    let (door, members) = (fleet.door.clone(), Arc::new(members.to_vec()));
    let (count, got) = (members.len(), Arc::clone(&attached));
    let work = Work {
        width: DIALS,
        jobs: count,
        within: PATIENCE,
    };
    crowd(work, move |number| {
        let (door, members, got) = (door.clone(), Arc::clone(&members), Arc::clone(&got));
        async move {
            let node = door.attach(&members[number]).await?;
            got.lock().expect("nobody panics").push(node);

            Ok(())
        }
    })
    .await?;
    let nodes = std::mem::take(&mut *attached.lock().expect("nobody panics"));
    match nodes.len() == count {
        true => Ok(nodes),
        false => Err(format!("{} of {count} nodes connected", nodes.len())),
    }
}

/// Takes what was published since, so that the next poll brings nothing new.
async fn catch_up_all(nodes: &mut [Attached]) -> Result<(), String> {
    for node in nodes {
        node.catch_up().await?;
    }

    Ok(())
}

/// Connects as many bare clients to the floor.
async fn connect_all(floor: &Floor) -> Result<Vec<Connection>, String> {
    let dialler = Dialler::open().map_err(|error| error.to_string())?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let identity = Some(floor::identity(number as u64));
        let config = client::config(floor::ALPN, identity, quic::client_transport())?;
        connections.push(dialler.dial(floor.address, "floor", config).await?);
    }

    Ok(connections)
}

/// Asks at most [`POLLS`] times on every connection, one request after the other on each and all connections at once, and
/// gives how many answers a second there were.
async fn ask_all(
    connections: &[Connection],
    requests: Vec<Vec<u8>>,
    judge: fn(&[u8]) -> Result<(), String>,
) -> Result<f64, String> {
    let callers: Vec<(Connection, Vec<u8>)> = connections.iter().cloned().zip(requests).collect();
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for (connection, request) in callers {
        asking.spawn(async move {
            let mut answers = 0_usize;
            while answers < POLLS && begun.elapsed() < ROUND {
                judge(&client::ask(&connection, &request).await?)?;
                answers += 1;
            }

            Ok::<_, String>(answers)
        });
    }
    let mut answers = 0;
    while let Some(asked) = asking.join_next().await {
        answers += asked.map_err(|error| error.to_string())??;
    }

    Ok(answers as f64 / begun.elapsed().as_secs_f64())
}

/// A poll that was refused, or brought something, is none of those that are counted.
fn not_modified(reply: &[u8]) -> Result<(), String> {
    let answer: Answer<NodeReply> = wire::read(reply).map_err(|error| error.to_string())?;
    match answer.into_result() {
        Ok(NodeReply::Poll(reply)) if reply.documents.is_empty() && reply.shared.is_empty() => Ok(()),
        Ok(other) => Err(format!("a poll was answered with {other:?}")),
        Err(refused) => Err(format!("a poll was refused: {refused:?}")),
    }
}

/// Of a poll and of its answer, on the wire: each with its length before it.
async fn sizes(node: &Attached) -> Result<(usize, usize), String> {
    let request = node.request(Duration::ZERO);
    let reply = client::ask(&node.connection, &request).await?;
    not_modified(&reply)?;

    Ok((request.len(), reply.len()))
}

const CONNECTIONS: usize = 1_000;
const ROUNDS: usize = 5;
/// Of one connection in one round: below the 60 that a node may have saved up, which come back between two rounds.
const POLLS: usize = 40;
/// A round ends when all have had their polls, and at the latest soon after this.
const ROUND: Duration = Duration::from_secs(4);
/// Connections that are made at once.
const DIALS: usize = 64;

const WORDS: &str = "\
A controller as it is shipped, and 1,000 nodes without an agent that joined it, each on a connection of its own with a
client certificate. In a round each polls 40 times, or for four seconds, one poll after the other, all nodes at once, with everything in hand
that is published to it and with the newest beacon; the answer is the beacon and the proof of what it pins. An answer that
refuses or that brings a document ends the bench. A node may poll 20 times a second and save up 60: rounds stay below that.

The floor is quinn alone in a process of its own: as many connections with client certificates, a new stream for each
request of the same length, answered with as many bytes that were there before.";
