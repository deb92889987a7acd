//! A host in virtual time: carries out effects against a [`Cluster`], keeps only what was persisted, and can be
//! killed after any single step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::cbor;
use protocol::document::config::SyntheticConfig;
use protocol::envelope::Kind;
use protocol::id::BootId;
use protocol::time::{Boot, Now};
use protocol::wire::{Answer, HostFacts, NodeReply, NodeRequest, PollReply};

use super::super::{
    Adopted, Config, ConnectionId, Control, Disconnected, Door, Effect, Event, FileName, Lost, Payload, Pin,
    Seed, ServerLeaf, Tag, WriteFailed, WriteId, boot,
};
use super::cluster::{Cluster, START};

pub(super) struct Host {
    pub(super) control: Control,
    pub(super) cluster: Cluster,
    pub(super) disk: BTreeMap<FileName, Vec<u8>>,
    pub(super) now: Now,
    pub(super) events: Vec<Event>,
    /// Kind and version of every document handed over, in order.
    pub(super) adopted: Vec<(Kind, u64)>,
    /// Every config handed over, in order.
    pub(super) configs: Vec<SyntheticConfig>,
    pub(super) identities: usize,
    pub(super) fresh: Vec<(Boot, bool)>,
    /// Since when every controller had been tried, each time that was said.
    pub(super) tried_in_vain: Vec<Boot>,
    pub(super) dialled: Vec<(Door, String)>,
    /// Requests sent, by door.
    pub(super) sent: Vec<(Door, ConnectionId)>,
    /// Requests at the node door, with when they were sent.
    pub(super) requests: Vec<(Boot, NodeRequest)>,
    /// The names of the files of every write that succeeded.
    pub(super) writes: Vec<Vec<FileName>>,
    /// The next so many renewals are lost after the controller acted.
    pub(super) lose_renewal: usize,
    pub(super) trace: Vec<String>,
    /// Steps done: each effect, and each file of a write.
    pub(super) steps: usize,
    /// The step after which this host dies.
    pub(super) dies_at: Option<usize>,
    pub(super) faults: Faults,
    /// Endpoints at which nobody answers.
    pub(super) dead: Vec<String>,
    /// What servers say first, instead of the truth.
    pub(super) welcome: Option<Vec<u8>>,
    /// What every poll is answered with at once, instead of the truth.
    pub(super) scripted: Option<PollReply>,
    /// Writes that have not ended.
    hanging: Vec<(WriteId, Vec<(FileName, Payload)>)>,
    connections: BTreeMap<ConnectionId, Door>,
    parked: Option<(ConnectionId, Tag, Boot)>,
    /// A second poll, which follows a bad report, and is held for a moment.
    held: Option<(ConnectionId, Tag, Boot)>,
    inbox: VecDeque<Input>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// No controller answers a dial.
    pub(super) unreachable: bool,
    /// The next so many replies at the join door are lost after the controller acted.
    pub(super) lose_join_replies: usize,
    /// The next so many writes fail.
    pub(super) fail_writes: usize,
    /// No write ends.
    pub(super) hang_writes: bool,
    /// The handshake at the node door fails.
    pub(super) node_handshake: bool,
    /// A dial gets no answer at all.
    pub(super) silent: bool,
    /// Servers say nothing first.
    pub(super) wordless: bool,
    /// No request is answered.
    pub(super) mute: bool,
}

enum Input {
    Connected(ConnectionId),
    Welcome(ConnectionId),
    Reply(ConnectionId, Tag, Result<Vec<u8>, Lost>),
    Disconnected(ConnectionId, Disconnected),
    Persisted(WriteId, Result<(), WriteFailed>),
}

/// The host was killed.
#[derive(Debug)]
pub(super) struct Killed;

impl Host {
    /// A machine with an empty disk and a token.
    pub(super) fn new(cluster: Cluster) -> Self {
        let config = config(&cluster);

        Self::with(cluster, config, BTreeMap::new())
    }

    pub(super) fn with(cluster: Cluster, config: Config, disk: BTreeMap<FileName, Vec<u8>>) -> Self {
        let control = Control::new(boot(&disk).expect("bootable"), config, &seed(1));

        Self {
            control,
            cluster,
            disk,
            now: Now {
                boot: Boot(1_000),
                wall: START,
            },
            events: Vec::new(),
            adopted: Vec::new(),
            configs: Vec::new(),
            identities: 0,
            fresh: Vec::new(),
            tried_in_vain: Vec::new(),
            dialled: Vec::new(),
            sent: Vec::new(),
            requests: Vec::new(),
            writes: Vec::new(),
            lose_renewal: 0,
            trace: Vec::new(),
            steps: 0,
            dies_at: None,
            faults: Faults::default(),
            dead: Vec::new(),
            welcome: None,
            scripted: None,
            hanging: Vec::new(),
            connections: BTreeMap::new(),
            parked: None,
            held: None,
            inbox: VecDeque::new(),
        }
    }

    /// A member with the present revision in force.
    pub(super) fn member(cluster: Cluster) -> Self {
        let mut host = Self::new(cluster);
        host.run(Duration::from_secs(8));
        assert!(
            host.adopted
                .contains(&(Kind::SyntheticConfig, host.cluster.revision))
        );

        host
    }

    /// Starts again from what is on disk.
    pub(super) fn restart(&mut self, config: Config, seed: &Seed) {
        self.control = Control::new(boot(&self.disk).expect("bootable"), config, seed);
        self.connections.clear();
        self.parked = None;
        self.inbox.clear();
        self.dies_at = None;
    }

    /// Runs for `time`.
    pub(super) fn run(&mut self, time: Duration) {
        self.try_run(time).expect("nobody kills this host");
    }

    /// Runs for `time`, or until the step at which it dies.
    pub(super) fn try_run(&mut self, time: Duration) -> Result<(), Killed> {
        let end = self.now.boot.after(time);
        self.control.handle_timeout(self.now);
        let (mut last, mut calls) = (self.now.boot, 0);
        loop {
            self.settle()?;
            calls = if last == self.now.boot { calls + 1 } else { 0 };
            last = self.now.boot;
            assert!(calls < 100, "a timeout that never passes at {last:?}");
            let polls = [self.parked, self.held].into_iter().flatten();
            let next = [self.control.poll_timeout(), polls.map(|(.., until)| until).min()]
                .into_iter()
                .flatten()
                .min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.advance(at.max(self.now.boot));
            self.unpark();
            self.control.handle_timeout(self.now);
        }
        self.advance(end);

        Ok(())
    }

    /// Lets `time` pass with this machine suspended.
    pub(super) fn suspend(&mut self, time: Duration) {
        self.advance(self.now.boot.after(time));
    }

    /// Carries out all that is waiting.
    pub(super) fn settle(&mut self) -> Result<(), Killed> {
        loop {
            while let Some(effect) = self.control.poll_effect() {
                self.trace.push(format!("{:?} {effect:?}", self.now.boot));
                self.carry_out(effect)?;
            }
            let Some(input) = self.inbox.pop_front() else {
                return Ok(());
            };
            self.take_in(input);
        }
    }

    fn advance(&mut self, to: Boot) {
        let by = to.since(self.now.boot);
        self.now = Now {
            boot: to,
            wall: self.now.wall.after(by),
        };
        self.cluster.now = self.now.wall.max(self.cluster.now);
    }

    /// Answers a parked poll whose time is over.
    fn unpark(&mut self) {
        if let Some((connection, tag, _)) = self.held.take_if(|(.., until)| *until <= self.now.boot) {
            let reply = self.cluster.not_modified();
            self.inbox.push_back(Input::Reply(connection, tag, Ok(reply)));
        }
        if let Some((connection, tag, until)) = self.parked
            && until <= self.now.boot
        {
            self.parked = None;
            let reply = self.cluster.not_modified();
            self.inbox.push_back(Input::Reply(connection, tag, Ok(reply)));
        }
    }

    /// Answers a parked poll with what there is now.
    pub(super) fn push_news(&mut self) {
        if let Some((connection, tag, _)) = self.parked.take() {
            let reply = self.cluster.whole_reply(super::cluster::node());
            self.reply(connection, tag, &reply);
        }
    }

    /// Answers the parked poll with `reply`; the truth moves on to the next beacon.
    pub(super) fn answer_poll(&mut self, reply: &PollReply) {
        self.cluster.number += 1;
        let (connection, tag, _) = self.parked.take().expect("a poll is parked");
        self.reply(connection, tag, reply);
        self.settle().expect("nobody kills this host");
    }

    fn reply(&mut self, connection: ConnectionId, tag: Tag, reply: &PollReply) {
        let bytes = cbor::encode(&Answer::Done(NodeReply::Poll(reply.clone())));
        self.inbox.push_back(Input::Reply(connection, tag, Ok(bytes)));
    }

    /// Refuses the parked poll.
    pub(super) fn refuse_poll(&mut self, error: &protocol::error::WireError) {
        let (connection, tag, _) = self.parked.take().expect("a poll is parked");
        let answer: Answer<NodeReply> = Answer::Refused(error.clone());
        self.inbox
            .push_back(Input::Reply(connection, tag, Ok(cbor::encode(&answer))));
        self.settle().expect("nobody kills this host");
    }

    /// The poll that a controller holds.
    pub(super) fn parked(&self) -> Option<(ConnectionId, Tag)> {
        self.parked.map(|(connection, tag, _)| (connection, tag))
    }

    /// What the machine makes of `reply`, should the next poll bring it. Ends the run of this host.
    pub(super) fn judge(&mut self, reply: &PollReply) -> Vec<super::super::Refusal> {
        let from = self.events.len();
        self.scripted = Some(reply.clone());
        self.faults.unreachable = false;
        self.run(Duration::from_secs(31));
        self.scripted = None;
        let mut refused = Vec::new();
        for event in &self.events[from..] {
            if let Event::Refused { why, .. } = event {
                refused.push(why.clone());
            }
        }
        refused.truncate(reply.documents.len());

        refused
    }

    /// Wants to leave within `time`.
    pub(super) fn leave(&mut self, time: Duration) {
        let until = self.now.boot.after(time);
        self.control.handle_leave(until, self.now);
    }

    /// Ends the writes that hung, successfully.
    pub(super) fn finish_writes(&mut self) {
        for (write, files) in std::mem::take(&mut self.hanging) {
            for (name, payload) in files {
                self.disk.insert(name, payload.as_bytes().to_vec());
            }
            self.inbox.push_back(Input::Persisted(write, Ok(())));
        }
    }

    /// Ends every connection.
    pub(super) fn cut(&mut self) {
        self.cut_with(Disconnected::Silent);
    }

    /// Ends every connection in this way.
    pub(super) fn cut_with(&mut self, why: Disconnected) {
        self.parked = None;
        for connection in std::mem::take(&mut self.connections).into_keys() {
            self.inbox.push_back(Input::Disconnected(connection, why));
        }
    }

    fn step(&mut self) -> Result<(), Killed> {
        self.steps += 1;
        match self.dies_at {
            Some(at) if self.steps > at => Err(Killed),
            Some(_) | None => Ok(()),
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Killed> {
        if !matches!(effect, Effect::Persist { .. }) {
            self.step()?;
        }
        match effect {
            Effect::Adopt(adopted) => self.note(&adopted),
            Effect::Close { connection } => {
                self.connections.remove(&connection);
                self.parked = self.parked.filter(|(at, ..)| *at != connection);
            }
            Effect::Connect {
                connection,
                endpoint,
                door,
                ..
            } => self.dial(connection, endpoint, door),
            Effect::Event(event) => self.events.push(event),
            Effect::Fresh { poll_sent_at, newer } => self.fresh.push((poll_sent_at, newer)),
            Effect::Persist { write, files } if self.faults.hang_writes => self.hanging.push((write, files)),
            Effect::Persist { write, files } => {
                if self.faults.fail_writes > 0 {
                    self.faults.fail_writes -= 1;
                    self.inbox
                        .push_back(Input::Persisted(write, Err(WriteFailed::Full)));
                    return Ok(());
                }
                self.writes.push(files.iter().map(|(name, _)| *name).collect());
                for (name, payload) in files {
                    self.step()?;
                    self.disk.insert(name, payload.as_bytes().to_vec());
                }
                self.step()?;
                self.inbox.push_back(Input::Persisted(write, Ok(())));
            }
            Effect::Request {
                connection,
                tag,
                body,
                ..
            } => self.ask(connection, tag, body.as_bytes()),
            Effect::TriedInVain { since } => self.tried_in_vain.push(since),
        }

        Ok(())
    }

    fn note(&mut self, adopted: &Adopted) {
        let entry = match adopted {
            Adopted::Identity(_) => {
                self.identities += 1;
                return;
            }
            Adopted::Bundle(opened) => (Kind::TrustBundle, opened.header.version),
            Adopted::Revocations(opened) => (Kind::RevocationList, opened.header.version),
            Adopted::Config(opened) => {
                self.configs.push(opened.body.clone());
                (Kind::SyntheticConfig, opened.header.version)
            }
            Adopted::Routes(opened) => (Kind::Routes, opened.header.version),
            Adopted::LeaseTable(opened) => (Kind::LeaseTable, opened.header.version),
        };
        self.adopted.push(entry);
    }

    fn dial(&mut self, connection: ConnectionId, endpoint: String, door: Door) {
        let is_dead = self.dead.contains(&endpoint);
        self.dialled.push((door, endpoint));
        let fails = self.faults.node_handshake && door == Door::Node;
        if self.faults.unreachable || is_dead || fails {
            let why = if fails {
                Disconnected::Handshake
            } else {
                Disconnected::Unreachable
            };
            self.inbox.push_back(Input::Disconnected(connection, why));
            return;
        }
        self.connections.insert(connection, door);
        if self.faults.silent {
            return;
        }
        self.inbox.push_back(Input::Connected(connection));
        if !self.faults.wordless {
            self.inbox.push_back(Input::Welcome(connection));
        }
    }

    fn ask(&mut self, connection: ConnectionId, tag: Tag, body: &[u8]) {
        let Some(door) = self.connections.get(&connection).copied() else {
            return;
        };
        self.sent.push((door, connection));
        let request = (door == Door::Node).then(|| cbor::decode::<NodeRequest>(body).expect("decodes"));
        let is_poll = matches!(request, Some(NodeRequest::Poll(_)));
        let is_renewal = matches!(request, Some(NodeRequest::Renew(_)));
        self.requests
            .extend(request.map(|request| (self.now.boot, request)));
        if self.faults.mute {
            return;
        }
        if let Some(reply) = self.scripted.clone().filter(|_| is_poll) {
            return self.reply(connection, tag, &reply);
        }
        let reply = match door {
            Door::Join => Some(self.cluster.join(body, &exported(connection))),
            Door::Node => self.cluster.node(body),
        };
        let lost = door == Door::Join && self.faults.lose_join_replies > 0;
        match reply {
            Some(_) if is_renewal && self.lose_renewal > 0 => {
                self.lose_renewal -= 1;
                self.inbox
                    .push_back(Input::Reply(connection, tag, Err(Lost::Deadline)));
            }
            Some(_) if lost => {
                self.faults.lose_join_replies -= 1;
                self.inbox
                    .push_back(Input::Reply(connection, tag, Err(Lost::Stream)));
            }
            Some(bytes) => self.inbox.push_back(Input::Reply(connection, tag, Ok(bytes))),
            None if self.parked.is_some() => {
                self.held = Some((connection, tag, self.now.boot.after(Duration::from_secs(2))));
            }
            None => self.parked = Some((connection, tag, self.now.boot.after(Duration::from_secs(10)))),
        }
    }

    fn take_in(&mut self, input: Input) {
        let now = self.now;
        match input {
            Input::Connected(connection) => {
                let server = ServerLeaf {
                    chain: self.cluster.leaf.clone(),
                };
                self.control
                    .handle_connected(connection, server, exported(connection), now);
            }
            Input::Welcome(connection) => {
                let truth = || cbor::encode(&self.cluster.welcome());
                let welcome = self.welcome.clone().unwrap_or_else(truth);
                self.control.handle_welcome(connection, &welcome, now);
            }
            Input::Reply(connection, tag, reply) => self.control.handle_reply(connection, tag, reply, now),
            Input::Disconnected(connection, why) => self.control.handle_disconnected(connection, why, now),
            Input::Persisted(write, result) => self.control.handle_persisted(write, result, now),
        }
    }
}

pub(super) fn config(cluster: &Cluster) -> Config {
    Config {
        token: Some(cluster.token()),
        pin: Pin::default(),
        name: "node-0".to_owned(),
        facts: HostFacts::default(),
        controllers: Vec::new(),
        poll_interval: Duration::from_secs(1),
        timeout: None,
        boot: BootId::from_bytes([0xB0; 16]),
    }
}

pub(super) fn seed(byte: u8) -> Seed {
    Seed::from_bytes([byte; 32])
}

fn exported(connection: ConnectionId) -> [u8; 32] {
    [u8::try_from(connection.0 % 251).expect("below 251"); 32]
}
