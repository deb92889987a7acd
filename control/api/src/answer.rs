//! The door: one request, one open transaction, one answer. `Err` means that nothing of it is kept.

use control_core::desk::Desk;
use control_core::join::{self, JoinCaller};
use control_core::node::{self, NodeCaller};
use control_core::signer::Signer;
use control_core::store::Tx;
use control_core::{issuing, roles};
use protocol::error::Code;
use protocol::id::ControllerId;
use protocol::key::VerifyKey;
use protocol::time::{Now, Wall};
use protocol::wire::{JoinReply, JoinRequest, NodeReply};

use crate::admin;
use crate::failure::Failure;
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
    pub version: &'static str,
}

/// Everything that one call draws from.
pub struct Call<'a> {
    pub bench: &'a Bench,
    pub tx: &'a mut dyn Tx,
    pub signer: &'a dyn Signer,
    pub now: Now,
    pub rng: &'a mut dyn rand::CryptoRng,
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
        touched,
    } = call;
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
        actor: caller.actor(),
    };
    let mut routed = Touched::default();
    let reply = match (request, caller) {
        (Request::Join(request), Caller::Joiner(caller)) => join(&mut desk, caller, request).map(Reply::Join),
        (Request::Renew(request), Caller::Node(caller)) => {
            let renewed = node::renew(&mut desk, caller, request)?;
            renewed
                .into_result()
                .map_err(cloned)
                .map(|renewed| Reply::Node(NodeReply::Renewed(renewed)))
        }
        (Request::Leave, Caller::Node(caller)) => leave(&mut desk, caller),
        (Request::Act { action, input }, Caller::Local { operator }) => {
            admin::act(&mut desk, bench, *operator, *action, input.clone()).map(Reply::View)
        }
        (Request::Heard { changes }, Caller::Controller) => {
            changes
                .iter()
                .try_for_each(|change| node::record_change(desk.tx, change))?;
            Ok(Reply::Done)
        }
        (
            Request::Carried {
                cluster,
                relay,
                table,
            },
            Caller::Controller,
        ) => {
            routing::acknowledge(desk.tx, *cluster, *relay, *table)?;
            Ok(Reply::Done)
        }
        (Request::Decide { cluster, outcomes }, Caller::Controller) => {
            routing::apply(&mut desk, *cluster, outcomes, &mut routed)?;
            Ok(Reply::Done)
        }
        (
            Request::Serve {
                controller,
                key,
                endpoints,
            },
            Caller::Controller,
        ) => {
            serve(&mut desk, *controller, *key, endpoints)?;
            Ok(Reply::Done)
        }
        (Request::Tick, Caller::Controller) => {
            roles::raise_findings(&mut desk)?;
            routed.beacon = true;
            Ok(Reply::Done)
        }
        _ => Err(Failure::new(
            Code::WrongCertKind,
            "this caller cannot ask for that",
        )),
    }?;
    touched.absorb(noted);
    touched.absorb(routed);

    Ok(reply)
}

fn join(desk: &mut Desk<'_>, caller: &JoinCaller, request: &JoinRequest) -> Result<JoinReply, Failure> {
    match request {
        JoinRequest::Enroll(enroll) => Ok(join::enroll(desk, caller, enroll)?.reply),
        JoinRequest::Status(question) => Ok(join::status(desk.tx, caller, question, desk.now.wall)?),
        JoinRequest::Withdraw(question) => Ok(join::withdraw(desk, caller, question)?),
        JoinRequest::RenewExpired(request) => {
            let renewed = node::renew_expired(desk, caller, request)?;
            renewed.into_result().map_err(cloned).map(JoinReply::Renewed)
        }
    }
}

fn leave(desk: &mut Desk<'_>, caller: &NodeCaller) -> Result<Reply, Failure> {
    node::leave(desk, caller)?;

    Ok(Reply::Node(NodeReply::Left))
}

fn cloned(code: Code) -> Failure {
    Failure::new(
        code,
        "another machine has renewed this identity: one of the two is a copy",
    )
}

/// Certifies this controller in every cluster where it has no certificate yet, or one past half its life.
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
                && desk.now.wall < half_life(row.issued_at, row.not_after)
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
