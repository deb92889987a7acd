//! Whether every decision of the demo follows from its inputs: the controller's journal is exported, its results are taken
//! out, and what is left is decided again.

use control_api::action::Action;
use control_api::replay::{self, Replayed};
use serde::Serialize;
use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::exit::Exit;
use crate::failure::Failure;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Replay {
    /// In the journal.
    pub(crate) decisions: usize,
    /// Of these, those that came out the same.
    pub(crate) agreed: usize,
    /// Decisions that are not in the journal.
    pub(crate) missed: u64,
    /// The entries that came out otherwise.
    pub(crate) differing: Vec<String>,
}

impl Replay {
    pub(crate) fn is_ok(&self) -> bool {
        self.decisions > 0 && self.agreed == self.decisions && self.missed == 0
    }

    /// Takes one line of an export in.
    fn take(&mut self, line: Value) -> Result<(), Failure> {
        let (id, recorded) = (line["id"].clone(), line["result"].clone());
        let bare = replay::without_result(line).to_string();
        let replayed = replay::replay(&bare, true).map_err(|refused| {
            Failure::new(
                Exit::Failed,
                "demo_journal",
                format!("entry {id} of the journal cannot be replayed"),
            )
            .because_of(&refused)
        })?;
        match replayed {
            Replayed::Decision(judged) => {
                self.decisions += 1;
                match json!(judged.result) == recorded {
                    true => self.agreed += 1,
                    false => self.differing.push(format!("entry {id}: {}", judged.name)),
                }
            }
            Replayed::Missed(count) => self.missed += count,
            Replayed::Unreadable(damaged) => {
                self.decisions += 1;
                self.differing
                    .push(format!("entry {}: {}", damaged.id, damaged.reason));
            }
        }

        Ok(())
    }
}

/// Replays everything that the controller decided.
pub(super) async fn replayed(fleet: &Fleet) -> Result<Replay, Failure> {
    let mut replay = Replay::default();
    let mut after = json!(0);
    loop {
        let input = json!({ "after": after, "inputs": true, "limit": PAGE });
        let mut page = fleet.act(Action::RouteJournal, input).await?;
        let entries = page["entries"].take();
        for line in entries.as_array().cloned().unwrap_or_default() {
            replay.take(line)?;
        }
        if page["more"] != true || page["next"] == after {
            return Ok(replay);
        }
        after = page["next"].take();
    }
}

/// Entries that are asked for at once.
const PAGE: usize = 100;
