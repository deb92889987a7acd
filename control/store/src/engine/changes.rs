//! How many changes an engine keeps: one rule for every engine that keeps them itself.

use std::collections::VecDeque;

use super::{CHANGES_KEPT, Revision};

/// The commits whose changes are kept, with the writes of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeWindow {
    commits: VecDeque<(Revision, usize)>,
    writes: usize,
}

impl ChangeWindow {
    /// The revision up to which a commit of so many writes shall drop changes, if any.
    ///
    /// Whole commits go, never the new one, and only when [`SLACK`] too many writes would be kept.
    pub(crate) fn excess(&self, writes: usize) -> Option<Revision> {
        let mut kept = self.writes + writes;
        if kept <= CHANGES_KEPT + SLACK {
            return None;
        }
        let mut dropped = None;
        for (revision, count) in &self.commits {
            if kept - count < CHANGES_KEPT {
                break;
            }
            kept -= count;
            dropped = Some(*revision);
        }

        dropped
    }

    /// Notes a commit and forgets the excess.
    pub(crate) fn push(&mut self, revision: Revision, writes: usize) {
        let dropped = self.excess(writes);
        while let Some((_, count)) = self.commits.pop_front_if(|(oldest, _)| Some(*oldest) <= dropped) {
            self.writes -= count;
        }
        self.commits.push_back((revision, writes));
        self.writes += writes;
    }
}

impl FromIterator<(Revision, usize)> for ChangeWindow {
    fn from_iter<I: IntoIterator<Item = (Revision, usize)>>(kept: I) -> Self {
        let commits: VecDeque<_> = kept.into_iter().collect();
        let writes = commits.iter().map(|(_, writes)| writes).sum();

        Self { commits, writes }
    }
}

/// Dropping in runs costs one range delete instead of one delete for each commit.
const SLACK: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dropped_before_the_slack_is_used_up() {
        let mut window = ChangeWindow::default();

        assert_eq!(push(&mut window, 1, CHANGES_KEPT), None);
        assert_eq!(push(&mut window, 2, SLACK), None);
        assert_eq!(push(&mut window, 3, CHANGES_KEPT), Some(2));
    }

    #[test]
    fn the_newest_writes_that_must_be_kept_are_kept() {
        let mut window = ChangeWindow::default();
        for revision in 1..=CHANGES_KEPT + SLACK {
            assert_eq!(push(&mut window, revision as u64, 1), None);
        }

        assert_eq!(
            push(&mut window, (CHANGES_KEPT + SLACK + 1) as u64, 1),
            Some((SLACK + 1) as u64)
        );
        assert_eq!(window.writes, CHANGES_KEPT);
    }

    #[test]
    fn a_commit_larger_than_the_bound_is_kept_while_it_is_the_newest() {
        let mut window = ChangeWindow::default();

        assert_eq!(push(&mut window, 1, 10 * CHANGES_KEPT), None);
        assert_eq!(push(&mut window, 2, 1), None);
        assert_eq!(push(&mut window, 3, CHANGES_KEPT), Some(2));
    }

    fn push(window: &mut ChangeWindow, revision: u64, writes: usize) -> Option<u64> {
        let dropped = window.excess(writes);
        window.push(Revision::new(revision), writes);

        dropped.map(Revision::get)
    }
}
