//! The door: one request, one open transaction, one answer. `Err` means that nothing of it is kept.

use std::sync::Arc;

use control_core::audit::{self, Actor, Entry, Outcome, Target};
use control_core::desk::Desk;
use control_core::join::{self, Enrolled, JoinCaller};
use control_core::node::{self, NodeCaller};
use control_core::roles::{self, Seals};
use control_core::signer::Signer;
use control_core::store::Tx;
use control_core::{behind, issuing, publish, settings};
use protocol::certificate::BACKDATING;
use protocol::document::config::Transport;
use protocol::error::Code;
use protocol::id::{ControllerId, OperatorId};
use protocol::key::VerifyKey;
use protocol::time::{Now, Wall};
use protocol::wire::{JoinReply, JoinRequest, NodeReply};

use crate::admin;
use crate::doubt;
use crate::failure::Failure;
use crate::journal::{self, Retention};
use crate::publish::Press;
use crate::request::{Caller, Reply, Request};
use crate::routing;
use crate::touched::{Touched, Tracked};

/// What stands beside every transaction: this controller, and what its shell has configured.
#[derive(Clone, Debug)]
pub struct Bench {
    pub controller: ControllerId,
    /// The key that this controller serves with; its private half stays with the shell.
    pub key: VerifyKey,
    /// `host:port` at which agents reach it.
    pub endpoints: Vec<String>,
    /// Intervals that every node of this controller's clusters is given.
    pub transport: Transport,
    pub version: &'static str,
    /// What is kept of the decision journal of each cluster.
    pub journal: Retention,
    /// Of grants, so that no action checks what another has checked.
    pub seals: Arc<Seals>,
}

/// Everything that one call draws from.
pub struct Call<'a> {
    pub bench: &'a Bench,
    pub tx: &'a mut dyn Tx,
    pub signer: &'a dyn Signer,
    pub now: Now,
    pub rng: &'a mut dyn rand::CryptoRng,
    /// What was published last is at hand there.
    pub press: &'a Press,
    pub touched: &'a mut Touched,
}

/// Answers one request inside its transaction.
pub fn answer(call: Call<'_>, caller: &Caller, request: &Request) -> Result<Reply, Failure> {
    let Call {
        bench,
        tx,
        signer,
        now,
        rng,
        press,
        touched,
    } = call;
    let (actor, uid) = (caller.actor(tx)?, caller.uid());
    let mut noted = Touched::default();
    let mut tracked = Tracked {
        tx,
        touched: &mut noted,
    };
    let mut desk = Desk {
        tx: &mut tracked,
        signer,
        now,
        rng,
        actor,
        uid,
    };
    let mut has_beacon = false;
    let reply = match caller {
        Caller::Joiner(joiner) => of_joiner(&mut desk, joiner, request),
        Caller::Node(node) => of_node(&mut desk, node, request),
        Caller::Local { operator, .. } => of_operator(&mut desk, bench, *operator, request),
        Caller::Controller => {
            has_beacon = matches!(request, Request::Tick);
            of_controller(&mut desk, bench, press, request)
        }
    }?;
    noted.beacon = has_beacon;
    touched.absorb(noted);

    Ok(reply)
}

/// Looks at the store when it has just been opened, before anyone is let in: it may have been changed meanwhile.
pub fn open(call: Call<'_>) -> Result<(), Failure> {
    let mut desk = Desk {
        tx: call.tx,
        signer: call.signer,
        now: call.now,
        rng: call.rng,
        actor: Actor::Controller,
        uid: None,
    };
    roles::restore_floors(&mut desk)?;
    roles::raise_findings(&mut desk, &call.bench.seals)?;

    Ok(())
}

/// Writes down that an operator was refused, in a transaction of its own: that of the request is rolled back. Strangers
/// and nodes leave no record here, or they could fill the chain at will.
pub fn note_refused(
    tx: &mut dyn Tx,
    caller: &Caller,
    request: &Request,
    failure: &Failure,
    now: Now,
) -> Result<(), Failure> {
    let (Caller::Local { .. }, Request::Act { action, .. }) = (caller, request) else {
        return Ok(());
    };
    if failure.code.number() >= OURS {
        return Ok(());
    }
    let detail = match &failure.why {
        Some(why) => format!("{}: {}", failure.message, why.replace('\n', ", ")),
        None => failure.message.clone(),
    };
    let entry = Entry {
        actor: caller.actor(tx)?,
        uid: caller.uid(),
        action: audit::Action::ACTION_REFUSED,
        target: Target::Named(action.name().to_owned()),
        outcome: Outcome::refused(failure.code),
        detail,
    };
    audit::append(tx, entry, now.wall)?;

    Ok(())
}

fn of_joiner(desk: &mut Desk<'_>, caller: &JoinCaller, request: &Request) -> Result<Reply, Failure> {
    let Request::Join(request) = request else {
        return Err(another_door());
    };
    let reply = match request.as_ref() {
        JoinRequest::Enroll(enroll) => numbered(join::enroll(desk, caller, enroll)?),
        JoinRequest::Status(question) => join::status(desk.tx, caller, question, desk.now.wall)?,
        JoinRequest::Withdraw(question) => join::withdraw(desk, caller, question)?,
        JoinRequest::RenewExpired(request) => match node::renew_expired(desk, caller, request)?.into_result()
        {
            Ok(renewed) => JoinReply::Renewed(renewed),
            Err(code) => return Ok(cloned(code)),
        },
    };

    Ok(Reply::Join(reply))
}

/// The contract is sealed to its request's id, which the joiner has to know and to keep first: it comes with the next
/// question, also when the token approves by itself.
fn numbered(enrolled: Enrolled) -> JoinReply {
    let pending = JoinReply::Pending {
        request: enrolled.request,
        poll_after_ms: 0,
    };
    match &enrolled.reply {
        JoinReply::Approved(_) => pending,
        JoinReply::Pending { .. } | JoinReply::Rejected(_) | JoinReply::Renewed(_) | JoinReply::Withdrawn => {
            enrolled.reply
        }
    }
}

fn of_node(desk: &mut Desk<'_>, caller: &NodeCaller, request: &Request) -> Result<Reply, Failure> {
    match request {
        Request::Renew(request) => match node::renew(desk, caller, request)?.into_result() {
            Ok(renewed) => Ok(Reply::Node(NodeReply::Renewed(renewed))),
            Err(code) => Ok(cloned(code)),
        },
        Request::Leave => {
            node::leave(desk, caller)?;

            Ok(Reply::Node(NodeReply::Left))
        }
        Request::Join(_)
        | Request::Act { .. }
        | Request::BackedUp { .. }
        | Request::Heard { .. }
        | Request::Carried { .. }
        | Request::Confirm { .. }
        | Request::Doubt { .. }
        | Request::Decide { .. }
        | Request::Serve { .. }
        | Request::Behind(_)
        | Request::Tick => Err(another_door()),
    }
}

fn of_operator(
    desk: &mut Desk<'_>,
    bench: &Bench,
    operator: Option<OperatorId>,
    request: &Request,
) -> Result<Reply, Failure> {
    match request {
        Request::Act { action, input } => {
            admin::act(desk, bench, operator, *action, input.clone()).map(Reply::View)
        }
        Request::BackedUp { failed } => {
            admin::status::end_backup(desk, *failed)?;

            Ok(Reply::Done)
        }
        Request::Join(_)
        | Request::Renew(_)
        | Request::Leave
        | Request::Heard { .. }
        | Request::Carried { .. }
        | Request::Confirm { .. }
        | Request::Doubt { .. }
        | Request::Decide { .. }
        | Request::Serve { .. }
        | Request::Behind(_)
        | Request::Tick => Err(another_door()),
    }
}

fn of_controller(
    desk: &mut Desk<'_>,
    bench: &Bench,
    press: &Press,
    request: &Request,
) -> Result<Reply, Failure> {
    match request {
        Request::Heard { changes } => {
            for change in changes {
                node::record_change(desk.tx, change)?;
                node::raise_refusals(desk, change)?;
                settings::record(desk, change)?;
            }
        }
        Request::Carried {
            cluster,
            relay,
            table,
        } => {
            let carried = press.carried_by(*cluster, *relay);
            let carried = carried.map(|leases| leases.map(|lease| lease.lease).collect());
            routing::acknowledge(desk.tx, (*cluster, *relay), *table, carried)?;
        }
        Request::Confirm { cluster, reached } => {
            for (node, address) in reached {
                node::confirm(desk.tx, *cluster, *node, *address)?;
            }
        }
        Request::Decide { cluster, outcomes } => {
            let written = routing::apply(desk, *cluster, outcomes)?;
            journal::keep(desk, bench, *cluster, &written)?;
        }
        Request::Doubt { cluster, suspects } => doubt::note(desk, *cluster, suspects)?,
        Request::Serve {
            controller,
            key,
            endpoints,
        } => serve(desk, *controller, *key, endpoints)?,
        Request::Behind(row) => behind::mark(desk, row)?,
        Request::Tick => tick(desk, bench)?,
        Request::Join(_)
        | Request::Renew(_)
        | Request::Leave
        | Request::Act { .. }
        | Request::BackedUp { .. } => {
            return Err(another_door());
        }
    }

    Ok(Reply::Done)
}

/// The finding that two machines hold one identity is kept although the renewal is refused.
fn cloned(code: Code) -> Reply {
    Reply::Refused(Failure::new(
        code,
        "another machine has renewed this identity: one of the two is a copy",
    ))
}

fn another_door() -> Failure {
    Failure::new(Code::WrongCertKind, "this caller cannot ask for that")
}

/// What is looked at with every beacon.
fn tick(desk: &mut Desk<'_>, bench: &Bench) -> Result<(), Failure> {
    roles::raise_findings(desk, &bench.seals)?;
    for cluster in control_core::cluster::list(desk.tx)? {
        publish::watch_clock(desk, cluster.id)?;
        node::prune(desk, &cluster)?;
        journal::prune(desk, bench, cluster.id)?;
    }
    // Before the hour is over: with a clock that was ahead this controller's certificate may lie in the future.
    serve(desk, bench.controller, bench.key, &bench.endpoints)
}

/// Certifies this controller in every cluster where it has no certificate yet, one past half its life, or one that does
/// not count yet.
///
/// It certifies whatever its clock says. A clock that is far from what was committed last may be wrong now or may have
/// been wrong then, and an outage looks the same: refusing would cut off the fleet in each of these cases. A certificate
/// that was issued in the future is replaced as soon as the clock is right.
fn serve(
    desk: &mut Desk<'_>,
    controller: ControllerId,
    key: VerifyKey,
    endpoints: &[String],
) -> Result<(), Failure> {
    for cluster in control_core::cluster::list(desk.tx)? {
        let known = issuing::controller(desk.tx, cluster.id, controller)?;
        let stands = known.is_some_and(|row| {
            row.key == key
                && row.endpoints == endpoints
                && (row.issued_at.before(BACKDATING)..half_life(row.issued_at, row.not_after))
                    .contains(&desk.now.wall)
        });
        if !stands {
            let new = issuing::NewController {
                controller,
                key,
                endpoints: endpoints.to_vec(),
            };
            issuing::issue_controller_certificate(desk, cluster.id, new)?;
        }
    }

    Ok(())
}

fn half_life(issued_at: Wall, not_after: Wall) -> Wall {
    issued_at.after(not_after.since(issued_at) / 2)
}

/// Codes from here on are failures of the controller, not the caller's doing.
const OURS: u16 = 500;
