//! A cluster in a lab: a controller on a host of its own, and agents that join as an operator lets them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use super::{Lab, Place};
use crate::text;

/// Whom the installation answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Strict,
    Dev,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Dev => "dev",
        }
    }
}

/// A host that is to become a node.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    /// What it does for the others besides being a member.
    pub role: Option<&'static str>,
    /// `key=value`.
    pub labels: Vec<String>,
    pub place: Place,
    /// What `gabion agent run` is told besides.
    pub args: Vec<String>,
}

impl Node {
    pub fn member(name: &str, labels: &[&str]) -> Self {
        Self::new(name, None, labels)
    }

    pub fn relay(name: &str, labels: &[&str]) -> Self {
        Self::new(name, Some("relay"), labels)
    }

    /// Lets others meet, and carries nothing for them.
    pub fn rendezvous(name: &str) -> Self {
        Self::new(name, Some("rendezvous"), &[])
    }

    fn new(name: &str, role: Option<&'static str>, labels: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            role,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            place: Place::Open,
            args: Vec::new(),
        }
    }

    /// The same host elsewhere.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The same host, whose agent is told more.
    #[must_use]
    pub fn told(self, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();

        Self { args, ..self }
    }
}

impl Lab {
    /// Adds the controller's host and makes its data directory. `settings`: lines of its configuration besides where it
    /// is. Gives what `gabion controller init` printed.
    pub fn init_controller(&mut self, mode: Mode, settings: &str) -> Value {
        self.init_controller_at(Place::Open, 7443, mode, settings)
    }

    /// The same at another place, answering at another port, which its own settings must name too.
    pub fn init_controller_at(&mut self, place: Place, port: u16, mode: Mode, settings: &str) -> Value {
        let address = self.host_at(CONTROLLER, place);
        let mut advertised = vec![format!("\"{address}:{port}\"")];
        if place.has_v6() {
            advertised.push(format!("\"[{}]:{port}\"", Self::v6(address)));
        }
        let (data, socket) = (self.site.path("controller"), self.site.path("admin.sock"));
        let written = format!(
            "mode = \"{}\"\ndata_dir = \"{}\"\nsocket = \"{}\"\nadvertise = [{}]\n{settings}",
            mode.name(),
            text(&data),
            text(&socket),
            advertised.join(", "),
        );
        let config = text(&self.site.path(CONTROLLER_CONFIG));
        fs::write(&config, written).expect("written");

        self.site.json(&["controller", "init", "--config", &config])
    }

    /// Starts the controller, again if need be, and waits until it answers.
    pub fn start_controller(&mut self) {
        let config = text(&self.site.path(CONTROLLER_CONFIG));
        self.start(CONTROLLER, &["controller", "run", "--config", &config]);
        self.until("the controller answers", START, |lab| {
            let asked = lab.site.try_run(&["status", "-o", "json"]);
            match asked.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&asked.stderr).into_owned()),
            }
        });
    }

    /// Ends the controller without warning.
    pub fn kill_controller(&mut self) {
        self.kill(CONTROLLER);
    }

    /// Makes a token for one host and hands it over; `args`: what `gabion token create` is to be told. Gives its text.
    pub fn invite(&self, name: &str, args: &[&str]) -> String {
        let token = self.site.run(&[&["token", "create"], args].concat());
        let file = self.site.path(&format!("{name}.token"));
        fs::write(&file, &token).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");

        token
    }

    /// Starts the agent of a host that was invited, or starts it again.
    pub fn start_agent(&mut self, name: &str) {
        let (state, socket) = (text(&self.site.path(name)), text(&self.socket(name)));
        let token = text(&self.site.path(&format!("{name}.token")));
        let args = [
            "agent",
            "run",
            "--name",
            name,
            "--state-dir",
            &state,
            "--agent-socket",
            &socket,
            "--poll-interval",
            "1s",
            "--token-file",
            &token,
        ];
        let more = self.args.get(name).cloned().unwrap_or_default();
        let more = more.iter().map(String::as_str);
        self.start(name, &args.into_iter().chain(more).collect::<Vec<_>>());
    }

    /// Adds hosts and lets them join without a question; returns when the controller has them all as active.
    pub fn join(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.host_at(&node.name, node.place);
            self.args.insert(node.name.clone(), node.args.clone());
            let labels = node.labels.iter().flat_map(|label| ["--label", label]);
            let role = node.role.into_iter().flat_map(|role| ["--role", role]);
            let args = ["--approval", "auto"].into_iter().chain(labels).chain(role);
            self.invite(&node.name, &args.collect::<Vec<_>>());
            self.start_agent(&node.name);
        }
        self.until("every node joins", JOIN, |lab| {
            let listed = lab.site.json(&["node", "list"]);
            let is_active = |node: &Node| {
                let mut rows = listed.as_array().into_iter().flatten();
                rows.any(|row| row["name"] == node.name.as_str() && row["state"] == "active")
            };
            match nodes.iter().find(|node| !is_active(node)) {
                None => Ok(()),
                Some(node) => Err(format!("{} is not active in {listed}", node.name)),
            }
        });
    }
}

/// The controller's host.
pub(super) const CONTROLLER: &str = "controller";
const CONTROLLER_CONFIG: &str = "controller.toml";
const START: Duration = Duration::from_secs(60);
const JOIN: Duration = Duration::from_secs(120);
