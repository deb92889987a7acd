//! A controller's configuration.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use control_api::journal::Retention;
use control_core::doorkeeper::Limits;
use protocol::document::config::Transport;
use protocol::key::VerifyKey;
use serde::Deserialize;

use crate::client;
use crate::config::span::Span;

/// Whom an installation answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// To a product root whose keys are offline
    Strict,
    /// To a throw-away root in the data directory
    Dev,
}

/// What `controller.toml` may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ControllerFile {
    data_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    mode: Option<Mode>,
    listen: Option<SocketAddr>,
    advertise: Vec<String>,
    kek_file: Option<PathBuf>,
    product_root: ProductRoot,
    limits: Bounds,
    transport: Intervals,
    journal: Kept,
}

/// How many connections may be open, in place of the usual bounds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Bounds {
    connections: Option<usize>,
    handshakes: Option<usize>,
    handshakes_per_source: Option<usize>,
    strangers: Option<usize>,
    strangers_per_source: Option<usize>,
}

impl Bounds {
    fn settled(self) -> Limits {
        let usual = Limits::default();

        Limits {
            connections: self.connections.unwrap_or(usual.connections),
            handshakes: self.handshakes.unwrap_or(usual.handshakes),
            handshakes_per_source: self.handshakes_per_source.unwrap_or(usual.handshakes_per_source),
            strangers: self.strangers.unwrap_or(usual.strangers),
            strangers_per_source: self.strangers_per_source.unwrap_or(usual.strangers_per_source),
        }
    }
}

/// How much of the decision journal of each cluster is kept, in place of the usual.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kept {
    mebibytes: Option<u32>,
    age: Option<Span>,
}

impl Kept {
    fn settled(self) -> Retention {
        let usual = Retention::default();

        Retention {
            bytes: self
                .mebibytes
                .map_or(usual.bytes, |count| u64::from(count) * MEBIBYTE),
            age: self.age.map_or(usual.age, Span::get),
        }
    }
}

/// Intervals that every node is given, in place of the protocol's own.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Intervals {
    probe_fast: Option<Span>,
    probe_normal: Option<Span>,
    probe_rest: Option<Span>,
    heartbeat: Option<Span>,
    freshness: Option<Span>,
    activity: Option<Span>,
}

impl Intervals {
    fn settled(self) -> Transport {
        let usual = Transport::default();
        let millis = |span: Option<Span>, usual: u32| {
            span.map_or(usual, |span| {
                u32::try_from(span.get().as_millis()).unwrap_or(u32::MAX)
            })
        };

        Transport {
            probe_fast: millis(self.probe_fast, usual.probe_fast),
            probe_normal: millis(self.probe_normal, usual.probe_normal),
            probe_rest: millis(self.probe_rest, usual.probe_rest),
            heartbeat: millis(self.heartbeat, usual.heartbeat),
            freshness: millis(self.freshness, usual.freshness),
            activity: millis(self.activity, usual.activity),
        }
    }
}

/// The offline keys, as the configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProductRoot {
    pub(crate) keys: Vec<VerifyKey>,
    /// How many of them must sign; one when nothing is said.
    pub(crate) threshold: Option<u32>,
}

/// What the environment and the command line may say.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ControllerFlags {
    /// Where the controller keeps its store and its keys
    #[arg(long, env = "GABION_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Whom the installation answers to
    #[arg(long, env = "GABION_CONTROLLER_MODE")]
    pub(crate) mode: Option<Mode>,
    /// The UDP socket for agents
    #[arg(
        id = "controller_listen",
        long = "controller-listen",
        env = "GABION_CONTROLLER_LISTEN",
        value_name = "ADDR:PORT"
    )]
    listen: Option<SocketAddr>,
    /// What agents are told to dial; may be repeated
    #[arg(
        long,
        env = "GABION_CONTROLLER_ADVERTISE",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    advertise: Vec<String>,
    /// The file with the key that seals all others
    #[arg(long, env = "GABION_KEK_FILE", value_name = "FILE")]
    kek_file: Option<PathBuf>,
}

/// What holds in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControllerSettings {
    pub(crate) data_dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// Whatever the data directory was made in, when nothing is said.
    pub(crate) mode: Option<Mode>,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Vec<String>,
    /// The credential or the file in the data directory, when nothing is said.
    pub(crate) kek_file: Option<PathBuf>,
    pub(crate) product_root: ProductRoot,
    pub(crate) limits: Limits,
    pub(crate) transport: Transport,
    pub(crate) journal: Retention,
}

impl ControllerFile {
    /// What holds when `flags` are given too. `socket` is the one of the command line.
    pub(crate) fn settled(self, flags: ControllerFlags, socket: Option<PathBuf>) -> ControllerSettings {
        let data_dir = flags.data_dir.or(self.data_dir);
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(client::DATA_DIR));

        ControllerSettings {
            socket: socket
                .or(self.socket)
                .unwrap_or_else(|| client::controller_socket(&data_dir)),
            data_dir,
            mode: flags.mode.or(self.mode),
            listen: flags.listen.or(self.listen).unwrap_or(LISTEN),
            advertise: match flags.advertise.is_empty() {
                true => self.advertise,
                false => flags.advertise,
            },
            kek_file: flags.kek_file.or(self.kek_file),
            product_root: self.product_root,
            limits: self.limits.settled(),
            transport: self.transport.settled(),
            journal: self.journal.settled(),
        }
    }
}

/// IPv4 and IPv6.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7443);

const MEBIBYTE: u64 = 1024 * 1024;

/// Where the packages put the file.
pub(crate) const USUAL_FILE: &str = "/etc/gabion/controller.toml";

#[cfg(test)]
mod tests {
    use protocol::key::SigningKey;

    use super::*;

    #[test]
    fn nothing_said_means_the_defaults() {
        let settings = ControllerFile::default().settled(ControllerFlags::default(), None);

        assert_eq!(settings.listen.to_string(), "[::]:7443");
        assert_eq!(
            settings.socket,
            PathBuf::from("/var/lib/gabion/controller/admin.sock")
        );
        assert_eq!((settings.mode, settings.kek_file), (None, None));
    }

    #[test]
    fn flags_outweigh_the_file() {
        let key = SigningKey::from_seed(&[1; 32]).verify_key();
        let text = format!(
            "data_dir = '/data'\nsocket = '/s'\nmode = 'dev'\nlisten = '192.0.2.1:1'\nadvertise = ['a:1']\n\
             kek_file = '/kek'\n[product_root]\nkeys = ['{key}']\nthreshold = 1\n"
        );
        let file: ControllerFile = toml::from_str(&text).unwrap();
        let of_file = file.clone().settled(ControllerFlags::default(), None);
        let flags = ControllerFlags {
            data_dir: Some(PathBuf::from("/other")),
            mode: Some(Mode::Strict),
            advertise: vec!["b:2".to_owned()],
            ..ControllerFlags::default()
        };
        let of_both = file.settled(flags, Some(PathBuf::from("/t")));

        assert_eq!(of_file.data_dir, PathBuf::from("/data"));
        assert_eq!(
            (of_file.mode, of_file.socket),
            (Some(Mode::Dev), PathBuf::from("/s"))
        );
        assert_eq!(of_file.product_root.keys, [key]);
        assert_eq!(of_both.data_dir, PathBuf::from("/other"));
        assert_eq!(
            (of_both.mode, of_both.socket),
            (Some(Mode::Strict), PathBuf::from("/t"))
        );
        assert_eq!(of_both.advertise, ["b:2"]);
        assert_eq!(of_both.kek_file, Some(PathBuf::from("/kek")));
        assert_eq!(of_both.listen.to_string(), "192.0.2.1:1");
    }

    #[test]
    fn intervals_that_are_not_named_are_those_of_the_protocol() {
        let file: ControllerFile =
            toml::from_str("[transport]\nprobe_fast = '50ms'\nfreshness = '6s'\n").unwrap();
        let transport = file.settled(ControllerFlags::default(), None).transport;

        assert_eq!((transport.probe_fast, transport.freshness), (50, 6_000));
        assert_eq!(transport.heartbeat, Transport::default().heartbeat);
    }

    #[test]
    fn bounds_that_are_not_named_are_the_usual_ones() {
        let file: ControllerFile = toml::from_str("[limits]\nstrangers_per_source = 7\n").unwrap();
        let limits = file.settled(ControllerFlags::default(), None).limits;

        assert_eq!(limits.strangers_per_source, 7);
        assert_eq!(limits.strangers, Limits::default().strangers);
    }

    #[test]
    fn what_is_not_said_of_the_journal_is_the_usual() {
        let file: ControllerFile = toml::from_str("[journal]\nmebibytes = 2\n").unwrap();
        let journal = file.settled(ControllerFlags::default(), None).journal;

        assert_eq!(
            (journal.bytes, journal.age),
            (2 * MEBIBYTE, Retention::default().age)
        );
    }

    #[test]
    fn the_packaged_file_says_what_it_shows() {
        let file: ControllerFile = toml::from_str(PACKAGED).unwrap();
        let all: ControllerFile = toml::from_str(&super::super::roles::uncommented(PACKAGED)).unwrap();

        assert_eq!(
            file.settled(ControllerFlags::default(), None).mode,
            Some(Mode::Strict)
        );
        assert_eq!(all.product_root.keys.len(), 1);
        assert!(all.kek_file.is_some() && !all.advertise.is_empty());
        assert_eq!(all.transport.settled(), Transport::default());
        assert!(all.limits.strangers_per_source.is_some());
        assert_eq!(all.limits.settled(), Limits::default());
        assert!(all.journal.age.is_some() && all.journal.mebibytes.is_some());
        assert_eq!(all.journal.settled(), Retention::default());
    }

    const PACKAGED: &str = include_str!("../../../../packaging/etc/controller.toml");
}
