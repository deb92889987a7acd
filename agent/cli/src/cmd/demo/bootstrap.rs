//! From nothing to a cluster whose members talk: as an operator would do it, by files and the admin API.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use control_api::action::Action;
use serde_json::json;
use toml::{Table, Value};

use super::fleet::{CONFIG, Fleet};
use super::flow;
use super::place::Place;
use super::plan::{CONTROLLER, CONTROLLER_NAME, CONTROLLER_SITE, Plan, Seat};
use super::process::Program;
use super::sight::Standing;
use super::underlay::Underlay;
use super::world::World;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::nothing;
use crate::{client, keyfile};

/// Lays out machines, lines and configurations. Nothing runs yet.
pub(crate) fn lay_out(plan: Plan, place: &Place, seed: u64) -> Result<Fleet, Failure> {
    let underlay =
        Underlay::start(plan.machines(), seed).map_err(|error| unusable("the loopback network", &error))?;
    shape(&plan, &underlay);
    configure(&plan, &underlay, place).map_err(|error| unusable("the directory of the demo", &error))?;
    let filter = std::env::var("GABION_LOG").unwrap_or_else(|_| "info".to_owned());
    let program = Program::this(place.logs(), filter)
        .map_err(|error| Failure::new(Exit::Failed, "demo_program", error.to_string()).because_of(&error))?;

    Ok(Fleet::new(plan, underlay, program, place.path()))
}

/// Brings up the controller and the cluster, lets every node join, and starts the frames. Returns how many nodes the
/// controller has enrolled.
pub(crate) async fn raise(world: &mut World, place: &Place) -> Result<usize, Failure> {
    world.fleet.found(place.path()).await?;
    world.fleet.start(CONTROLLER_NAME)?;
    let look = async |fleet: &Fleet| {
        let shown = fleet.act(Action::StatusShow, nothing()).await;
        shown.map_err(|failure| failure.summary)
    };
    world.until("the controller answers", START, look).await?;
    world
        .fleet
        .act(Action::ClusterCreate, json!({ "name": "demo" }))
        .await?;
    let policy = json!({ "policies": [
        { "name": "members", "priority": 10, "source": "demo=member", "target": "demo=member" },
    ] });
    world.fleet.act(Action::PolicyApply, policy).await?;
    world.say("a controller runs in dev mode, with one cluster and one policy: members talk to each other");
    for seat in world.fleet.plan.seats.clone() {
        invite(&world.fleet, &seat, place.path()).await?;
        world.fleet.start(&seat.name)?;
    }
    let enrolled = join(world).await?;
    world.say(&format!("{enrolled} nodes joined, each with a token of its own"));
    talk(world).await?;

    Ok(enrolled)
}

fn shape(plan: &Plan, underlay: &Underlay) {
    let controller = (CONTROLLER, CONTROLLER_SITE);
    let nodes = plan.seats.iter().map(|seat| (seat.machine, seat.site));
    let places: Vec<_> = nodes.chain([controller]).collect();
    for (one, here) in &places {
        for (other, there) in places.iter().filter(|(other, _)| other > one) {
            underlay.shape((*one, *other), here.latency_to(*there));
        }
    }
}

fn configure(plan: &Plan, underlay: &Underlay, place: &Place) -> io::Result<()> {
    let directory = place.make(CONTROLLER_NAME)?;
    let address = free_address()?;
    underlay.settle(CONTROLLER, address);
    let advertised = underlay.address(CONTROLLER).to_string();
    let settings = Table::from_iter([
        ("mode".to_owned(), Value::from("dev")),
        ("data_dir".to_owned(), text(&directory)),
        ("socket".to_owned(), text(&client::controller_socket(&directory))),
        ("listen".to_owned(), Value::from(address.to_string())),
        ("advertise".to_owned(), Value::from(vec![advertised])),
    ]);
    fs::write(directory.join(CONFIG), settings.to_string())?;
    for seat in &plan.seats {
        let directory = place.make(&seat.name)?;
        let listen = SocketAddr::new(seat.machine.own_address().into(), 0);
        let candidates = vec![underlay.address(seat.machine).to_string()];
        let settings = Table::from_iter([
            ("name".to_owned(), Value::from(seat.name.as_str())),
            ("state_dir".to_owned(), text(&directory.join("state"))),
            ("socket".to_owned(), text(&client::agent_socket(&directory))),
            ("listen".to_owned(), Value::from(listen.to_string())),
            ("candidates".to_owned(), Value::from(candidates)),
            ("token_file".to_owned(), text(&directory.join(TOKEN))),
            ("dev".to_owned(), Value::from(true)),
        ]);
        fs::write(directory.join(CONFIG), settings.to_string())?;
    }

    Ok(())
}

/// An address of the controller's machine at which nobody listens. It must outlast a restart, so it has a number.
fn free_address() -> io::Result<SocketAddr> {
    std::net::UdpSocket::bind((CONTROLLER.own_address(), 0))?.local_addr()
}

fn text(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}

/// Makes the token of one node: its role and its labels are in it, and nobody needs to approve the request.
async fn invite(fleet: &Fleet, seat: &Seat, directory: &Path) -> Result<(), Failure> {
    let created = fleet
        .act(
            Action::TokenCreate,
            json!({
                "roles": [seat.role.name()],
                "labels": {
                    "demo": seat.role.name(),
                    "site": seat.site.name(),
                    "host": format!("host-{}", seat.name),
                },
                "max_uses": 1,
                "ttl_seconds": 600,
                "approval": "auto",
            }),
        )
        .await?;
    let token = created["token"].as_str().unwrap_or_default();
    let path = directory.join(&seat.name).join(TOKEN);

    Ok(keyfile::write_new(&path, token.as_bytes(), keyfile::PRIVATE)?)
}

async fn join(world: &mut World) -> Result<usize, Failure> {
    let wanted = world.fleet.plan.seats.len();
    let look = async |fleet: &Fleet| {
        let listed = fleet.act(Action::NodeList, nothing()).await;
        let listed = listed.map_err(|failure| failure.summary)?;
        let active = listed.as_array().into_iter().flatten();
        let active = active.filter(|node| node["state"] == "active").count();
        match active == wanted {
            true => Ok(active),
            false => Err(format!("{active} of {wanted} nodes are active")),
        }
    };

    world.until("every node joins", JOIN, look).await
}

/// Waits for the routes and starts the frames.
async fn talk(world: &mut World) -> Result<(), Failure> {
    let pairs = world.fleet.plan.pairs();
    for pair in &pairs {
        world
            .until_both(pair, "a path that arrives", ROUTES, Standing::is_settled)
            .await?;
        for (from, to) in pair.ends() {
            if !world.fleet.send_frames(from, to).await {
                return Err(Failure::new(
                    Exit::Failed,
                    "demo_flow",
                    format!("{from} sends no frames to {to}"),
                ));
            }
        }
    }
    flow::arrived(world, &pairs, Duration::from_secs(1)).await?;
    world.say(&format!(
        "{} pairs send {} synthetic frames a second each way",
        pairs.len(),
        super::sight::FRAMES_PER_SECOND
    ));

    Ok(())
}

fn unusable(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "demo_place", format!("{what} cannot be used")).because(error.to_string())
}

/// The join token of a node, in its directory.
const TOKEN: &str = "join-token";
const START: Duration = Duration::from_secs(20);
const JOIN: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(40);
