//! The settings that nodes were given, and those that they went back from.
//!
//! A node that finds no controller by the settings of a config goes back to those before, and says so. It is kept on them
//! from then on: its config is compiled with the earlier ones, so that all else of it stays up to date, until an operator
//! has acknowledged the finding or other settings are published.
//!
//! Settings are kept here under their digest, as long as a node may have gone back to them or from them: what a node is
//! kept on is what this installation has published once, never what the node says.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use protocol::document::config::Settings;
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::time::Wall;
use protocol::wire::Reverted;

use crate::desk::Desk;
use crate::finding::{self, Finding, FindingKind, FindingRow, FindingState, Severity};
use crate::liveness::Change;
use crate::node::{self, NodeRow};
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

/// Settings that were published.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SettingsRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub digest: Digest,
    #[n(2)]
    pub settings: Settings,
    /// When they were published first.
    #[n(3)]
    pub noted_at: Wall,
    /// How often an operator has said that nodes which went back from them may have them again.
    #[n(4)]
    pub acknowledged: u64,
    /// How many nodes went back from them since it was said last.
    #[n(5)]
    #[cbor(default)]
    pub went_back: u64,
}

impl SettingsRow {
    /// Whether configs are the same under both: how many went back is in none.
    pub fn publishes_as(&self, other: &Self) -> bool {
        let Self {
            cluster,
            digest,
            settings,
            noted_at,
            acknowledged,
            went_back: _,
        } = self;
        let place = (cluster, digest) == (&other.cluster, &other.digest);

        place && (settings, noted_at, acknowledged) == (&other.settings, &other.noted_at, &other.acknowledged)
    }
}

impl Row for SettingsRow {
    const TABLE: Table = Table::Settings;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, &self.digest)
    }
}

/// What a node went back from last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reversal {
    #[n(0)]
    pub report: Reverted,
    #[n(1)]
    pub at: Wall,
    /// [`SettingsRow::acknowledged`] when it was told.
    #[n(2)]
    pub acknowledged: u64,
    /// Where it was counted last.
    #[n(3)]
    pub counted: Option<Counted>,
    /// Whether an operator has acknowledged it while the settings were none that this store had published.
    #[n(4)]
    #[cbor(default)]
    pub released: bool,
}

/// Where a node counts among those that went back: once for settings, and once more when it was offered them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Counted {
    #[n(0)]
    pub settings: Digest,
    #[n(1)]
    pub acknowledged: u64,
}

/// The settings of one cluster: those that are published now, and those of before.
#[derive(Clone, Debug)]
pub struct SettingsBook {
    current: Settings,
    digest: Digest,
    rows: BTreeMap<Digest, SettingsRow>,
}

impl SettingsBook {
    /// `current` is what is to be published.
    pub fn read(view: &dyn View, cluster: ClusterId, current: Settings) -> Result<Self, StoreError> {
        let rows = view.scan_readable::<SettingsRow>(cluster.as_bytes())?.rows;

        Ok(Self {
            digest: current.digest(),
            current,
            rows: rows.into_iter().map(|row| (row.digest, row)).collect(),
        })
    }

    /// For what has no say in configs.
    pub fn of_nobody(current: Settings) -> Self {
        Self {
            digest: current.digest(),
            current,
            rows: BTreeMap::new(),
        }
    }

    /// What a node that went back from `reversal`, if it did, is given. Where it went back to may not be known here: then
    /// it is offered what all are, and keeps what it has by itself. A limit that was made shorter meanwhile stays so.
    pub fn of(&self, reversal: Option<&Reversal>) -> Cow<'_, Settings> {
        let restored = reversal
            .filter(|reversal| reversal.report.settings == self.digest && self.is_held(reversal))
            .and_then(|reversal| reversal.report.restored)
            .and_then(|restored| self.rows.get(&restored));

        match restored {
            Some(row) => Cow::Owned(held(&row.settings, &self.current)),
            None => Cow::Borrowed(&self.current),
        }
    }

    /// What a config with the present settings says to a node that went back from them, once an operator has acknowledged
    /// that: the node may hold on to the earlier ones by itself, and would not know otherwise.
    pub fn offered_again(&self, reversal: Option<&Reversal>) -> Option<u64> {
        let reversal = reversal.filter(|reversal| reversal.report.settings == self.digest)?;
        let acknowledged = self.rows.get(&self.digest).map_or(0, |row| row.acknowledged);

        (reversal.released || acknowledged > reversal.acknowledged).then_some(acknowledged)
    }

    fn is_held(&self, reversal: &Reversal) -> bool {
        is_held(reversal, self.rows.get(&reversal.report.settings))
    }

    /// Keeps the present settings for a time when they are those of before, and those that `reversals` name.
    pub fn note<'a>(
        &mut self,
        desk: &mut Desk<'_>,
        cluster: ClusterId,
        reversals: impl Iterator<Item = &'a Reversal>,
    ) -> Result<(), StoreError> {
        if self.rows.contains_key(&self.digest) {
            return Ok(());
        }
        let named = |reversal: &'a Reversal| [Some(reversal.report.settings), reversal.report.restored];
        let named: BTreeSet<Digest> = reversals.flat_map(named).flatten().collect();
        let mut unnamed: Vec<(Wall, Digest)> = self
            .rows
            .values()
            .filter(|row| !named.contains(&row.digest))
            .map(|row| (row.noted_at, row.digest))
            .collect();
        unnamed.sort_unstable();
        let surplus = unnamed.len().saturating_sub(KEPT);
        for (_, digest) in unnamed.into_iter().take(surplus) {
            desk.tx.delete::<SettingsRow>(&key(cluster, &digest))?;
            self.rows.remove(&digest);
        }
        let row = SettingsRow {
            cluster,
            digest: self.digest,
            settings: self.current.clone(),
            noted_at: desk.now.wall,
            acknowledged: 0,
            went_back: 0,
        };
        desk.tx.put(&row)?;
        self.rows.insert(row.digest, row);

        Ok(())
    }
}

/// Whether a node is kept from the settings that it went back from.
pub fn is_held_back(view: &dyn View, cluster: ClusterId, reversal: &Reversal) -> Result<bool, StoreError> {
    let row = view.get::<SettingsRow>(&key(cluster, &reversal.report.settings))?;

    Ok(is_held(reversal, row.as_ref()))
}

fn is_held(reversal: &Reversal, row: Option<&SettingsRow>) -> bool {
    !reversal.released && row.is_some_and(|row| row.acknowledged == reversal.acknowledged)
}

/// What a node is kept on that went back to `restored` from `tried`.
fn held(restored: &Settings, tried: &Settings) -> Settings {
    restored.clone().gone_back_to_from(&tried.transport)
}

/// Whether the report tells of what the node was kept on since `earlier`, and so of nothing that was not known.
fn is_of_what_is_held(view: &dyn View, change: &Change, earlier: &Reversal) -> Result<bool, StoreError> {
    let row = |digest: &Digest| view.get_readable::<SettingsRow>(&key(change.cluster, digest));
    let (Some(report), Some(restored)) = (change.reverted, earlier.report.restored) else {
        return Ok(false);
    };
    let (Some(restored), Some(tried)) = (row(&restored)?, row(&earlier.report.settings)?) else {
        return Ok(false);
    };

    Ok(held(&restored.settings, &tried.settings).digest() == report.settings)
}

/// Stores what a node went back from, and raises the finding, or lets it grow. The same report again is no news.
pub fn record(desk: &mut Desk<'_>, change: &Change) -> Result<(), StoreError> {
    let Some(report) = change.reverted else {
        return Ok(());
    };
    let Some(mut row) = node::find_readable(desk.tx, change.cluster, change.node)? else {
        return Ok(());
    };
    if row.reverted.is_some_and(|known| known.report == report) {
        return Ok(());
    }
    // One row that cannot be read must not stand in the way of every other change.
    let mut known = desk
        .tx
        .get_readable::<SettingsRow>(&key(change.cluster, &report.settings))?;
    if let (None, Some(earlier)) = (&known, &row.reverted)
        && is_of_what_is_held(desk.tx, change, earlier)?
    {
        return Ok(());
    }
    let acknowledged = known.as_ref().map_or(0, |known| known.acknowledged);
    let mut counted = row.reverted.and_then(|earlier| earlier.counted);
    let place = Counted {
        settings: report.settings,
        acknowledged,
    };
    // The newest alone: who names older ones in turn would count each time.
    let counts = counted != Some(place) && is_newest(desk.tx, known.as_ref())?;
    if let Some(known) = known.as_mut().filter(|_| counts) {
        known.went_back += 1;
        desk.tx.put(known)?;
        counted = Some(place);
    }
    row.reverted = Some(Reversal {
        report,
        at: change.at,
        acknowledged,
        counted,
        released: false,
    });
    desk.tx.put(&row)?;
    let finding = finding(&row, &report, known.as_ref());
    let last = finding::known(desk, &finding)?;
    if last.is_some_and(|last| last.state == FindingState::Acknowledged) {
        // It was offered again, and it has happened again.
        finding::clear(desk, &finding)?;
    }
    finding::raise_or_retell(desk, finding)?;

    Ok(())
}

/// Whether none were published first after these.
fn is_newest(view: &dyn View, known: Option<&SettingsRow>) -> Result<bool, StoreError> {
    let Some(known) = known else {
        return Ok(false);
    };
    let all = view.scan_readable::<SettingsRow>(known.cluster.as_bytes())?.rows;

    Ok(all.iter().all(|other| other.noted_at <= known.noted_at))
}

/// An operator has acknowledged a finding: if it is about settings, nodes may have them again. One about settings that this
/// store has never published, as after a restore, is about a node, and holds for that node if they are published later.
pub fn acknowledge(desk: &mut Desk<'_>, finding: &FindingRow) -> Result<(), StoreError> {
    let Some(cluster) = finding
        .cluster
        .filter(|_| finding.kind == FindingKind::CONFIG_REVERTED)
    else {
        return Ok(());
    };
    for mut row in desk.tx.scan_readable::<SettingsRow>(cluster.as_bytes())?.rows {
        if row.digest.to_string() == finding.subject {
            row.acknowledged += 1;
            row.went_back = 0;
            desk.tx.put(&row)?;

            return Ok(());
        }
    }
    let Ok(id) = finding.subject.parse::<NodeId>() else {
        return Ok(());
    };
    if let Some(mut row) = node::find_readable(desk.tx, cluster, id)?
        && let Some(reversal) = &mut row.reverted
    {
        reversal.released = true;
        desk.tx.put(&row)?;
    }

    Ok(())
}

/// One finding for all nodes that went back from the same settings; for settings that this store has never published, one
/// for each node.
fn finding(row: &NodeRow, report: &Reverted, known: Option<&SettingsRow>) -> Finding {
    let mut finding = Finding {
        kind: FindingKind::CONFIG_REVERTED,
        severity: Severity::Warning,
        cluster: Some(row.cluster),
        subject: known.map_or_else(|| row.id.to_string(), |known| known.digest.to_string()),
        text: String::new(),
    };
    let mut addresses: Vec<&str> = known
        .iter()
        .flat_map(|known| &known.settings.controllers)
        .flat_map(|controller| &controller.endpoints)
        .map(String::as_str)
        .collect();
    addresses.truncate(NAMED);
    let at = match addresses.is_empty() {
        true => String::new(),
        false => format!(" ({})", addresses.join(", ")),
    };
    let who = match known.map_or(1, |known| known.went_back) {
        0 | 1 => format!("node {}", row.name),
        several => format!("{several} nodes, {} the last of them,", row.name),
    };
    finding.text = format!(
        "{who} found no controller for a minute by the addresses and intervals of its config version {}{at} and went \
         back to those before, and in nothing else; whoever went back stays there: put the endpoints of the controllers \
         right or open the way to them, then gabion finding ack {} offers these again",
        report.config.version,
        finding.fingerprint()
    );

    finding
}

fn key(cluster: ClusterId, digest: &Digest) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), digest.as_bytes()].concat()
}

/// Settings of before that are kept although no node is known to have gone back to them: one may be about to.
const KEPT: usize = 16;
/// Addresses that a finding names: those of a few controllers.
const NAMED: usize = 4;

#[cfg(test)]
mod tests;
