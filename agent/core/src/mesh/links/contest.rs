//! Several connections to one neighbour are up: which of them live?
//!
//! All are asked, up to four times within a second. One that comes meanwhile is asked too, and puts nothing off: who
//! can open connections could otherwise keep all of them. Those that do not answer go. Of those that do, the one that the
//! lower node id dialled stays, and of two by the same dialler the later. If none answers, the same order decides, so
//! that both ends come to the same end without a word.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::time::Boot;

use crate::mesh::effect::LinkId;

#[derive(Clone, Debug)]
pub(super) struct Contest {
    asked: BTreeMap<u64, LinkId>,
    next_probe: u64,
    answered: Vec<LinkId>,
    ask_again: Boot,
    until: Boot,
}

/// What a contest wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask these, by these probes.
    Ask(Vec<(LinkId, u64)>),
    /// All have answered, or time is up: only these are in the running.
    Over(Vec<LinkId>),
    Wait,
}

impl Contest {
    pub(super) fn begin(first_probe: u64, now: Boot) -> Self {
        Self {
            asked: BTreeMap::new(),
            next_probe: first_probe,
            answered: Vec::new(),
            ask_again: now,
            until: now.after(LONGEST),
        }
    }

    /// Another connection came up: the question to ask over it at once.
    pub(super) fn join(&mut self, link: LinkId) -> u64 {
        self.ask(link)
    }

    /// Whether this one has answered.
    pub(super) fn has_answered(&self, link: LinkId) -> bool {
        self.answered.contains(&link)
    }

    /// The connection over which the answered question was asked, if it is one of ours.
    pub(super) fn handle_reply(&mut self, probe: u64) -> Option<LinkId> {
        let link = self.asked.remove(&probe)?;
        self.answered.push(link);

        Some(link)
    }

    /// `links`: the connections that are up.
    pub(super) fn turn(&mut self, links: &[LinkId], now: Boot) -> Turn {
        let (answered, silent): (Vec<LinkId>, Vec<LinkId>) =
            links.iter().partition(|link| self.answered.contains(link));
        if now >= self.until || silent.is_empty() {
            return Turn::Over(if answered.is_empty() { silent } else { answered });
        }
        if now < self.ask_again {
            return Turn::Wait;
        }
        self.ask_again = now.after(AGAIN);

        Turn::Ask(silent.into_iter().map(|link| (link, self.ask(link))).collect())
    }

    pub(super) fn poll_timeout(&self) -> Boot {
        self.until.min(self.ask_again)
    }

    fn ask(&mut self, link: LinkId) -> u64 {
        let probe = self.next_probe;
        self.next_probe = probe.wrapping_add(1);
        self.asked.insert(probe, link);

        probe
    }
}

/// Time for all to answer: a long round trip, and questions that got lost.
const LONGEST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(300);
