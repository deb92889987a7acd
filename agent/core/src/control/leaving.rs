//! The wish to leave the cluster. It is for a time: what could not be done while somebody waited for it must not happen
//! behind his back later.

use protocol::error::WireError;
use protocol::time::{Boot, Now};

use super::event::NotLeft;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    until: Boot,
    /// What has become of it so far.
    standing: NotLeft,
}

impl Leaving {
    /// A wish until then; one that stands already goes on for as long as the longer of the two.
    pub(super) fn wish(standing: &mut Option<Self>, until: Boot) {
        match standing {
            Some(leaving) => leaving.until = leaving.until.max(until),
            None => {
                *standing = Some(Self {
                    until,
                    standing: NotLeft::Unheard,
                });
            }
        }
    }

    pub(super) fn until(&self) -> Boot {
        self.until
    }

    /// Takes the wish back once its time is over, and says what became of it.
    pub(super) fn take_over(standing: &mut Option<Self>, now: Now) -> Option<NotLeft> {
        standing
            .take_if(|leaving| leaving.until <= now.boot)
            .map(|leaving| leaving.standing)
    }

    /// A controller is being asked.
    pub(super) fn note_asked(&mut self) {
        self.standing = NotLeft::Unanswered;
    }

    pub(super) fn note_refused(&mut self, error: WireError) {
        self.standing = NotLeft::Refused(error);
    }

    /// Nothing is held any more, and the state directory is to say so.
    pub(super) fn note_given_back(&mut self) {
        self.standing = NotLeft::Unwritten;
    }
}
