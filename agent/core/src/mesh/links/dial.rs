//! When to dial one neighbour, and where: at once when it is wanted, then ever more rarely, and an address never more
//! than three times a minute as long as no handshake has confirmed that the neighbour is there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::time::Boot;

#[derive(Clone, Debug, Default)]
pub(super) struct Dial {
    /// Those of the addresses we have at which a handshake that we began has succeeded.
    confirmed: Vec<SocketAddr>,
    /// Dials in a row that failed, and connections that ended soon.
    failures: u32,
    next: Option<Boot>,
    /// Since when a dial is under way.
    under_way: Option<Boot>,
    /// The last dials at addresses that were not confirmed, at most [`UNCONFIRMED_DIALS`].
    recent: VecDeque<Boot>,
    /// Whether one of those of a minute is left for a moment that both ends agree on.
    keeps_one: bool,
}

impl Dial {
    /// A connection is needed: it is dialled at once, or when a dial is due anyway.
    pub(super) fn wish(&mut self, now: Boot) {
        if self.under_way.is_none() && self.next.is_none() {
            self.schedule(now);
        }
    }

    /// No dial is needed any more; one that is under way may still succeed.
    pub(super) fn rest(&mut self) {
        self.next = None;
    }

    /// Says where to dial now, and takes that as done: nowhere if no dial is due, and only at confirmed ones of
    /// `candidates` as long as the others are held back.
    pub(super) fn take_due(&mut self, candidates: &[SocketAddr], now: Boot) -> Vec<SocketAddr> {
        if self.under_way.is_some_and(|since| now.since(since) >= GIVEN_UP) {
            self.under_way = None;
            self.schedule(now);
        }
        if self.under_way.is_some() || self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let kept = usize::from(self.keeps_one);
        let held_back = self.held_back(kept).filter(|until| *until > now);
        let is_dialled = |address: &&SocketAddr| held_back.is_none() || self.confirmed.contains(address);
        let dialled: Vec<SocketAddr> = candidates.iter().filter(is_dialled).copied().collect();
        match dialled.is_empty() {
            true => self.next = held_back,
            false => self.begin(&dialled, now),
        }

        dialled
    }

    /// From now on leaves room for a dial at an agreed moment, or does not.
    pub(super) fn keep_one_for_meetings(&mut self, keeps_one: bool) {
        self.keeps_one = keeps_one;
    }

    /// Both ends agreed to dial now. Says whether to, and if so takes that as done, whatever is confirmed:
    /// the limit always holds. Another dial may be under way.
    pub(super) fn take_meeting(&mut self, now: Boot) -> bool {
        let is_free = self.held_back(0).is_none_or(|until| until <= now);
        if is_free {
            self.next = None;
            self.under_way = Some(now);
            self.count(now);
        }

        is_free
    }

    /// A dial failed. `permille`: 800 to 1,200, drawn by chance.
    pub(super) fn handle_failed(&mut self, wanted: bool, permille: u32, now: Boot) {
        self.under_way = None;
        self.back_off(wanted, permille, now);
    }

    /// A dial of ours succeeded at this one of `candidates`; at another that was vouched for if it is none of them.
    pub(super) fn handle_succeeded(&mut self, address: SocketAddr, candidates: &[SocketAddr]) {
        if candidates.contains(&address) && !self.confirmed.contains(&address) {
            self.confirmed.push(address);
        }
        self.under_way = None;
        self.next = None;
    }

    /// The last connection is gone after `lasted`.
    pub(super) fn handle_lost(&mut self, lasted: Duration, wanted: bool, permille: u32, now: Boot) {
        if lasted >= LASTING {
            self.failures = 0;
        }
        self.back_off(wanted, permille, now);
    }

    /// The addresses are these from now on; `is_news`: some were not there before.
    pub(super) fn handle_addresses(&mut self, candidates: &[SocketAddr], is_news: bool) {
        self.confirmed.retain(|address| candidates.contains(address));
        if is_news {
            self.failures = 0;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.under_way.map(|since| since.after(GIVEN_UP)).or(self.next)
    }

    pub(super) fn next(&self) -> Option<Boot> {
        self.next
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn is_confirmed(&self) -> bool {
        !self.confirmed.is_empty()
    }

    fn back_off(&mut self, wanted: bool, permille: u32, now: Boot) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        if wanted {
            self.schedule(now.after(pause.min(LONGEST_PAUSE) * permille / 1_000));
        }
    }

    fn begin(&mut self, dialled: &[SocketAddr], now: Boot) {
        self.next = None;
        self.under_way = Some(now);
        if dialled.iter().any(|address| !self.confirmed.contains(address)) {
            self.count(now);
        }
    }

    fn count(&mut self, now: Boot) {
        if self.recent.len() == UNCONFIRMED_DIALS {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    fn schedule(&mut self, at: Boot) {
        let kept = usize::from(self.keeps_one);
        let earliest = self.held_back(kept).filter(|_| self.confirmed.is_empty());

        self.next = Some(earliest.map_or(at, |earliest| at.max(earliest)));
    }

    /// Until when no further dial fits within [`UNCONFIRMED_SPAN`], if `kept` of them are left for others.
    fn held_back(&self, kept: usize) -> Option<Boot> {
        let counted = UNCONFIRMED_DIALS - kept;
        let first = self.recent.len().checked_sub(counted)?;

        self.recent.get(first).map(|first| first.after(UNCONFIRMED_SPAN))
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Doublings of the first pause that reach the longest.
const DOUBLINGS: u32 = 5;

/// A connection that lasted this long was no failure.
const LASTING: Duration = Duration::from_secs(10);

/// A liar must not aim a fleet at a victim.
const UNCONFIRMED_DIALS: usize = 3;
const UNCONFIRMED_SPAN: Duration = Duration::from_secs(60);

/// A dial that the host has not ended by then is taken for failed; its handshake limit is 5 s.
const GIVEN_UP: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn pauses_double_from_one_second_to_thirty() {
        let mut dial = Dial::default();
        dial.handle_succeeded(HERE, &[HERE]);
        let mut pauses = Vec::new();
        let mut now = Boot(0);
        for _ in 0..7 {
            dial.handle_failed(true, 1_000, now);
            pauses.push(dial.next().unwrap().since(now).as_secs());
            now = dial.next().unwrap();
            assert_eq!(dial.take_due(&[HERE], now), [HERE]);
        }

        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn an_unconfirmed_address_is_dialled_three_times_a_minute_at_most() {
        let (mut dial, mut dials) = (Dial::default(), Vec::new());
        dial.wish(Boot(0));
        for at in 0..600_000 {
            if !dial.take_due(&[HERE], Boot(at)).is_empty() {
                dials.push(at);
                dial.handle_addresses(&[HERE], true);
                dial.handle_failed(true, 800, Boot(at));
            }
        }

        assert!(dials.len() > 20);
        assert!(
            dials.windows(4).all(|four| four[3] - four[0] >= 60_000),
            "{dials:?}"
        );
    }

    #[test]
    fn an_address_that_did_not_answer_is_not_confirmed_by_one_that_did() {
        let mut dial = Dial::default();
        dial.wish(Boot(0));
        let (mut here, mut there) = (0, Vec::new());
        for at in 0..600_000 {
            let dialled = dial.take_due(&[HERE, THERE], Boot(at));
            here += usize::from(dialled.contains(&HERE));
            if dialled.contains(&THERE) {
                there.push(at);
            }
            if !dialled.is_empty() {
                dial.handle_succeeded(HERE, &[HERE, THERE]);
                dial.handle_lost(LASTING, true, 1_000, Boot(at));
            }
        }

        assert!(here > 500, "{here}");
        assert!((20..=31).contains(&there.len()), "{there:?}");
        assert!(
            there.windows(4).all(|four| four[3] - four[0] >= 60_000),
            "{there:?}"
        );
    }

    #[test]
    fn a_place_that_was_vouched_for_confirms_no_address_and_a_confirmed_one_lasts_as_long_as_it_is_named() {
        let mut dial = Dial::default();
        dial.handle_succeeded(THERE, &[HERE]);
        assert!(!dial.is_confirmed());
        dial.handle_succeeded(HERE, &[HERE]);
        dial.handle_addresses(&[HERE, THERE], true);
        assert!(dial.is_confirmed(), "another one makes it no worse");
        dial.handle_addresses(&[THERE], false);

        assert!(!dial.is_confirmed());
    }

    #[test]
    fn addresses_that_are_confirmed_no_more_are_waited_for() {
        let mut dial = Dial::default();
        for at in [0, 1, 2] {
            dial.wish(Boot(at));
            assert_eq!(dial.take_due(&[THERE], Boot(at)), [THERE]);
            dial.handle_failed(false, 1_000, Boot(at));
        }
        dial.handle_succeeded(HERE, &[HERE, THERE]);
        dial.wish(Boot(3));
        dial.handle_addresses(&[THERE], false);
        assert_eq!(dial.take_due(&[THERE], Boot(3)), []);

        assert_eq!(dial.next(), Some(Boot(60_000)));
    }

    #[test]
    fn a_connection_that_ends_at_once_counts_as_a_failure() {
        let mut dial = Dial::default();
        for expected in [1, 2, 4] {
            dial.handle_succeeded(HERE, &[HERE]);
            dial.handle_lost(Duration::from_millis(10), true, 1_000, Boot(0));
            assert_eq!(dial.next(), Some(Boot(expected * 1_000)));
        }
        dial.handle_succeeded(HERE, &[HERE]);
        dial.handle_lost(LASTING, true, 1_000, Boot(0));

        assert_eq!(dial.next(), Some(Boot(1_000)));
    }

    #[test]
    fn a_dial_that_the_host_forgot_is_given_up() {
        let mut dial = Dial::default();
        dial.wish(Boot(0));
        assert_eq!(dial.take_due(&[HERE], Boot(0)), [HERE]);
        assert_eq!(dial.take_due(&[HERE], Boot(29_999)), []);

        assert_eq!(dial.take_due(&[HERE], Boot(30_000)), [HERE]);
    }

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 7_000);
    const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 7_000);
}
