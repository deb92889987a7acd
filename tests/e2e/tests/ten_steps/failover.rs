//! After the ten steps: traffic leaves a path that goes silent, and the receiver's own packet counters say for how long
//! nothing came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_shell::local::RouteRow;
use e2e::lab::{self, Door, Lab, Meter, Node, is_settled, ready, relay_of};

/// Joins another member and a relay, cuts the direct path of the members silently while there is no controller, and
/// measures what that cost.
pub(super) fn failover(lab: &mut Lab, sender: &str) {
    lab.join(&[Node::member(RECEIVER, &[]), Node::relay(RELAY, &[])]);
    let ends = [(sender, RECEIVER), (RECEIVER, sender)];
    both(lab, ends, "a direct path, and a relay that is ready", |route| {
        relay_of(&route.active).is_none() && is_settled(route) && ready(route).any(is_by_relay)
    });
    for (from, to) in ends {
        let started = lab.door(from).send_frames(to, FRAMES_PER_SECOND, FRAME_BYTES);
        started.expect("an agent sends when it is asked to");
    }
    let counters = Counters::at_receiver(lab, sender);
    let meter = counters.until_flowing(lab, DIRECT);
    let log = lab.door(RECEIVER);
    log.take_received(sender).expect("frames came");
    // Whoever moves traffic now has asked nobody.
    lab.kill_controller();

    let ended = AtomicBool::new(false);
    let (watched, cut_at) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(meter, &ended));
        let cut_at = Instant::now();
        lab.cut(&[sender], &[RECEIVER]);
        both(lab, ends, "both ends leave the direct path", |route| {
            relay_of(&route.active) == Some(RELAY)
        });
        frames_arrive(lab, &log, sender);
        ended.store(true, Ordering::Relaxed);

        (watch.join().expect("counters can be read"), cut_at)
    });
    judge(lab, sender, &watched, cut_at, &log);
    lab.start_controller();
    both(lab, ends, "the controller confirms", |route| {
        relay_of(&route.decided) == Some(RELAY) && is_settled(route)
    });
}

/// What the counters must say, and the agent's own log beside them.
fn judge(lab: &Lab, sender: &str, watched: &Watched, cut_at: Instant, log: &Door) {
    let logged = log.take_received(sender).expect("frames came");
    let moved = watched
        .first_relayed
        .expect("frames came over the relay")
        .saturating_duration_since(cut_at);
    eprintln!(
        "failover: the receiver's counters stood still for {} ms, its agent logged {} ms and {} lost frames; first frame \
         over the relay {} ms after the cut",
        watched.gap.as_millis(),
        logged.largest_gap_ms,
        logged.missing,
        moved.as_millis(),
    );

    assert!(
        lab.dropped(sender, RECEIVER) > 0,
        "nothing of the sender's was cut"
    );
    assert!(
        lab.dropped(RECEIVER, sender) > 0,
        "nothing of the receiver's was cut"
    );
    assert!(
        watched.gap >= NOTICED,
        "a cut path cannot be left within {:?}",
        watched.gap
    );
    assert!(watched.gap <= MOVED, "nothing came for {:?}", watched.gap);
    assert!(logged.missing > 0, "a cut loses frames");
    let logged = Duration::from_millis(logged.largest_gap_ms);
    assert!(
        logged.abs_diff(watched.gap) <= AGREED,
        "the agent logged {logged:?}, its kernel counted {:?}",
        watched.gap
    );
}

/// The receiver's counters of frames, by the host from which they came.
struct Counters {
    rules: [(&'static str, String); 2],
}

impl Counters {
    /// Frames are told from all else that goes between two agents by their length.
    fn at_receiver(lab: &Lab, sender: &str) -> Self {
        let rule = |host: &str| {
            format!(
                "ip saddr {} udp length {FRAME_BYTES}-{}",
                lab.address(host),
                FRAME_BYTES + SEAL_AND_HEADERS
            )
        };

        Self {
            rules: [(DIRECT, rule(sender)), (RELAYED, rule(RELAY))],
        }
    }

    /// Waits until a second of frames was counted under one name, and of none under the other.
    fn until_flowing(&self, lab: &mut Lab, name: &str) -> Meter {
        let mut meter = lab.meter(RECEIVER, &self.rules);
        lab.until("frames are counted", STEP, |_| {
            let counted = meter.read();
            match counted[name] >= u64::from(FRAMES_PER_SECOND) {
                true => Ok(()),
                false => Err(format!("{counted:?}")),
            }
        });

        meter
    }
}

/// What the counters showed around a fault.
struct Watched {
    /// The longest time in which they stood still.
    gap: Duration,
    /// When the first frame over the relay was seen.
    first_relayed: Option<Instant>,
}

/// Reads the counters all the time until `ended`, and for [`WATCHED`] at the most: who should say so may have panicked.
fn watch(mut meter: Meter, ended: &AtomicBool) -> Watched {
    let first = meter.read();
    let (mut last, mut moved_at) = (first.clone(), Instant::now());
    let mut watched = Watched {
        gap: Duration::ZERO,
        first_relayed: None,
    };
    let begun = Instant::now();
    while !ended.load(Ordering::Relaxed) && begun.elapsed() < WATCHED {
        lab::pause();
        let counted = meter.read();
        let now = Instant::now();
        if counted[RELAYED] > first[RELAYED] {
            watched.first_relayed.get_or_insert(now);
        }
        if counted != last {
            watched.gap = watched.gap.max(now - moved_at);
            (last, moved_at) = (counted, now);
        }
    }

    watched
}

fn both(lab: &mut Lab, ends: [(&str, &str); 2], what: &str, is_so: impl Fn(&RouteRow) -> bool) {
    lab.until(what, STEP, |lab| {
        for (end, peer) in ends {
            let route = lab.door(end).route(peer)?;
            if !is_so(&route) {
                return Err(format!("{end}: {route:?}"));
            }
        }

        Ok(())
    });
}

/// Waits for another second of frames, so that all that the fault did lies behind.
fn frames_arrive(lab: &mut Lab, log: &Door, sender: &str) {
    let before = log.received(sender).map_or(0, |row| row.received);
    lab.until("frames arrive", STEP, |_| match log.received(sender)?.received {
        now if now >= before + u64::from(FRAMES_PER_SECOND) => Ok(()),
        now => Err(format!("{now} came, {before} before")),
    });
}

fn is_by_relay(path: &agent_shell::local::PathRow) -> bool {
    relay_of(path).is_some()
}

const RECEIVER: &str = "web-2";
const RELAY: &str = "relay-1";
const DIRECT: &str = "direct";
const RELAYED: &str = "relayed";
const FRAMES_PER_SECOND: u16 = 50;
/// Longer than a probe, and so long that no packet holds two.
const FRAME_BYTES: u16 = 700;
/// More than seal, frame, QUIC and UDP put around the content, and less than makes a handshake (1,200 bytes).
const SEAL_AND_HEADERS: u16 = 200;
/// One interval of probes (200 ms) with room for the counters' own grain: no miss is known earlier.
const NOTICED: Duration = Duration::from_millis(150);
/// Twice the budget for the slowest of a hundred, for a machine that does other things as well.
const MOVED: Duration = Duration::from_secs(3);
/// How far an agent's log may be from its kernel's counters: a process is scheduled late at times.
const AGREED: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_secs(60);
/// Longer than the two steps that are watched.
const WATCHED: Duration = Duration::from_secs(130);
