//! How many datagrams a second go through one relay.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent_shell::quic;
use bytes::Bytes;
use control_core::store::{Rows, RowsMut, StoreError};
use control_routing::lease::Lease;
use control_store::Store;
use control_store::sqlite::SqliteEngine;
use e2e::{Site, words};
use protocol::admit;
use protocol::certificate::node_server_name;
use protocol::frame::{BootTag, Class, Form, FrameHeader, PathTag, Sequence};
use protocol::id::{LeaseId, NodeId};
use protocol::limits::MESH_FRAME_BYTES;
use quinn::Connection;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::bench::{Bench, Budget, Findings, NotMeasured};
use crate::client::{self, Dialler};
use crate::enrol::enrol_all;
use crate::fleet::{Fleet, Host, Member};
use crate::floor::{self, Floor, Kind};
use crate::rounds::{Rounds, median};

pub(crate) const BENCH: Bench = Bench { name: "relay", run };

fn run() -> Result<Findings, NotMeasured> {
    let runtime = client::runtime()?;
    let _inside = runtime.enter();
    let mut fleet = Fleet::found()?;
    let leased = lease(&mut fleet, &runtime)?;
    let pairs = runtime.block_on(leased.connect())?;
    let floor = Floor::start(Kind::Relays)?;
    let bare = runtime.block_on(connect_bare(&floor, &pairs))?;
    let mut lost = Vec::new();
    let rounds = Rounds::take(
        ROUNDS,
        || runtime.block_on(flood(&bare)).map(|flow| flow.per_second),
        || {
            let flow = runtime.block_on(flood(&pairs))?;
            lost.push(flow.lost_percent);

            Ok(flow.per_second)
        },
    )?;
    let row = rounds.row("relay_datagrams_per_s", "/s", Budget::AtLeastOfFloor(0.6))?;
    let words = format!(
        "{WORDS}\n\nOf what was sent through the product {:.1} % did not arrive (median). {}",
        median(&lost).unwrap_or(0.0),
        rounds.note()
    );

    Ok(Findings {
        words,
        rows: vec![row],
    })
}

/// Two ends of a lease, and the frame that goes from the one to the other.
struct Pair {
    from: Connection,
    to: Connection,
    frame: Bytes,
}

/// Hosts with leases of one relay, before they connect to it.
struct Leased {
    dialler: Dialler,
    /// Where the relay listens, and as whom.
    relay: (std::net::SocketAddr, String),
    pairs: Vec<([Member; 2], LeaseId, u32)>,
}

impl Leased {
    async fn connect(&self) -> Result<Vec<Pair>, String> {
        let mut pairs = Vec::new();
        for ([from, to], lease, generation) in &self.pairs {
            let path = PathTag::Relay {
                lease: *lease,
                generation: *generation,
            };
            pairs.push(Pair {
                from: self.dial(from).await?,
                to: self.dial(to).await?,
                frame: frame(path),
            });
        }

        Ok(pairs)
    }

    async fn dial(&self, member: &Member) -> Result<Connection, String> {
        let identity = Some(Arc::clone(&member.identity));
        let config = client::config(admit::MESH, identity, quic::mesh_transport())?;
        let (address, name) = &self.relay;
        let connection = self.dialler.dial(*address, name, config).await?;
        // The relay's first word: from then on it takes datagrams.
        let mut welcome = connection.accept_uni().await.map_err(|error| error.to_string())?;
        quic::read_frame(&mut welcome, protocol::limits::FRAME_BYTES)
            .await
            .map_err(|error| error.to_string())?;

        Ok(connection)
    }
}

/// As long as a frame may be. Its body is sealed for the far end: to the relay it is bytes.
fn frame(path: PathTag) -> Bytes {
    let header = FrameHeader {
        class: Class::Synthetic,
        form: Form::Sealed,
        path,
        boot: BootTag::from_bytes([1; 8]),
        sequence: Sequence(1),
    };
    let mut frame = header.encode().to_vec();
    frame.resize(MESH_FRAME_BYTES, 7);

    frame.into()
}

/// Lets hosts and a relay join, waits until the relay has leases for the pairs, and raises what a lease allows.
fn lease(fleet: &mut Fleet, runtime: &Runtime) -> Result<Leased, NotMeasured> {
    let hosts: Vec<Host> = (0..2 * PAIRS).map(Host::new).collect();
    let members = runtime.block_on(enrol_all(fleet, hosts))?;
    let (address, args) = relay(&fleet.site);
    let site = &mut fleet.site;
    site.token(RELAY, &["--role", "relay", "--approval", "auto"]);
    site.start(RELAY, &words(&args));
    site.served(RELAY);
    join_everybody(site);
    site.until(&["lease", "list"], |leases| {
        found(leases, "active").len() == PAIRS
    });
    site.stop(RELAY);
    site.stop("controller");
    let data = site.path("controller");
    raise(&data)?;
    site.lead(&data);
    site.start(RELAY, &words(&args));
    e2e::until("the relay has its leases", || {
        site.told(RELAY, "/v1/relay")["live"].as_u64() >= Some(PAIRS as u64)
    });
    let leases = found(&site.json(&["lease", "list"]), "active");
    let node: NodeId = parsed(&site.json(&["node", "show", RELAY])["id"])?;
    let mut members: Vec<Option<Member>> = members.into_iter().map(Some).collect();
    let mut take = |name: usize| {
        let at = members.iter().position(|member| {
            member
                .as_ref()
                .is_some_and(|member| member.name == Host::name_of(name))
        });

        at.and_then(|at| members[at].take())
            .ok_or_else(|| format!("{} did not join", Host::name_of(name)))
    };
    let mut pairs = Vec::new();
    for (number, lease) in leases.iter().enumerate().take(PAIRS) {
        if lease["budget_kib"] != json!(u16::MAX) {
            return Err(NotMeasured::Broken(format!("the budget was not raised: {lease}")));
        }
        let generation = lease["generation"]
            .as_u64()
            .and_then(|value| u32::try_from(value).ok());
        pairs.push((
            [take(2 * number)?, take(2 * number + 1)?],
            parsed(&lease["id"])?,
            generation.ok_or_else(|| format!("no generation in {lease}"))?,
        ));
    }

    Ok(Leased {
        dialler: Dialler::open()?,
        relay: (address, node_server_name(node, fleet.door.cluster)),
        pairs,
    })
}

/// Where the relay is to listen, and the command that runs it.
fn relay(site: &Site) -> (std::net::SocketAddr, Vec<String>) {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address");
    let args = site.agent("run", RELAY).into_iter();
    let own = |word: String| match word.as_str() {
        "127.0.0.1:0" => address.to_string(),
        _ => word,
    };

    (address, args.map(own).collect())
}

/// A route for every pair of nodes.
fn join_everybody(site: &Site) {
    let policies = json!({ "policies": [
        { "name": "everybody", "priority": 10, "source": "*", "target": "*", "cadence": "auto" },
    ] });
    let file = site.private("everybody.json", &policies.to_string());
    site.run(&["policy", "apply", &e2e::text(&file)]);
}

/// The leases of the pairs that are measured, in their order.
fn found(leases: &Value, state: &str) -> Vec<Value> {
    let of_pair = |number: usize| {
        let ends = [2 * number, 2 * number + 1].map(Host::name_of);
        let is_its = |lease: &&Value| {
            let found = [&lease["source"], &lease["target"]].map(|end| end.as_str().unwrap_or_default());
            let either = [[0, 1], [1, 0]].map(|order| order.map(|at| found[at]));

            lease["state"] == state && either.iter().any(|found| *found == ends)
        };

        leases
            .as_array()
            .and_then(|leases| leases.iter().find(is_its).cloned())
    };

    (0..PAIRS).filter_map(of_pair).collect()
}

/// Lets every lease carry as much as its row can say: what the controller grants would end the flood, not the relay.
fn raise(data: &Path) -> Result<(), String> {
    let engine = SqliteEngine::open(data).map_err(|error| error.to_string())?;
    let mut store = Store::open(engine).map_err(|error| error.to_string())?;
    let leases: Vec<Lease> = store.snapshot().scan(&[]).map_err(|error| error.to_string())?;
    for leases in leases.chunks(CHUNK) {
        let mut group = store.begin();
        group
            .request(|tx| {
                leases.iter().try_for_each(|lease| {
                    tx.put(&Lease {
                        budget_kib: u16::MAX,
                        ..*lease
                    })
                })
            })
            .map_err(|error: StoreError| error.to_string())?;
        group.commit().map_err(|error| error.to_string())?;
    }

    Ok(())
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Result<T, String> {
    let text = value.as_str().unwrap_or_default();

    text.parse()
        .map_err(|_| format!("{value} is not what it should be"))
}

/// The floor with as many pairs and the same frames.
async fn connect_bare(floor: &Floor, like: &[Pair]) -> Result<Vec<Pair>, String> {
    let dialler = Dialler::open().map_err(|error| error.to_string())?;
    let dial = async |number: u64| {
        let identity = Some(floor::identity(number));
        let config = client::config(floor::ALPN, identity, quic::mesh_transport())?;

        dialler.dial(floor.address, "floor", config).await
    };
    let mut pairs = Vec::new();
    for (number, pair) in like.iter().enumerate() {
        let low = 2 * number as u64;
        pairs.push(Pair {
            from: dial(low).await?,
            to: dial(low + 1).await?,
            frame: pair.frame.clone(),
        });
    }

    Ok(pairs)
}

/// What came of a flood.
struct Flow {
    per_second: f64,
    lost_percent: f64,
}

/// Sends as fast as the connections take it, and counts what arrives.
async fn flood(pairs: &[Pair]) -> Result<Flow, String> {
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks: JoinSet<()> = JoinSet::new();
    for pair in pairs {
        let (to, received) = (pair.to.clone(), Arc::clone(&received));
        tasks.spawn(async move {
            while to.read_datagram().await.is_ok() {
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (from, frame, sent) = (pair.from.clone(), pair.frame.clone(), Arc::clone(&sent));
        tasks.spawn(async move {
            while from.send_datagram_wait(frame.clone()).await.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(RAMP).await;
    let counts = || (sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed));
    let (begun, before) = (Instant::now(), counts());
    tokio::time::sleep(FLOOD).await;
    let (took, after) = (begun.elapsed().as_secs_f64(), counts());
    tasks.shutdown().await;
    if let Some(closed) = pairs
        .iter()
        .flat_map(|pair| [&pair.from, &pair.to])
        .find_map(Connection::close_reason)
    {
        return Err(format!("a connection ended: {closed}"));
    }
    let (sent, received) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);

    Ok(Flow {
        per_second: received / took,
        lost_percent: 100.0 * (1.0 - received / sent).max(0.0),
    })
}

const RELAY: &str = "relay";
const PAIRS: usize = 8;
const ROUNDS: usize = 5;
/// Until queues are as full as they get.
const RAMP: Duration = Duration::from_millis(300);
const FLOOD: Duration = Duration::from_secs(3);
/// Rows in one transaction.
const CHUNK: usize = 50;

const WORDS: &str = "\
A relay as it is shipped, an agent that joined a controller with the role, and 8 pairs of clients with certificates and
leases of that controller, each on a mesh connection of its own to the relay. One end of each pair sends frames of 1,100
bytes, as long as a frame may be, as fast as its connection takes them; the relay finds the lease, checks ends, generation,
freshness and budget, and passes the same bytes on; what arrives at the other ends within 3 s is counted. All ends are one
process on one thread. The controller grants a lease 256 KiB a second, which would end such a flood at once: with both
processes stopped its rows are given the most that a row can say, 64 MiB a second, and the controller signs that.

The floor is quinn alone in a process of its own, with the mesh's transport settings: it knows which connection is the far
end of which, and sends on every datagram unread. The ends are the same code.";
