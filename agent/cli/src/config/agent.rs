//! An agent's configuration.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use protocol::key::{Fingerprint, VerifyKey};
use serde::Deserialize;

use crate::client;
use crate::config::span::Span;

/// What `agent.toml` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentFile {
    state_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    listen: Option<SocketAddr>,
    also_listen: Vec<SocketAddr>,
    controllers: Vec<String>,
    candidates: Vec<SocketAddr>,
    name: Option<String>,
    dev: bool,
    token_file: Option<PathBuf>,
    authority: Authority,
    enrollment: Enrollment,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Authority {
    public_key: Option<VerifyKey>,
    fingerprint: Option<Fingerprint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Enrollment {
    poll_interval: Option<Span>,
    timeout: Option<Span>,
}

/// What the environment and the command line may say.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AgentFlags {
    /// Where the agent keeps its identity and its last known good state
    #[arg(long, env = "GABION_STATE_DIR", value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The UDP socket for neighbours and controllers alike
    #[arg(
        id = "agent_listen",
        long = "agent-listen",
        env = "GABION_AGENT_LISTEN",
        value_name = "ADDR:PORT"
    )]
    listen: Option<SocketAddr>,
    /// A further UDP socket for neighbours: a relay on port 443 serves hosts whose firewalls let nothing else out; may be
    /// repeated
    #[arg(
        long = "agent-also-listen",
        env = "GABION_AGENT_ALSO_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    also_listen: Vec<SocketAddr>,
    /// A controller beside those that token and documents name; may be repeated
    #[arg(
        long = "controller",
        env = "GABION_AGENT_CONTROLLERS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    controllers: Vec<String>,
    /// What neighbours dial, in place of the host's own addresses; may be repeated
    #[arg(
        long = "candidate",
        env = "GABION_AGENT_CANDIDATES",
        value_name = "ADDR:PORT",
        value_delimiter = ','
    )]
    candidates: Vec<SocketAddr>,
    /// The name to ask for; the host's own by default
    #[arg(long, env = "GABION_AGENT_NAME")]
    name: Option<String>,
    /// Let neighbours be told of loopback addresses
    #[arg(long = "agent-dev", env = "GABION_AGENT_DEV")]
    dev: bool,
    /// The file with the join token; `-` reads it from standard input
    #[arg(long, env = "GABION_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The only cluster authority to accept, by its key
    #[arg(
        long,
        env = "GABION_AUTHORITY_KEY",
        value_name = "PUBLIC_KEY",
        allow_hyphen_values = true
    )]
    authority_key: Option<VerifyKey>,
    /// The only cluster authority to accept, by its fingerprint
    #[arg(long, env = "GABION_AUTHORITY_FINGERPRINT", value_name = "SHA256:...")]
    authority_fingerprint: Option<Fingerprint>,
    /// Time between two questions about a pending join request
    #[arg(long, env = "GABION_ENROLLMENT_POLL_INTERVAL", value_name = "TIME")]
    poll_interval: Option<Span>,
    /// Time after which a pending join request is given up for this run
    #[arg(long, env = "GABION_ENROLLMENT_TIMEOUT", value_name = "TIME")]
    enrollment_timeout: Option<Span>,
}

/// What holds in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentSettings {
    pub(crate) state_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) also_listen: Vec<SocketAddr>,
    pub(crate) controllers: Vec<String>,
    pub(crate) candidates: Vec<SocketAddr>,
    /// The host's own name when there is none.
    pub(crate) name: Option<String>,
    pub(crate) dev: bool,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) authority_key: Option<VerifyKey>,
    pub(crate) authority_fingerprint: Option<Fingerprint>,
    pub(crate) poll_interval: Span,
    pub(crate) enrollment_timeout: Option<Span>,
}

impl AgentFile {
    /// What holds when `flags` are given too. `socket` is the one of the command line.
    pub(crate) fn settled(self, flags: AgentFlags, socket: Option<PathBuf>) -> AgentSettings {
        let state_dir = flags.state_dir.or(self.state_dir);
        let state_dir = state_dir.unwrap_or_else(|| PathBuf::from(client::STATE_DIR));

        AgentSettings {
            socket: socket
                .or(self.socket)
                .unwrap_or_else(|| client::agent_socket(&state_dir)),
            state_dir,
            listen: flags.listen.or(self.listen).unwrap_or(LISTEN),
            also_listen: stronger(flags.also_listen, self.also_listen),
            controllers: stronger(flags.controllers, self.controllers),
            candidates: stronger(flags.candidates, self.candidates),
            name: flags.name.or(self.name),
            dev: flags.dev || self.dev,
            token_file: flags.token_file.or(self.token_file),
            authority_key: flags.authority_key.or(self.authority.public_key),
            authority_fingerprint: flags.authority_fingerprint.or(self.authority.fingerprint),
            poll_interval: flags
                .poll_interval
                .or(self.enrollment.poll_interval)
                .unwrap_or(Span::new(agent_core::control::POLL_INTERVAL)),
            enrollment_timeout: flags.enrollment_timeout.or(self.enrollment.timeout),
        }
    }
}

/// A list is replaced, never mixed.
fn stronger<T>(strong: Vec<T>, weak: Vec<T>) -> Vec<T> {
    match strong.is_empty() {
        true => weak,
        false => strong,
    }
}

/// IPv4 and IPv6, beside a controller's port on the same host.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7444);

/// Where the packages put the file.
pub(crate) const USUAL_FILE: &str = "/etc/gabion/agent.toml";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::key::SigningKey;

    use super::*;

    #[test]
    fn nothing_said_means_the_defaults() {
        let settings = AgentFile::default().settled(AgentFlags::default(), None);

        assert_eq!(settings.listen.to_string(), "[::]:7444");
        assert_eq!(settings.state_dir, PathBuf::from("/var/lib/gabion/agent"));
        assert_eq!(settings.socket, PathBuf::from("/var/lib/gabion/agent/agent.sock"));
        assert_eq!(settings.poll_interval.get(), Duration::from_secs(5));
        assert_eq!(settings.enrollment_timeout, None);
        assert!(!settings.dev);
    }

    #[test]
    fn a_file_says_everything() {
        let settings = file().settled(AgentFlags::default(), None);

        assert_eq!(settings.state_dir, PathBuf::from("/state"));
        assert_eq!(settings.socket, PathBuf::from("/run/a.sock"));
        assert_eq!(settings.listen.to_string(), "192.0.2.1:1");
        assert_eq!(settings.also_listen, ["[::]:443".parse().unwrap()]);
        assert_eq!(settings.controllers, ["a:1", "b:2"]);
        assert_eq!(settings.candidates, ["203.0.113.7:7".parse().unwrap()]);
        assert_eq!(settings.name.as_deref(), Some("web-01"));
        assert!(settings.dev);
        assert_eq!(settings.token_file, Some(PathBuf::from("/t")));
        assert_eq!(settings.authority_key, Some(key()));
        assert_eq!(settings.authority_fingerprint, Some(key().fingerprint()));
        assert_eq!(settings.poll_interval.get(), Duration::from_secs(1));
        assert_eq!(
            settings.enrollment_timeout.map(Span::get),
            Some(Duration::from_secs(3_600))
        );
    }

    #[test]
    fn flags_outweigh_the_file_and_lists_are_replaced_whole() {
        let flags = AgentFlags {
            state_dir: Some(PathBuf::from("/other")),
            listen: Some("[::1]:2".parse().unwrap()),
            controllers: vec!["c:3".to_owned()],
            name: Some("web-02".to_owned()),
            poll_interval: Some(Span::new(Duration::from_secs(2))),
            ..AgentFlags::default()
        };
        let settings = file().settled(flags, Some(PathBuf::from("/s")));

        assert_eq!(settings.state_dir, PathBuf::from("/other"));
        assert_eq!(settings.socket, PathBuf::from("/s"));
        assert_eq!(settings.listen.to_string(), "[::1]:2");
        assert_eq!(settings.controllers, ["c:3"]);
        assert_eq!(settings.candidates.len(), 1);
        assert_eq!(settings.name.as_deref(), Some("web-02"));
        assert_eq!(settings.poll_interval.get(), Duration::from_secs(2));
    }

    #[test]
    fn the_packaged_file_says_what_it_shows() {
        let file: AgentFile = toml::from_str(PACKAGED).unwrap();
        let all: AgentFile = toml::from_str(&super::super::roles::uncommented(PACKAGED)).unwrap();

        assert_eq!(
            file.settled(AgentFlags::default(), None),
            AgentFile::default().settled(AgentFlags::default(), None)
        );
        assert!(all.authority.public_key.is_some() && all.enrollment.timeout.is_some());
    }

    fn file() -> AgentFile {
        let text = format!(
            "state_dir = '/state'\nsocket = '/run/a.sock'\nlisten = '192.0.2.1:1'\nalso_listen = ['[::]:443']\ncontrollers = ['a:1', 'b:2']\n\
             candidates = ['203.0.113.7:7']\nname = 'web-01'\ndev = true\ntoken_file = '/t'\n\
             [authority]\npublic_key = '{}'\nfingerprint = '{}'\n\
             [enrollment]\npoll_interval = '1s'\ntimeout = '1h'\n",
            key(),
            key().fingerprint(),
        );

        toml::from_str(&text).unwrap()
    }

    fn key() -> VerifyKey {
        SigningKey::from_seed(&[1; 32]).verify_key()
    }

    const PACKAGED: &str = include_str!("../../../../packaging/etc/agent.toml");
}
