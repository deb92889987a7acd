//! One neighbour: its connections, which of them is in use, and the probing and dialling that keep one alive.
//!
//! When a second connection comes up, a contest decides which one stays. Meanwhile the one in use stays in use until
//! another answers and it does not: whoever has an old certificate of the neighbour can connect, and cannot answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use protocol::frame::{PathTag, ProbeReply};
use protocol::id::NodeId;
use protocol::limits::CANDIDATES;
use protocol::net::Address;
use protocol::time::Boot;
use rand::Rng;

use super::contest::{Contest, Turn};
use super::dial::Dial;
use super::{LIVE, LinkEffect, Probing};
use crate::mesh::LinkUp;
use crate::mesh::effect::{CloseReason, LinkId};
use crate::mesh::probe::{Health, Judged, Probe, Reply};
use crate::mesh::view::LinkView;

#[derive(Debug)]
pub(super) struct Neighbour {
    /// Whether our node id is the lower one.
    we_are_lower: bool,
    candidates: Vec<SocketAddr>,
    want: Want,
    wanted_since: Option<Boot>,
    unwanted_since: Option<Boot>,
    /// A dial failed or a connection was lost since it is wanted.
    was_missed: bool,
    connections: BTreeMap<LinkId, Connection>,
    current: Option<LinkId>,
    contest: Option<Contest>,
    /// Runs while the link is wanted and no path of a route probes it.
    probe: Option<Probe>,
    /// Probes say that the connection in use is dead: another is dialled, and takes its place.
    is_dead: bool,
    dial: Dial,
    effects: VecDeque<Wish>,
}

/// What the routes need of a neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::mesh) struct Want {
    /// A connection.
    pub(in crate::mesh) link: bool,
    /// And that it is probed here, because no direct path of a route does.
    pub(in crate::mesh) probe: bool,
    /// That a connection is kept and probed if there is one, and dialled when both ends agreed to.
    pub(in crate::mesh) meet: bool,
}

/// What one neighbour needs of chance, drawn before it is known whether it will be needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    first_probe: u64,
    /// 800 to 1,200.
    permille: u32,
}

impl Chance {
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let first_probe = rng.next_u64();

        Self {
            first_probe,
            permille: 800 + rng.next_u32() % 401,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    dialled_by_us: bool,
    up_at: Boot,
    rtt: Option<Duration>,
    /// Where the peer answered the handshake.
    address: SocketAddr,
    /// Its packets come from elsewhere by now: it is not at that address any more, and that it is where they come from
    /// nobody has shown.
    has_moved: bool,
}

#[derive(Debug)]
enum Wish {
    Ask { link: LinkId, probe: u64 },
    Close { link: LinkId, why: CloseReason },
    Dial(Vec<SocketAddr>),
    Probe,
}

impl Neighbour {
    pub(super) fn new(us: NodeId, peer: NodeId) -> Self {
        Self {
            we_are_lower: us < peer,
            candidates: Vec::new(),
            want: Want::default(),
            wanted_since: None,
            unwanted_since: None,
            was_missed: false,
            connections: BTreeMap::new(),
            current: None,
            contest: None,
            probe: None,
            is_dead: false,
            dial: Dial::default(),
            effects: VecDeque::new(),
        }
    }

    pub(super) fn handle_candidates(&mut self, candidates: Vec<SocketAddr>, now: Boot) {
        let is_news = candidates.iter().any(|one| !self.candidates.contains(one));
        self.dial.handle_addresses(&candidates, is_news);
        self.candidates = candidates;
        self.seek(now);
    }

    pub(super) fn handle_want(&mut self, want: Want, first_probe: u64, now: Boot) {
        self.want = want;
        self.was_missed &= want.link;
        self.wanted_since = want.link.then(|| self.wanted_since.unwrap_or(now));
        self.dial.keep_one_for_meetings(want.meet);
        match (self.is_kept(), self.unwanted_since) {
            (true, _) => self.unwanted_since = None,
            (false, None) => self.unwanted_since = Some(now),
            (false, Some(_)) => {}
        }
        match (want.probe && self.is_kept(), &self.probe) {
            (true, None) => self.probe = Some(Probe::new(first_probe, now)),
            (false, Some(_)) => self.probe = None,
            (true, Some(_)) | (false, None) => {}
        }
        self.seek(now);
    }

    pub(super) fn handle_up(&mut self, up: LinkUp, chance: Chance, now: Boot) {
        let LinkUp { link, address, .. } = up;
        if up.dialled_by_us {
            self.dial.handle_succeeded(address, &self.candidates);
        }
        if std::mem::take(&mut self.is_dead) {
            self.drop_others(None, CloseReason::Dead);
        }
        let connection = Connection {
            dialled_by_us: up.dialled_by_us,
            up_at: now,
            rtt: None,
            address,
            has_moved: false,
        };
        self.connections.insert(link, connection);
        self.current.get_or_insert(link);
        self.unwanted_since = (!self.is_kept()).then_some(now);
        if let Some(probe) = &mut self.probe {
            probe.hurry(now);
        }
        self.enter_contest(link, chance, now);
        self.hold_contest(now);
        self.seek(now);
    }

    /// A second connection begins a contest; a further one joins it, and may leave no place for the worst.
    fn enter_contest(&mut self, link: LinkId, chance: Chance, now: Boot) {
        if let Some(contest) = &mut self.contest {
            let probe = contest.join(link);
            self.effects.push_back(Wish::Ask { link, probe });
        } else if self.connections.len() > 1 {
            self.contest = Some(Contest::begin(chance.first_probe, now));
        }
        if self.connections.len() > LIVE
            && let Some(loser) = self.loser(link)
        {
            self.connections.remove(&loser);
            let why = CloseReason::Duplicate;
            self.effects.push_back(Wish::Close { link: loser, why });
        }
    }

    /// The one that would lose a contest over all but the newest and the one in use.
    fn loser(&self, newest: LinkId) -> Option<LinkId> {
        let others = self
            .connections
            .keys()
            .filter(|link| ![Some(newest), self.current].contains(&Some(**link)));
        let has_answered = |link: LinkId| {
            self.contest
                .as_ref()
                .is_some_and(|contest| contest.has_answered(link))
        };

        others
            .copied()
            .min_by_key(|link| (has_answered(*link), self.rank(*link)))
    }

    /// Of two connections that are equally alive the higher stays: the one that the lower node dialled, or else the
    /// later.
    fn rank(&self, link: LinkId) -> (bool, LinkId) {
        let connection = self.connections.get(&link);
        let by_lower = connection.is_some_and(|connection| connection.dialled_by_us == self.we_are_lower);

        (by_lower, link)
    }

    pub(super) fn handle_down(&mut self, link: LinkId, chance: Chance, now: Boot) {
        let Some(lost) = self.connections.remove(&link) else {
            return;
        };
        if self.current == Some(link) {
            self.current = self.connections.last_key_value().map(|(link, _)| *link);
        }
        if self.connections.len() < 2 {
            self.contest = None;
        }
        if self.connections.is_empty() {
            self.is_dead = false;
            self.was_missed = self.want.link;
            let lasted = now.since(lost.up_at);
            self.dial
                .handle_lost(lasted, self.may_dial(), chance.permille, now);
            if let Some(probe) = &mut self.probe {
                probe.handle_unlinked();
            }
        }
    }

    pub(super) fn handle_dial_failed(&mut self, chance: Chance, now: Boot) {
        let wanted = self.may_dial() && self.is_sought();
        self.was_missed = self.want.link;
        self.dial.handle_failed(wanted, chance.permille, now);
    }

    pub(super) fn handle_rtt(&mut self, link: LinkId, rtt: Duration) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.rtt = Some(rtt);
        }
    }

    pub(super) fn handle_place(&mut self, link: LinkId, address: SocketAddr) {
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.has_moved = Address(connection.address).canonical() != Address(address).canonical();
        }
    }

    /// Dials at the agreed moment, unless that was done too often of late. Says whether it does.
    pub(super) fn handle_meeting(&mut self, vouched: Vec<SocketAddr>, now: Boot) -> bool {
        let mut addresses = vouched;
        for candidate in &self.candidates {
            if !addresses.contains(candidate) {
                addresses.push(*candidate);
            }
        }
        addresses.truncate(CANDIDATES);
        let is_due = self.is_kept() && self.is_sought() && !addresses.is_empty();
        let dials = is_due && self.dial.take_meeting(now);
        if dials {
            self.effects.push_back(Wish::Dial(addresses));
        }

        dials
    }

    /// Probes over the connection in use say that it is dead, or that it is not.
    pub(super) fn handle_path(&mut self, is_down: bool, now: Boot) {
        self.is_dead = is_down && !self.connections.is_empty();
        self.seek(now);
    }

    pub(super) fn handle_reply(&mut self, reply: &ProbeReply, now: Boot) -> Reply {
        if reply.path != PathTag::Direct {
            return Reply::Late;
        }
        if let Some(contest) = &mut self.contest
            && let Some(link) = contest.handle_reply(reply.probe)
        {
            if !self.current.is_some_and(|current| contest.has_answered(current)) {
                self.current = Some(link);
            }
            self.hold_contest(now);
            return Reply::Answered;
        }
        let Some(probe) = &mut self.probe else {
            return Reply::Late;
        };
        let meant = probe.handle_reply(reply.probe, reply.received, now);
        if self.is_dead && meant == Reply::Answered {
            self.handle_path(false, now);
        }

        meant
    }

    pub(super) fn handle_timeout(
        &mut self,
        probing: Probing,
        late: bool,
        chance: Chance,
        now: Boot,
    ) -> Judged {
        let judged = self.judge(probing, late, now);
        self.hold_contest(now);
        if self.unwanted_since.is_some_and(|since| now.since(since) >= GRACE) {
            self.close_unneeded(chance, now);
        }
        if self.may_dial() && self.is_sought() {
            let dialled = self.dial.take_due(&self.candidates, now);
            self.effects
                .extend((!dialled.is_empty()).then_some(Wish::Dial(dialled)));
        }

        judged
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        let contest = self.contest.as_ref().map(Contest::poll_timeout);
        let probe = self.probe.as_ref().filter(|_| self.current.is_some());
        let ours = self
            .connections
            .values()
            .any(|connection| connection.dialled_by_us);
        let unneeded = self
            .unwanted_since
            .filter(|_| ours)
            .map(|since| since.after(GRACE));
        let dial = self
            .dial
            .poll_timeout()
            .filter(|_| self.may_dial() && self.is_sought());

        [contest, probe.map(Probe::poll_timeout), unneeded, dial]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn poll_effect(&mut self, peer: NodeId) -> Option<LinkEffect> {
        Some(match self.effects.pop_front()? {
            Wish::Ask { link, probe } => LinkEffect::Ask { peer, link, probe },
            Wish::Close { link, why } => LinkEffect::Close { peer, link, why },
            Wish::Dial(candidates) => LinkEffect::Dial { peer, candidates },
            Wish::Probe => LinkEffect::Probe { peer },
        })
    }

    pub(super) fn begin_probe(&mut self, number: u64, now: Boot) -> Option<u64> {
        self.probe.as_mut().map(|probe| probe.begin(number, now))
    }

    pub(super) fn close_all(&mut self, why: CloseReason, now: Boot) {
        self.drop_others(None, why);
        self.is_dead = false;
        self.seek(now);
    }

    /// Whether there was time to find that it cannot be reached.
    pub(super) fn is_judged(&self, now: Boot) -> bool {
        let is_over = |since: Boot| now.since(since) >= FIRST_WINDOW;

        self.current.is_some() || self.was_missed || self.wanted_since.is_some_and(is_over)
    }

    pub(super) fn current(&self) -> Option<LinkId> {
        self.current
    }

    /// Where the far end of the connection in use answered the handshake, if it is still there.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let connection = self.connections.get(&self.current?)?;

        (!connection.has_moved).then_some(connection.address)
    }

    /// Whether people would want to see it.
    pub(super) fn is_shown(&self) -> bool {
        self.want.link || !self.connections.is_empty()
    }

    pub(super) fn is_forgettable(&self) -> bool {
        !self.is_shown() && !self.want.meet && self.candidates.is_empty()
    }

    pub(super) fn view(&self, peer: NodeId) -> LinkView {
        let connection = self.current.and_then(|link| self.connections.get(&link));

        LinkView {
            peer,
            link: self.current,
            needed: self.want.link || (self.want.meet && self.current.is_some()),
            dialled_by_us: connection.map(|connection| connection.dialled_by_us),
            up_since: connection.map(|connection| connection.up_at),
            rtt: connection.and_then(|connection| connection.rtt),
            boot: None,
            failures: self.dial.failures(),
            next_dial: self.dial.next(),
            confirmed: self.dial.is_confirmed(),
            met: 0,
        }
    }

    fn may_dial(&self) -> bool {
        self.want.link && !self.candidates.is_empty()
    }

    /// Whether a connection that is there is of use.
    fn is_kept(&self) -> bool {
        self.want.link || self.want.meet
    }

    /// Whether there is no connection that lives.
    pub(super) fn is_sought(&self) -> bool {
        self.connections.is_empty() || self.is_dead
    }

    fn seek(&mut self, now: Boot) {
        match self.may_dial() && self.is_sought() {
            true => self.dial.wish(now),
            false => self.dial.rest(),
        }
    }

    fn judge(&mut self, probing: Probing, late: bool, now: Boot) -> Judged {
        let Some(probe) = self.probe.as_mut().filter(|_| self.current.is_some()) else {
            return Judged::default();
        };
        let interval = match probe.health() {
            Health::Doubtful | Health::Unproven => probing.doubt,
            Health::Up | Health::Recovering | Health::Down => probing.rest,
        };
        probe.set_interval(interval, now);
        let before = probe.health();
        let judged = probe.handle_timeout(late, now);
        if judged.due {
            self.effects.push_back(Wish::Probe);
        }
        // A neighbour that never answered may not know our key yet: another connection would not help.
        let was_answered = probe.answered_at().is_some();
        if was_answered && probe.health() == Health::Down && before != Health::Down {
            self.handle_path(true, now);
        }

        judged
    }

    fn hold_contest(&mut self, now: Boot) {
        let Some(contest) = &mut self.contest else {
            return;
        };
        let links: Vec<LinkId> = self.connections.keys().copied().collect();
        match contest.turn(&links, now) {
            Turn::Wait => {}
            Turn::Ask(asked) => {
                let asked = asked.into_iter().map(|(link, probe)| Wish::Ask { link, probe });
                self.effects.extend(asked);
            }
            Turn::Over(running) => {
                let winner = running.into_iter().max_by_key(|link| self.rank(*link));
                self.contest = None;
                self.current = winner;
                self.drop_others(winner, CloseReason::Duplicate);
            }
        }
    }

    fn close_unneeded(&mut self, chance: Chance, now: Boot) {
        self.unwanted_since = None;
        let ours = |(_, connection): &(&LinkId, &Connection)| connection.dialled_by_us;
        let links: Vec<LinkId> = self
            .connections
            .iter()
            .filter(ours)
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.effects.push_back(Wish::Close {
                link,
                why: CloseReason::Unneeded,
            });
            self.handle_down(link, chance, now);
        }
    }

    fn drop_others(&mut self, kept: Option<LinkId>, why: CloseReason) {
        let links: Vec<LinkId> = self.connections.keys().copied().collect();
        for link in links.into_iter().filter(|link| Some(*link) != kept) {
            self.connections.remove(&link);
            self.effects.push_back(Wish::Close { link, why });
        }
        self.current = kept;
        self.contest = None;
    }
}

/// A neighbour that is not there by then, whoever was to dial, counts as out of reach: two handshakes that time out.
const FIRST_WINDOW: Duration = Duration::from_secs(10);

/// How long a connection that this node dialled is kept when nothing here needs it any more.
const GRACE: Duration = Duration::from_secs(60);
