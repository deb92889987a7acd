//! An engine in memory for simulators and tests, with faults on demand.
//!
//! A [`MemoryDisk`] outlives the engines opened on it, as a file outlives a process: dropping an engine and opening
//! another one on the same disk is a crash and a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{
    BackupFailed, Batch, CampaignFailed, Cause, ChangeSet, ChangeWindow, ChangesFailed, CheckFailed,
    CommitFailed, Engine, EngineReader, Entry, Limits, ReadFailed, RenewFailed, Revision, Term, Write,
};
use crate::key::{Key, Span};

/// What the engines opened on it share.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// Makes commit number `nth` from now (0 is the next one) fail once.
    pub fn fail_commit(&self, nth: usize, fault: CommitFault) {
        self.lock().fault = Some((nth, fault));
    }

    /// Lets everything that writes fail for want of space until it is set back.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Lets the current lease run out, so that another candidate can take the leadership.
    pub fn expire_lease(&self) {
        self.lock().holder = None;
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an injected commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// [`CommitFailed::Io`]; the batch is found after opening again.
    IoKept,
    /// [`CommitFailed::Io`]; the batch is gone.
    IoLost,
    /// [`CommitFailed::StoreFull`].
    StoreFull,
}

/// One candidate's engine on a disk.
#[derive(Debug)]
pub struct MemoryEngine {
    disk: MemoryDisk,
    candidate: String,
    limits: Limits,
    /// After a failed write nobody knows what the disk holds.
    doubtful: bool,
}

impl MemoryEngine {
    /// `candidate` names this process in elections: a restarted one takes up its own lease.
    pub fn open(disk: &MemoryDisk, candidate: &str) -> Self {
        Self {
            disk: disk.clone(),
            candidate: candidate.to_owned(),
            limits: LIMITS,
            doubtful: false,
        }
    }

    /// Lowers what one commit may hold, to see groups split.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn leads(&self, disk: &Disk, term: Term) -> bool {
        !self.doubtful && disk.term == term && disk.holder.as_deref() == Some(&self.candidate)
    }
}

impl Engine for MemoryEngine {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn reader(&self) -> Arc<dyn EngineReader + Send + Sync> {
        Arc::new(self.disk.clone())
    }

    fn campaign(&mut self) -> Result<Term, CampaignFailed> {
        let mut disk = self.disk.lock();
        if let Some(holder) = disk.holder.as_ref().filter(|holder| **holder != self.candidate) {
            return Err(CampaignFailed::Held {
                holder: holder.clone(),
            });
        }
        if self.doubtful {
            return Err(CampaignFailed::Io(Cause::new(DOUBTFUL)));
        }
        if disk.full {
            return Err(CampaignFailed::StoreFull);
        }
        disk.term = disk.term.next();
        disk.holder = Some(self.candidate.clone());

        Ok(disk.term)
    }

    fn renew(&mut self, term: Term) -> Result<(), RenewFailed> {
        match self.leads(&self.disk.lock(), term) {
            true => Ok(()),
            false => Err(RenewFailed::TermLost),
        }
    }

    fn resign(&mut self, term: Term) -> Result<(), RenewFailed> {
        self.renew(term)?;
        self.disk.expire_lease();

        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitFailed> {
        batch.within(&self.limits)?;
        let mut disk = self.disk.lock();
        if !self.leads(&disk, batch.term) {
            return Err(CommitFailed::TermLost);
        }
        disk.require(batch)?;
        if batch.writes.is_empty() {
            return Ok(disk.revision);
        }
        match disk.next_fault() {
            None => Ok(disk.write(batch)),
            Some(CommitFault::StoreFull) => Err(CommitFailed::StoreFull),
            Some(CommitFault::IoLost) => {
                self.doubtful = true;
                Err(CommitFailed::Io(Cause::new(INJECTED)))
            }
            Some(CommitFault::IoKept) => {
                self.doubtful = true;
                disk.write(batch);
                Err(CommitFailed::Io(Cause::new(INJECTED)))
            }
        }
    }
}

impl EngineReader for MemoryEngine {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        self.disk.revision()
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        self.disk.range(span, until, limit)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        self.disk.changes(after, limit)
    }

    fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        self.disk.backup(target)
    }

    fn check(&self) -> Result<(), CheckFailed> {
        self.disk.check()
    }
}

impl EngineReader for MemoryDisk {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        Ok(self.lock().revision)
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        Ok(self
            .lock()
            .entries
            .range::<[u8], _>(span.bounds())
            .filter(|(_, (_, revision))| *revision <= until)
            .take(limit)
            .map(|(key, (value, revision))| Entry {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect())
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        let disk = self.lock();
        if after < disk.compacted {
            return Err(ChangesFailed::Compacted {
                through: disk.compacted,
            });
        }

        Ok(disk
            .changes
            .range(after.next()..)
            .take(limit)
            .map(|(revision, writes)| ChangeSet {
                revision: *revision,
                writes: writes.clone(),
            })
            .collect())
    }

    fn backup(&self, _target: &Path) -> Result<(), BackupFailed> {
        Err(BackupFailed::Unsupported)
    }

    fn check(&self) -> Result<(), CheckFailed> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Disk {
    entries: BTreeMap<Key, (Arc<[u8]>, Revision)>,
    changes: BTreeMap<Revision, BTreeMap<Key, Write>>,
    window: ChangeWindow,
    compacted: Revision,
    revision: Revision,
    term: Term,
    holder: Option<String>,
    full: bool,
    fault: Option<(usize, CommitFault)>,
}

impl Disk {
    fn require(&self, batch: &Batch) -> Result<(), CommitFailed> {
        for (key, expected) in &batch.preconditions {
            let found = self.entries.get(key).map(|(_, revision)| *revision);
            if !expected.holds(found) {
                return Err(CommitFailed::Conflict { key: key.clone() });
            }
        }

        Ok(())
    }

    fn next_fault(&mut self) -> Option<CommitFault> {
        if self.full {
            return Some(CommitFault::StoreFull);
        }
        let (nth, fault) = self.fault.take()?;
        if nth == 0 {
            return Some(fault);
        }
        self.fault = Some((nth - 1, fault));

        None
    }

    fn write(&mut self, batch: &Batch) -> Revision {
        self.revision = self.revision.next();
        for (key, write) in batch.writes.as_map() {
            match write {
                Write::Delete => self.entries.remove(key),
                Write::Put(value) => self.entries.insert(key.clone(), (value.clone(), self.revision)),
            };
        }
        self.changes.insert(self.revision, batch.writes.as_map().clone());
        let excess = self.window.excess(batch.writes.len());
        self.window.push(self.revision, batch.writes.len());
        if let Some(dropped) = excess {
            self.changes = self.changes.split_off(&dropped.next());
            self.compacted = dropped;
        }

        self.revision
    }
}

/// Those of the SQLite engine, so that simulated groups split where real ones do.
const LIMITS: Limits = crate::sqlite::LIMITS;
const INJECTED: &str = "injected";
const DOUBTFUL: &str = "a write failed before";
