//! What is told in a world: every event of our own crates, with its time and who told it. An `error!` fails the run.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// The history of one world. Clones are the same history.
#[derive(Clone, Debug)]
pub(super) struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    began: Instant,
    lines: Vec<Line>,
    broken: Vec<String>,
}

#[derive(Clone, Debug)]
struct Line {
    at: Duration,
    who: Arc<str>,
    what: String,
}

impl Witness {
    /// Must be made within the world's runtime.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            began: Instant::now(),
            lines: Vec::new(),
            broken: Vec::new(),
        })))
    }

    /// Adds a line of the world's own.
    pub(super) fn note(&self, who: &Arc<str>, what: impl Into<String>) {
        let mut seen = self.seen();
        let at = seen.began.elapsed();
        let (who, what) = (Arc::clone(who), what.into());
        seen.lines.push(Line { at, who, what });
    }

    /// Notes something that must not happen.
    pub(super) fn fail(&self, what: String) {
        let mut seen = self.seen();
        let at = seen.began.elapsed();
        seen.broken.push(format!("{at:?} {what}"));
    }

    /// What happened that must not.
    pub(super) fn broken(&self) -> Vec<String> {
        self.seen().broken.clone()
    }

    /// One line for each event: time, who, what. Those of one instant stand by who told them, for which of several
    /// hosts runs first within an instant says nothing.
    pub(super) fn history(&self) -> Vec<String> {
        let mut lines = self.seen().lines.clone();
        lines.sort_by(|one, other| (one.at, &one.who).cmp(&(other.at, &other.who)));

        lines.iter().map(Line::to_string).collect()
    }

    /// Every move of traffic that an agent told of. The first path is no move.
    pub(super) fn moves(&self) -> Vec<Told> {
        let seen = self.seen();
        let moves = seen.lines.iter().filter_map(|line| {
            let is_move = MOVES.iter().any(|told| line.what.contains(told)) && !line.what.contains(FIRST);
            let field = |name: &str| line.what.split_once(name).map(|(_, value)| value);
            let peer = field(" peer=").filter(|_| is_move)?;
            let relay = field(" to=Relay { relay: ").and_then(|value| value.split(',').next());

            Some(Told {
                at: line.at,
                who: Arc::clone(&line.who),
                peer: peer.split_whitespace().next()?.to_owned(),
                relay: relay.map(str::to_owned),
            })
        });

        moves.collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.3} {:<10} {}",
            self.at.as_secs_f64(),
            self.who,
            self.what
        )
    }
}

impl Subscriber for Witness {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= loudest(metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut told = Text(metadata.level().to_string().to_lowercase());
        event.record(&mut told);
        let who = SPEAKING.with_borrow(Clone::clone);
        let who = who.unwrap_or_else(|| room(metadata.target()).into());
        if *metadata.level() == Level::ERROR {
            self.fail(format!("{who} {}", told.0));
        }
        self.note(&who, told.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What an operator would read of ours is history.
fn loudest(target: &str) -> Level {
    match room(target) {
        "agent_core" | "agent_shell" | "control_api" | "control_core" | "control_routing"
        | "control_shell" | "control_store" | "protocol" => Level::INFO,
        _ => Level::ERROR,
    }
}

fn room(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

/// A move of traffic, with ids as logs have them.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) at: Duration,
    pub(super) who: Arc<str>,
    pub(super) peer: String,
    /// None if it goes directly from then on.
    pub(super) relay: Option<String>,
}

/// The text of an event: its message, then its fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// A future whose events are told in the name of a host.
pub(super) struct Speaking<F> {
    who: Arc<str>,
    inner: Pin<Box<F>>,
}

impl<F> Speaking<F> {
    pub(super) fn new(who: &Arc<str>, inner: F) -> Self {
        Self {
            who: Arc::clone(who),
            inner: Box::pin(inner),
        }
    }
}

impl<F: Future> Future for Speaking<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let before = SPEAKING.replace(Some(Arc::clone(&self.who)));
        let polled = self.inner.as_mut().poll(cx);
        SPEAKING.set(before);

        polled
    }
}

/// How an agent tells that its traffic goes elsewhere now.
const MOVES: [&str; 2] = ["traffic moved to a standby", "traffic follows a decision"];
/// That it went nowhere before.
const FIRST: &str = "from=None";

thread_local! {
    static SPEAKING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}
