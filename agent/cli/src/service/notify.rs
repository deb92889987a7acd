//! What systemd is told: READY when every role is, STATUS in one line, and the watchdog fed by work of every role.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_shell::parts::Supervisor;
use sd_notify::NotifyState;

/// A voice for each of `names`, all of one process.
pub(crate) fn voices<const N: usize>(names: [&'static str; N]) -> [Arc<dyn Supervisor>; N] {
    let pause = sd_notify::watchdog_enabled().map(|interval| interval / 2);
    let notifier = Arc::new(Notifier::new(&names, pause, sd_notify::notify));

    std::array::from_fn(|place| {
        let notifier = notifier.clone();
        Arc::new(Voice { notifier, place }) as Arc<dyn Supervisor>
    })
}

/// One role's voice.
struct Voice {
    notifier: Arc<Notifier>,
    place: usize,
}

impl Supervisor for Voice {
    fn ready(&self) {
        self.notifier.ready(self.place);
    }

    fn status(&self, line: &str) {
        self.notifier.status(self.place, line);
    }

    fn worked(&self) {
        self.notifier.worked(self.place, Instant::now());
    }
}

/// The process as its service manager sees it.
struct Notifier {
    roles: Mutex<Vec<Role>>,
    /// Between two feedings of the watchdog; none when nobody waits for them.
    pause: Option<Duration>,
    tell: fn(&[NotifyState<'_>]) -> io::Result<()>,
}

#[derive(Debug)]
struct Role {
    name: &'static str,
    ready: bool,
    status: String,
    /// When it worked last, since the watchdog was fed.
    worked: Option<Instant>,
    fed: Option<Instant>,
}

impl Notifier {
    fn new(
        names: &[&'static str],
        pause: Option<Duration>,
        tell: fn(&[NotifyState<'_>]) -> io::Result<()>,
    ) -> Self {
        let roles = names.iter().map(|name| Role {
            name,
            ready: false,
            status: String::new(),
            worked: None,
            fed: None,
        });

        Self {
            roles: Mutex::new(roles.collect()),
            pause,
            tell,
        }
    }

    fn ready(&self, place: usize) {
        let mut roles = self.roles();
        let before = roles.iter().all(|role| role.ready);
        if let Some(role) = roles.get_mut(place) {
            role.ready = true;
        }
        if !before && roles.iter().all(|role| role.ready) {
            self.tell(&[NotifyState::Ready]);
        }
    }

    fn status(&self, place: usize, line: &str) {
        let mut roles = self.roles();
        if let Some(role) = roles.get_mut(place) {
            line.clone_into(&mut role.status);
        }
        let said: Vec<String> = match roles.as_slice() {
            [only] => vec![only.status.clone()],
            several => several
                .iter()
                .map(|role| format!("{}: {}", role.name, role.status))
                .collect(),
        };
        self.tell(&[NotifyState::Status(&said.join("; "))]);
    }

    /// Feeds the watchdog when every role has worked since it was fed: one that stands still starves it.
    fn worked(&self, place: usize, now: Instant) {
        let Some(pause) = self.pause else { return };
        let mut roles = self.roles();
        let Some(role) = roles.get_mut(place) else { return };
        role.worked = Some(now);
        let is_due = roles
            .iter()
            .all(|role| role.fed.is_none_or(|fed| now.duration_since(fed) >= pause));
        if is_due && roles.iter().all(|role| role.worked.is_some()) {
            for role in roles.iter_mut() {
                role.worked = None;
                role.fed = Some(now);
            }
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn roles(&self) -> MutexGuard<'_, Vec<Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A manager that does not listen is no reason to stop.
    fn tell(&self, state: &[NotifyState<'_>]) {
        if let Err(error) = (self.tell)(state) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_process_is_ready_when_every_role_is_and_says_so_once() {
        let notifier = Notifier::new(&["agent", "controller"], None, hear);

        notifier.ready(0);
        assert_eq!(heard(), [""; 0]);
        notifier.ready(1);
        notifier.ready(0);
        assert_eq!(heard(), ["READY=1\n"]);
    }

    #[test]
    fn a_status_names_the_role_where_there_are_several() {
        Notifier::new(&["agent"], None, hear).status(0, "ready, 3 routes");
        let both = Notifier::new(&["agent", "controller"], None, hear);
        both.status(0, "pending");
        both.status(1, "leading");

        assert_eq!(
            heard(),
            [
                "STATUS=ready, 3 routes\n",
                "STATUS=agent: pending; controller: \n",
                "STATUS=agent: pending; controller: leading\n",
            ]
        );
    }

    #[test]
    fn a_role_that_stands_still_starves_the_watchdog() {
        let notifier = Notifier::new(&["agent", "controller"], Some(Duration::from_secs(15)), hear);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        notifier.worked(0, at(0));
        assert_eq!(heard(), [""; 0]);
        notifier.worked(1, at(0));
        assert_eq!(heard(), ["WATCHDOG=1\n"]);

        for second in 1..=60 {
            notifier.worked(0, at(second));
        }
        assert_eq!(heard(), [""; 0]);
        notifier.worked(1, at(61));
        assert_eq!(heard(), ["WATCHDOG=1\n"]);
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_interval_and_not_at_every_turn() {
        let notifier = Notifier::new(&["agent"], Some(Duration::from_secs(15)), hear);
        let start = Instant::now();
        for second in 0..=60 {
            notifier.worked(0, start + Duration::from_secs(second));
        }

        assert_eq!(heard().len(), 5);
    }

    #[test]
    fn without_a_watchdog_none_is_fed() {
        Notifier::new(&["agent"], None, hear).worked(0, Instant::now());

        assert_eq!(heard(), [""; 0]);
    }

    fn hear(state: &[NotifyState<'_>]) -> io::Result<()> {
        let text: String = state.iter().map(|one| format!("{one}\n")).collect();
        HEARD.with_borrow_mut(|heard| heard.push(text));

        Ok(())
    }

    fn heard() -> Vec<String> {
        HEARD.with_borrow_mut(std::mem::take)
    }

    thread_local! {
        static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }
}
