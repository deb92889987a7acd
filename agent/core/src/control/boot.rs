//! Reading the state directory: every signature verified again, nothing believed for lying on our own disk.

use std::collections::BTreeMap;

use protocol::id::ClusterId;

use super::addresses;
use super::confirm::Confirm;
use super::documents::Kept;
use super::event::Event;
use super::file::{Damaged, FileName};
use super::identity::{Member, Standing, UnreadableIdentity};
use super::marks::Marks;
use super::snapshot::Snapshot;

/// What the state directory held, verified. Its `Debug` shows no secret.
#[derive(Debug, Default)]
pub struct Persisted {
    pub(super) standing: Standing,
    pub(super) kept: Kept,
    pub(super) endpoints: Vec<String>,
    pub(super) damaged: Vec<FileName>,
}

impl Persisted {
    /// Whether this machine is a node already.
    pub const fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member(_))
    }

    /// The cluster whose node this machine is.
    pub fn cluster(&self) -> Option<ClusterId> {
        match &self.standing {
            Standing::Member(member) => Some(member.cluster()),
            Standing::Joining(_) | Standing::Stranger => None,
        }
    }

    /// Whether this machine has neither an identity nor a request for one.
    pub const fn is_stranger(&self) -> bool {
        matches!(self.standing, Standing::Stranger)
    }

    /// Files that were there and could not be used.
    pub fn damaged(&self) -> &[FileName] {
        &self.damaged
    }

    pub(super) fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.damaged.iter().map(|file| Event::Damaged { file: *file })
    }
}

/// Reads the files of the state directory, of which any may be missing. A damaged generation of the last known good
/// state is passed over for the one before; only a damaged identity cannot be made up for.
pub fn boot(files: &BTreeMap<FileName, Vec<u8>>) -> Result<Persisted, Unbootable> {
    let standing = match files.get(&FileName::Identity) {
        Some(bytes) => Standing::read(bytes)?,
        None => Standing::Stranger,
    };
    let mut persisted = Persisted {
        standing,
        ..Persisted::default()
    };
    if let Some(bytes) = files.get(&FileName::Controllers) {
        match addresses::read(bytes) {
            Some(endpoints) => persisted.endpoints = endpoints,
            None => persisted.damaged.push(FileName::Controllers),
        }
    }
    if let Standing::Member(member) = &persisted.standing {
        persisted.kept = kept(files, member, &mut persisted.damaged);
    }

    Ok(persisted)
}

/// The newest generation that is whole, and the highest marks that anything asks for.
fn kept(files: &BTreeMap<FileName, Vec<u8>>, member: &Member, damaged: &mut Vec<FileName>) -> Kept {
    let mut kept = Kept::default();
    for name in [FileName::LastGoodA, FileName::LastGoodB] {
        let read = files
            .get(&name)
            .map(|bytes| Snapshot::read(name, bytes, &member.trust, member.node));
        match read {
            Some(Ok(Some((generation, snapshot)))) => {
                kept.marks.merge(&snapshot.marks());
                if generation >= kept.generation {
                    kept.generation = generation;
                    kept.snapshot = snapshot;
                }
            }
            Some(Err(Damaged)) => damaged.push(name),
            Some(Ok(None)) | None => {}
        }
    }
    let marks = files
        .get(&FileName::HighWater)
        .map(|bytes| Marks::read(bytes, member.cluster(), member.node));
    match marks {
        Some(Ok(Some(marks))) => kept.marks.merge(&marks),
        Some(Err(Damaged)) => damaged.push(FileName::HighWater),
        Some(Ok(None)) | None => {}
    }
    if let Some(bytes) = files.get(&FileName::Confirmed) {
        match Confirm::read(bytes, &member.trust, member.node, kept.snapshot.config.as_ref()) {
            Ok(confirm) => kept.confirm = confirm,
            Err(Damaged) => damaged.push(FileName::Confirmed),
        }
    }

    kept
}

/// The state directory cannot be carried on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbootable {
    /// The identity file's checksum does not hold, or its content is none.
    #[error("the identity file is damaged")]
    IdentityDamaged,
    /// The identity file was written by a newer version of the program.
    #[error("the identity file has format {found}, newer than this version reads")]
    IdentityTooNew { found: u16 },
}

impl From<UnreadableIdentity> for Unbootable {
    fn from(error: UnreadableIdentity) -> Self {
        match error {
            UnreadableIdentity::Damaged => Self::IdentityDamaged,
            UnreadableIdentity::TooNew { found } => Self::IdentityTooNew { found },
        }
    }
}
