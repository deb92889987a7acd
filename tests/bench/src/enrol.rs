//! How many hosts a second become nodes: from a token to a signed contract that is on the disk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell::quic;

use crate::bench::{Bench, Budget, Findings, NotMeasured};
use crate::client::{self, Dialler};
use crate::fleet::{Contract, Fleet, Host, Member};
use crate::floor::{self, Floor, Kind};
use crate::rounds::{PATIENCE, Rounds, Work, crowd};

pub(crate) const BENCH: Bench = Bench { name: "enrol", run };

fn run() -> Result<Findings, NotMeasured> {
    let runtime = client::runtime()?;
    let _inside = runtime.enter();
    let fleet = Fleet::found()?;
    let floor = Floor::start(Kind::Handshakes)?;
    let shaker = Shaker::new(&floor)?;
    let (mut asked, mut enrolled) = (0, 0);
    let rounds = Rounds::take(
        ROUNDS,
        || runtime.block_on(shaker.shake(HANDSHAKES)),
        || {
            let hosts: Vec<Host> = (asked..asked + HOSTS).map(Host::new).collect();
            asked += HOSTS;
            let (rate, members) = runtime.block_on(enrol_within(&fleet, hosts, ROUND))?;
            enrolled += members.len();

            Ok(rate)
        },
    )?;
    let nodes = fleet.site.json(&["node", "list"]).as_array().map_or(0, Vec::len);
    if nodes != enrolled {
        return Err(NotMeasured::Broken(format!(
            "{enrolled} hosts joined and {nodes} are nodes"
        )));
    }
    let row = rounds.row("enrol_per_s", "/s", Budget::AtLeastOfFloor(0.4))?;
    let words = format!("{WORDS}\n\n{enrolled} hosts joined in all. {}", rounds.note());

    Ok(Findings {
        words,
        rows: vec![row],
    })
}

/// Lets all of these hosts join.
pub(crate) async fn enrol_all(fleet: &Fleet, hosts: Vec<Host>) -> Result<Vec<Member>, String> {
    let wanted = hosts.len();
    let (_, members) = enrol_within(fleet, hosts, PATIENCE).await?;
    match members.len() == wanted {
        true => Ok(members),
        false => Err(format!("{} of {wanted} hosts joined", members.len())),
    }
}

/// Lets hosts join for a while, and gives how many did in a second and what each became.
async fn enrol_within(
    fleet: &Fleet,
    hosts: Vec<Host>,
    within: Duration,
) -> Result<(f64, Vec<Member>), String> {
    let (door, hosts) = (fleet.door.clone(), Arc::new(hosts));
    let contracts: Arc<Mutex<Vec<(usize, Contract)>>> = Arc::default();
    let (got, joining) = (Arc::clone(&contracts), Arc::clone(&hosts));
    let work = Work {
        width: AT_ONCE,
        jobs: hosts.len(),
        within,
    };
    let rate = crowd(work, move |number| {
        let (door, hosts, contracts) = (door.clone(), Arc::clone(&joining), Arc::clone(&got));
        async move {
            let contract = door.enrol(&hosts[number]).await?;
            contracts.lock().expect("nobody panics").push((number, contract));

            Ok(())
        }
    })
    .await?;
    // Not in the measured time: that is the work of the hosts.
    let contracts = contracts.lock().expect("nobody panics");
    let members = contracts
        .iter()
        .map(|(number, contract)| Member::of(&hosts[*number], contract))
        .collect::<Result<_, _>>()?;

    Ok((rate, members))
}

/// Shakes hands with the floor.
struct Shaker {
    dialler: Dialler,
    address: std::net::SocketAddr,
    config: quinn::ClientConfig,
}

impl Shaker {
    fn new(floor: &Floor) -> Result<Self, NotMeasured> {
        Ok(Self {
            dialler: Dialler::open()?,
            address: floor.address,
            config: client::config(floor::ALPN, Some(floor::identity(1)), quic::client_transport())?,
        })
    }

    async fn shake(&self, times: usize) -> Result<f64, String> {
        let (dialler, address, config) = (self.dialler.clone(), self.address, self.config.clone());

        let work = Work {
            width: AT_ONCE,
            jobs: times,
            within: ROUND,
        };
        crowd(work, move |_| {
            let (dialler, config) = (dialler.clone(), config.clone());
            async move {
                let connection = dialler.dial(address, "floor", config).await?;
                connection.closed().await;

                Ok(())
            }
        })
        .await
    }
}

const ROUNDS: usize = 5;
/// At most, of one round: a token has 10,000 uses.
const HOSTS: usize = 2_000;
const HANDSHAKES: usize = 10_000;
const ROUND: Duration = Duration::from_secs(4);
/// Hosts that join at once; and handshakes. With more, a busy machine lets them wait for longer than QUIC waits for an
/// answer, and what is repeated is measured.
const AT_ONCE: usize = 128;

const WORDS: &str = "\
A controller as it is shipped, a process on loopback in dev mode, and one token that approves by itself. 128 hosts at once,
each on a connection of its own: handshake, `welcome`, a proof of its key over that connection, the request, and the
question for the contract. An answer leaves when the node, its certificate, its contract and their audit records are
synced to the disk and the documents of the cluster that it changes are published, which is done ten times a second at
most: whoever joins waits for the next publication. Keys and certificate requests are made before, contracts are opened
afterwards. A round is four seconds of joining. No pair of nodes gets a route.

The floor is the handshakes alone, 128 at once: quinn and rustls in a process of its own, with the product's suites, key
exchange (X25519MLKEM768) and Ed25519 certificates on both sides, the client's verified; the server closes when it is done.
A host that joins shows no certificate: the floor does one signature and one chain more than that handshake.";
