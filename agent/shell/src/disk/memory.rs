//! A disk for simulations: it takes its time, fails when it is told to, and forgets in a crash what was not durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::control::{FileName, Payload, WriteFailed};

use super::{DiskRefused, StateDisk};
use crate::parts::Pending;

/// Files in memory. Clones are the same disk, so a simulated host keeps one while its agent comes and goes.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: BTreeMap<FileName, Vec<u8>>,
    /// Time that one file takes to become durable.
    latency: Duration,
    failing: Option<WriteFailed>,
    /// Writes of an earlier run never become durable.
    run: u64,
    written: u64,
}

impl MemoryDisk {
    /// A disk on which every file takes `latency` to become durable.
    pub fn new(latency: Duration) -> Self {
        let disk = Self::default();
        disk.state().latency = latency;

        disk
    }

    /// The process that was writing is gone: what is not durable yet never will be. A write of several files may
    /// be cut between any two.
    pub fn crash(&self) {
        self.state().run += 1;
    }

    /// Every write fails like this from now on, or none any more.
    pub fn fail(&self, how: Option<WriteFailed>) {
        self.state().failing = how;
    }

    /// What is durable.
    pub fn files(&self) -> BTreeMap<FileName, Vec<u8>> {
        self.state().durable.clone()
    }

    /// Puts a file there, as an intruder or a bad sector would; `None` removes it.
    pub fn put(&self, name: FileName, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        match bytes {
            Some(bytes) => drop(state.durable.insert(name, bytes)),
            None => drop(state.durable.remove(&name)),
        }
    }

    /// Files that became durable so far.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> (u64, Duration) {
        let state = self.state();

        (state.run, state.latency)
    }

    /// Makes one file durable. False if this run of the process ended before.
    fn commit(&self, run: u64, name: FileName, bytes: &[u8]) -> Result<bool, WriteFailed> {
        let mut state = self.state();
        if state.run != run {
            return Ok(false);
        }
        if let Some(how) = state.failing {
            return Err(how);
        }
        state.durable.insert(name, bytes.to_vec());
        state.written += 1;

        Ok(true)
    }
}

impl StateDisk for MemoryDisk {
    fn read(&self) -> Result<BTreeMap<FileName, Vec<u8>>, DiskRefused> {
        Ok(self.files())
    }

    fn write(&self, files: Vec<(FileName, Payload)>) -> Pending<Result<(), WriteFailed>> {
        let disk = self.clone();
        let (run, latency) = disk.pace();

        Box::pin(async move {
            for (name, payload) in files {
                tokio::time::sleep(latency).await;
                if !disk.commit(run, name, payload.as_bytes())? {
                    return std::future::pending().await;
                }
            }

            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crash_keeps_the_files_that_were_durable_and_no_other() {
        let disk = MemoryDisk::new(Duration::from_millis(10));
        let write = tokio::spawn(disk.write(vec![
            (FileName::HighWater, Payload::from(b"mark".to_vec())),
            (FileName::LastGoodA, Payload::from(b"state".to_vec())),
        ]));
        tokio::time::sleep(Duration::from_millis(15)).await;
        disk.crash();
        tokio::time::sleep(Duration::from_secs(1)).await;

        assert_eq!(
            disk.files(),
            BTreeMap::from([(FileName::HighWater, b"mark".to_vec())])
        );
        assert!(!write.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_takes_nothing_until_there_is_room() {
        let disk = MemoryDisk::default();
        let file = || vec![(FileName::HighWater, Payload::from(b"mark".to_vec()))];
        disk.fail(Some(WriteFailed::Full));
        assert_eq!(disk.write(file()).await, Err(WriteFailed::Full));
        disk.fail(None);

        assert_eq!(disk.write(file()).await, Ok(()));
        assert_eq!(disk.written(), 1);
    }
}
