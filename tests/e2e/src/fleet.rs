//! A site with a controller in dev mode, and agents that join it.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Site, text};

impl Site {
    /// A site whose controller runs and has the cluster `prod`.
    pub fn founded() -> Self {
        let mut site = Self::default();
        site.found(&site.path("controller"));
        site.run(&["cluster", "create", "prod"]);

        site
    }

    /// Makes an installation in `data` and starts its controller.
    pub fn found(&mut self, data: &Path) {
        self.run(&["controller", "init", "--mode", "dev", "--data-dir", &text(data)]);
        self.lead(data);
    }

    /// Starts the controller of `data` and waits until it leads.
    pub fn lead(&mut self, data: &Path) {
        self.lead_with(data, &[]);
    }

    /// The same, with more words.
    pub fn lead_with(&mut self, data: &Path, more: &[&str]) {
        let args = self.controller(data);
        self.start("controller", &[&words(&args), more].concat());
        self.until(&["status"], |status| status["state"] == "leading");
    }

    /// The command that runs the controller of `data`, at one address for the whole life of the site.
    pub fn controller(&self, data: &Path) -> Vec<String> {
        let address = self.address();
        let run = ["controller", "run", "--data-dir", &text(data)].map(str::to_owned);
        let socket = ["--socket".to_owned(), text(&self.path("admin.sock"))];
        let listen = ["--controller-listen", &address, "--advertise", &address].map(str::to_owned);

        [run.as_slice(), &socket, &listen].concat()
    }

    /// Where the controller listens: a port that was free, kept for restarts.
    fn address(&self) -> String {
        let kept = self.path("controller.address");
        std::fs::read_to_string(&kept).unwrap_or_else(|_| {
            let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address").to_string();
            std::fs::write(&kept, &address).expect("written");

            address
        })
    }

    /// Makes a token, and a private file that holds it.
    pub fn token(&self, name: &str, args: &[&str]) -> PathBuf {
        let made = self.run(&[&["token", "create"], args].concat());

        self.private(&format!("{name}.token"), &made)
    }

    /// A file that only its owner may read.
    pub fn private(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");

        path
    }

    /// The command by which host `name` joins or runs (`verb`), with its state, its socket and its token beside each
    /// other.
    pub fn agent(&self, verb: &str, name: &str) -> Vec<String> {
        let state = text(&self.path(name));
        let socket = text(&self.path(&format!("{name}.sock")));
        let token = text(&self.path(&format!("{name}.token")));

        [
            ["agent", verb, "--name", name, "--state-dir", &state].as_slice(),
            &["--agent-socket", &socket, "--token-file", &token],
            &[
                "--agent-listen",
                "127.0.0.1:0",
                "--agent-dev",
                "--poll-interval",
                "100ms",
            ],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }

    /// Starts the agent of host `name`.
    pub fn run_agent(&mut self, name: &str) {
        let args = self.agent("run", name);
        self.start(name, &words(&args));
    }

    /// Starts a host that joins with a token of its own, and waits until it has its documents.
    pub fn admit(&mut self, name: &str, token: &[&str]) {
        self.token(name, &[&["--approval", "auto"], token].concat());
        self.run_agent(name);
        self.served(name);
    }

    /// Waits until the controller has heard that a host has its documents in force.
    pub fn served(&self, name: &str) {
        self.until(&["node", "show", name], |node| {
            node["state"] == "active" && node["config_version"].as_u64() > Some(0)
        });
    }

    /// How many audit records an action has.
    pub fn audited(&self, action: &str) -> usize {
        let records = self.json(&["audit", "list"]);
        let records = records.as_array().expect("a list").iter();

        records.filter(|record| record["name"] == action).count()
    }
}

/// Copies a data directory that no controller uses.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp runs").success());
}

/// Words of a command, borrowed.
pub fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
