//! What a node says of what it measured: the truth, or what a test makes of it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_shell::parts::Testimony;
use protocol::wire::Report;

/// The word of one node. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Lips(Arc<Mutex<Word>>);

#[derive(Default)]
struct Word {
    lie: Option<Box<dyn Fn(Report) -> Report + Send>>,
    lies: u64,
}

impl Lips {
    pub(super) fn lie(&self, lie: impl Fn(Report) -> Report + Send + 'static) {
        self.word().lie = Some(Box::new(lie));
    }

    pub(super) fn lies(&self) -> u64 {
        self.word().lies
    }

    fn word(&self) -> MutexGuard<'_, Word> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Testimony for Lips {
    fn give(&self, measured: Report) -> Report {
        let mut word = self.word();
        let Some(lie) = &word.lie else {
            return measured;
        };
        let said = lie(measured.clone());
        word.lies += u64::from(said != measured);

        said
    }
}

impl fmt::Debug for Lips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lips")
            .field("lies", &self.lies())
            .finish_non_exhaustive()
    }
}
