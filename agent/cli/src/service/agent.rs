//! The agent as a service of this host: sockets, directory, resolver and supervisor put together.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_core::control::{Disconnected, FileName, JoinFailure, Payload, Persisted, Pin, WriteFailed, boot};
use agent_shell::agent::{Agent, AgentConfig, AgentFailed, Ended};
use agent_shell::clock::SystemClock;
use agent_shell::disk::{DirectoryDisk, DiskRefused, StateDisk};
use agent_shell::interfaces::KernelInterfaces;
use agent_shell::parts::{Parts, Pending, Supervisor, SystemListen, Truth};
use agent_shell::quic;
use agent_shell::resolve::SystemResolver;
use protocol::error::Code;
use protocol::node::Name;
use protocol::token::JoinToken;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::sync::watch;

use super::facts;
use super::metrics::Metrics;
use crate::config::agent::AgentSettings;
use crate::exit::Exit;
use crate::failure::Failure;

/// What an agent is started with besides its settings.
pub(crate) struct Start {
    pub(crate) settings: AgentSettings,
    pub(crate) token: Option<JoinToken>,
    pub(crate) disk: Arc<dyn StateDisk>,
    pub(crate) supervisor: Arc<dyn Supervisor>,
    pub(crate) metrics: Metrics,
}

/// Opens everything that the agent needs. It does nothing yet.
pub(crate) fn prepare(start: Start) -> Result<Agent, Failure> {
    let config = config(&start.settings, start.token)?;
    let runtime = Arc::new(TokioRuntime);
    let socket = open_socket(start.settings.listen, &*runtime)?;
    let parts = Parts {
        clock: Arc::new(SystemClock),
        socket,
        doors: start.settings.also_listen.clone(),
        listener: Arc::new(SystemListen(runtime.clone())),
        runtime,
        disk: start.disk,
        resolver: Arc::new(SystemResolver),
        interfaces: Arc::new(KernelInterfaces),
        supervisor: start.supervisor,
        testimony: Arc::new(Truth),
        metrics_text: start.metrics.text(),
        seed: super::seed(),
    };

    Agent::start(config, parts).map_err(|failed| failure(&failed))
}

fn open_socket(listen: SocketAddr, runtime: &dyn Runtime) -> Result<Arc<dyn AsyncUdpSocket>, Failure> {
    let unbindable = |error: std::io::Error| unbindable(listen, &error);
    let bound = quic::bind(listen).map_err(unbindable)?;
    tracing::info!(
        %listen,
        receive_buffer = bound.receive_buffer,
        send_buffer = bound.send_buffer,
        "the agent listens"
    );

    runtime.wrap_udp_socket(bound.socket).map_err(unbindable)
}

/// Runs the agent until `stop` completes or it ends by itself.
pub(crate) async fn run(agent: Agent, stop: impl Future<Output = ()>) -> Result<Ended, Failure> {
    agent.run(stop).await.map_err(|failed| failure(&failed))
}

/// Takes the state directory for this process.
pub(crate) fn open_disk(settings: &AgentSettings) -> Result<Arc<dyn StateDisk>, Failure> {
    let disk = DirectoryDisk::open(&settings.state_dir).map_err(|refused| disk_refused(&refused))?;

    Ok(Arc::new(disk))
}

/// Whether the state directory makes this host a node already.
pub(crate) fn is_member(disk: &dyn StateDisk) -> Result<bool, Failure> {
    persisted(disk).map(|persisted| persisted.is_member())
}

/// Refuses a token of another cluster than that whose node this host is.
pub(crate) fn same_cluster(disk: &dyn StateDisk, token: Option<&JoinToken>) -> Result<(), Failure> {
    let ours = persisted(disk)?.cluster();
    let theirs = token
        .and_then(|token| token.claims_unverified().ok())
        .map(|claims| claims.cluster);
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Failure::new(
            Exit::Conflict,
            "other_cluster",
            "this host is a node of another cluster than the token's",
        )
        .because(format!("it is a node of {ours}, and the token is for {theirs}"))
        .affecting("nothing was sent; this host stays what it is")
        .fixed_by("gabion agent leave    (gives that up; then join with the token)")),
        (Some(_) | None, _) => Ok(()),
    }
}

/// Whether the state directory holds neither an identity nor a request for one.
pub(crate) fn is_stranger(disk: &dyn StateDisk) -> Result<bool, Failure> {
    persisted(disk).map(|persisted| persisted.is_stranger())
}

fn persisted(disk: &dyn StateDisk) -> Result<Persisted, Failure> {
    let files = disk.read().map_err(|refused| disk_refused(&refused))?;

    boot(&files).map_err(|error| failure(&AgentFailed::Unbootable(error)))
}

fn config(settings: &AgentSettings, token: Option<JoinToken>) -> Result<AgentConfig, Failure> {
    let name = settings.name.clone().unwrap_or_else(facts::usual_name);
    name.parse::<Name>().map_err(|invalid| {
        Failure::usage(format!("{name:?} cannot be the name of a node"))
            .because(invalid.to_string())
            .fixed_by("add --name NAME, or name = \"...\" in agent.toml")
    })?;

    Ok(AgentConfig {
        token,
        pin: Pin {
            key: settings.authority_key,
            fingerprint: settings.authority_fingerprint,
        },
        name,
        facts: facts::host(),
        controllers: settings.controllers.clone(),
        candidates: settings.candidates.clone(),
        local_socket: Some(settings.socket.clone()),
        dev: settings.dev,
        poll_interval: settings.poll_interval.get(),
        join_timeout: settings.enrollment_timeout.map(|timeout| timeout.get()),
    })
}

/// A disk that tells when what is written to it makes this host a node.
pub(crate) struct JoinWatch {
    disk: Arc<dyn StateDisk>,
    joined: watch::Sender<bool>,
}

impl JoinWatch {
    /// The disk, and what completes once this host is a node.
    pub(crate) fn over(disk: Arc<dyn StateDisk>) -> (Self, impl Future<Output = ()>) {
        let (joined, mut told) = watch::channel(false);
        let until = async move {
            // Without a disk nobody joins any more.
            let _ = told.wait_for(|joined| *joined).await;
        };

        (Self { disk, joined }, until)
    }
}

impl StateDisk for JoinWatch {
    fn read(&self) -> Result<BTreeMap<FileName, Vec<u8>>, DiskRefused> {
        self.disk.read()
    }

    fn write(&self, files: Vec<(FileName, Payload)>) -> Pending<Result<(), WriteFailed>> {
        let makes_a_node = files.iter().any(|(name, payload)| is_of_a_node(*name, payload));
        let written = self.disk.write(files);
        let joined = self.joined.clone();

        Box::pin(async move {
            written.await?;
            if makes_a_node {
                joined.send_replace(true);
            }

            Ok(())
        })
    }
}

fn is_of_a_node(name: FileName, payload: &Payload) -> bool {
    let files = BTreeMap::from([(name, payload.as_bytes().to_vec())]);

    boot(&files).is_ok_and(|persisted| persisted.is_member())
}

fn unbindable(listen: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "socket",
        format!("the agent cannot listen on {listen}"),
    )
    .because(error.to_string())
    .fixed_by(match error.kind() == std::io::ErrorKind::PermissionDenied {
        true => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE: give it with systemctl edit gabion-agent, or choose another port"
        }
        false => "choose another address or port: listen in agent.toml, or --agent-listen",
    })
}

fn disk_refused(refused: &DiskRefused) -> Failure {
    let summary = "the agent's state directory cannot be used";
    match refused {
        DiskRefused::Locked { .. } => Failure::new(Exit::Conflict, "in_use", summary)
            .because_of(refused)
            .fixed_by("systemctl stop gabion-agent    (one agent to a state directory)"),
        DiskRefused::Exposed { path, wanted, .. } => Failure::new(Exit::Usage, "state_exposed", summary)
            .because_of(refused)
            .fixed_by(format!("chmod {wanted:04o} {}", path.display())),
        DiskRefused::Foreign { path, wanted, .. } => Failure::new(Exit::Usage, "state_foreign", summary)
            .because_of(refused)
            .fixed_by(format!("chown -R {wanted} {}", path.display())),
        DiskRefused::Io { .. } => Failure::new(Exit::Failed, "state_unusable", summary).because_of(refused),
    }
}

/// An agent that could not start or go on, for people.
fn failure(failed: &AgentFailed) -> Failure {
    match failed {
        AgentFailed::Disk(refused) => disk_refused(refused),
        AgentFailed::Join(refused) => join_refused(refused),
        AgentFailed::LocalSocket { .. }
        | AgentFailed::PartEnded { .. }
        | AgentFailed::Socket(_)
        | AgentFailed::Tls(_) => {
            Failure::new(Exit::Failed, "agent_failed", failed.to_string()).because_of(failed)
        }
        AgentFailed::LoopbackCandidate { .. } => Failure::usage(failed.to_string())
            .affecting("nothing was started")
            .fixed_by(
                "name an address that others can reach, or set dev = true to try things out on one machine",
            ),
        AgentFailed::TooManyCandidates { .. } => {
            Failure::usage(failed.to_string()).affecting("nothing was started")
        }
        AgentFailed::Unbootable(why) => Failure::new(Exit::Failed, "state_damaged", failed.to_string())
            .because(why.to_string())
            .affecting("this host's identity cannot be used; other nodes go on")
            .fixed_by("gabion node revoke NAME on the controller, empty the state directory, and join anew"),
    }
}

fn join_refused(why: &JoinFailure) -> Failure {
    let nothing_sent = "nothing was sent that anyone could use";
    match why {
        JoinFailure::Refused(error) => {
            let summary = "the controller refused to let this host join";
            let known = error.known().map(|code| Failure::of_code(code, summary));
            let failure = known.unwrap_or_else(|| Failure::new(Exit::Failed, &error.code, summary));
            failure
                .because(error.message.clone())
                .affecting("this host is no node")
        }
        JoinFailure::TimedOut => Failure::new(Exit::TimedOut, "not_approved", why.to_string())
            .affecting("the request stays pending; the next run goes on asking")
            .fixed_by("gabion request approve NAME    (on the controller)"),
        JoinFailure::Unanswered { last } => Failure::new(Exit::Unreachable, "unreachable", why.to_string())
            .because(unanswered(*last))
            .affecting("this host is no node; the next run tries again")
            .fixed_by("gabion inspect FILE    (says which cluster and which controllers the token names)"),
        JoinFailure::NoToken => Failure::usage(why.to_string())
            .fixed_by("gabion agent join --token-file FILE    (gabion token create makes the token)"),
        JoinFailure::NoController => Failure::usage(why.to_string())
            .fixed_by("add --controller HOST:PORT, or controllers in agent.toml"),
        JoinFailure::PinDisagrees => Failure::new(Exit::NotAllowed, "other_authority", why.to_string())
            .affecting(nothing_sent)
            .fixed_by("gabion authority show    (compare its fingerprint with [authority] in agent.toml)"),
        JoinFailure::MalformedToken => {
            Failure::of_code(Code::TokenMalformed, why.to_string()).affecting(nothing_sent)
        }
        JoinFailure::ContractMismatch | JoinFailure::ContractRefused => {
            Failure::of_code(Code::SignatureInvalid, why.to_string())
                .because(
                    "the contract does not verify under the pinned authority, or says what was not asked for",
                )
                .affecting("this host is no node")
        }
        JoinFailure::Withdrawn => {
            Failure::new(Exit::Conflict, "withdrawn", why.to_string()).affecting("this host is no node")
        }
    }
}

/// What came instead of an answer. Anybody can close a connection with a code before a controller has shown that it is one:
/// it is told, and believed in nothing.
fn unanswered(last: Option<Disconnected>) -> String {
    match last {
        Some(Disconnected::Handshake) => {
            "a server answered and does not serve this cluster (wrong_cluster, 403), or is no controller"
                .to_owned()
        }
        Some(Disconnected::Closed(Some(code))) => format!(
            "a server answered {} ({}), and did not prove that it is a controller",
            code.text(),
            code.number()
        ),
        Some(Disconnected::Closed(None)) => {
            "a server answered and did not prove that it is a controller".to_owned()
        }
        Some(Disconnected::Silent | Disconnected::Unreachable) | None => "nothing answered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use agent_shell::disk::MemoryDisk;
    use protocol::error::WireError;

    use super::*;

    #[test]
    fn the_six_refusals_of_a_token_read_differently_and_end_differently() {
        let cases = [
            (Code::TokenMalformed, Exit::Usage),
            (Code::TokenUnknown, Exit::NotAllowed),
            (Code::TokenExpired, Exit::Conflict),
            (Code::TokenConsumed, Exit::Conflict),
            (Code::WrongCluster, Exit::NotAllowed),
            (Code::SourceDenied, Exit::NotAllowed),
        ];
        for (code, exit) in cases {
            let failure = join_refused(&JoinFailure::Refused(WireError::new(code, "so it says")));
            assert_eq!((failure.exit, failure.code.as_str()), (exit, code.text()));
            assert!(failure.to_string().contains("why     so it says"), "{failure}");
        }
    }

    #[test]
    fn a_code_that_nobody_vouches_for_is_told() {
        let closed = JoinFailure::Unanswered {
            last: Some(Disconnected::Closed(Some(Code::WrongCluster))),
        };
        let failure = join_refused(&closed);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(
            failure.to_string().contains("answered wrong_cluster (403)"),
            "{failure}"
        );

        let handshake = JoinFailure::Unanswered {
            last: Some(Disconnected::Handshake),
        };
        assert!(
            join_refused(&handshake)
                .to_string()
                .contains("(wrong_cluster, 403)")
        );
    }

    #[test]
    fn a_refusal_of_a_newer_controller_keeps_its_code() {
        let mut error = WireError::new(Code::RoleDenied, "no");
        error.code = "moon_phase".to_owned();

        assert_eq!(join_refused(&JoinFailure::Refused(error)).code, "moon_phase");
    }

    #[test]
    fn writes_that_make_no_node_are_no_news() {
        let (watch, _until) = JoinWatch::over(Arc::new(MemoryDisk::default()));
        let told = watch.joined.subscribe();
        let files = vec![
            (FileName::Identity, Payload::from(vec![1])),
            (FileName::LastGoodA, Payload::from(vec![2])),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(watch.write(files)).unwrap();

        assert!(!*told.borrow());
        assert_eq!(watch.read().unwrap().len(), 2);
    }
}
