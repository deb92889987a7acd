//! From rows to rights: verifies every grant, level by level away from the product root.

use std::collections::{BTreeMap, BTreeSet};

use protocol::cbor;
use protocol::document::authority::{ActivationManifest, Role, RoleGrant};
use protocol::envelope::{Document, Envelope, Kind, OpenError, Opened};
use protocol::id::{ClusterId, OperatorId};
use protocol::key::{Digest, VerifyKey};
use protocol::time::Wall;

use crate::installation::{self, InstallationRow};
use crate::operator::{self, OperatorState};
use crate::store::{Rows, StoreError, View};

use super::RoleGrantRow;
use super::floor::{self, Right};
use super::seals::Seals;

/// All role grants of the installation, verified at one moment.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    grants: Vec<Grant>,
    faults: Vec<Fault>,
    /// Operators whose roles are taken away for a while or for ever.
    inactive: BTreeSet<OperatorId>,
}

/// What a verified document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub operator: OperatorId,
    pub name: String,
    pub key: VerifyKey,
    pub role: Role,
    pub cluster: Option<ClusterId>,
    pub version: u64,
    pub document: Digest,
    pub issued_at: Wall,
    pub valid_until: Option<Wall>,
    pub signer: GrantSigner,
    pub state: GrantState,
}

/// Who signed a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantSigner {
    ProductRoot,
    Owner(OperatorId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    InForce,
    /// The newest of its role, and over: it expired, or was signed to take the role away.
    Ended,
    /// Somebody nearer to the root decided.
    Overruled,
    /// A newer one counts.
    Superseded,
}

impl GrantState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce => "active",
            Self::Ended => "ended",
            Self::Overruled => "overruled",
            Self::Superseded => "superseded",
        }
    }
}

/// A row without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As the row's columns have them.
    pub operator: OperatorId,
    pub role: Role,
    pub why: FaultReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    /// The row's columns were edited.
    #[error("the row says other things than the document it holds")]
    ColumnsDiffer,
    /// The newest grant that was recorded is gone, or was changed.
    #[error("its newest grant is not in the store any more")]
    Missing,
    /// The bytes are no grant and no manifest.
    #[error("the row holds no role grant")]
    Malformed,
    /// The signature does not verify, or is by nobody who may grant roles.
    #[error("neither the product root nor an owner has signed it")]
    NotSigned,
}

impl Standings {
    /// Reads and verifies everything. Costs a signature check for each grant that `seals` does not know; there are a few for
    /// each operator.
    pub fn read(view: &dyn View, seals: &Seals, now: Wall) -> Result<Self, StoreError> {
        let Some(installation) = installation::find(view)? else {
            return Ok(Self::default());
        };
        let inactive = operator::list(view)?
            .into_iter()
            .filter(|row| row.state != OperatorState::Active)
            .map(|row| row.id)
            .collect();
        let rows = view.scan::<RoleGrantRow>(&[])?;
        let missing = floor::missing(view, &rows)?;
        let mut reading = Reading::new(&installation, (&rows, seals), missing, now);
        reading.run();

        Ok(Self {
            grants: reading.grants,
            faults: reading.faults,
            inactive,
        })
    }

    /// Every grant whose signature verifies.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Every row that has no effect.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub fn roles(&self, operator: OperatorId, cluster: Option<ClusterId>) -> BTreeSet<Role> {
        if self.inactive.contains(&operator) {
            return BTreeSet::new();
        }
        self.grants
            .iter()
            .filter(|grant| grant.operator == operator && grant.state == GrantState::InForce)
            .filter(|grant| grant.cluster.is_none() || grant.cluster == cluster)
            .map(|grant| grant.role)
            .collect()
    }

    /// Whether nobody owns the whole installation.
    pub fn has_no_owner(&self) -> bool {
        self.owners().next().is_none()
    }

    /// Opens a document that the product root or an owner of the whole installation must have signed.
    pub(super) fn open<D: Document>(
        &self,
        envelope: &Envelope,
        installation: &InstallationRow,
    ) -> Result<Opened<D>, OpenError> {
        let by_root = open_by_root(envelope, installation);
        let Err(OpenError::NotSigned) = by_root else {
            return by_root;
        };
        let keys: Vec<VerifyKey> = self.owners().map(|grant| grant.key).collect();

        envelope.open_by(&installation.expected(), &keys, 1)
    }

    pub(super) fn newest_version(&self, right: Right) -> Option<u64> {
        let same = |grant: &&Grant| grant.right() == right;

        self.grants.iter().filter(same).map(|grant| grant.version).max()
    }

    pub(super) fn grant(&self, row: &RoleGrantRow) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.document == row.document)
    }

    fn owners(&self) -> impl Iterator<Item = &Grant> {
        self.grants
            .iter()
            .filter(|grant| grant.is_owner_of_all() && grant.state == GrantState::InForce)
            .filter(|grant| !self.inactive.contains(&grant.operator))
    }
}

impl Grant {
    fn is_owner_of_all(&self) -> bool {
        self.role == Role::Owner && self.cluster.is_none()
    }

    fn right(&self) -> Right {
        (self.operator, self.cluster, self.role)
    }

    fn is_over(&self, now: Wall) -> bool {
        self.valid_until.is_some_and(|until| until <= now)
    }

    fn says(&self, row: &RoleGrantRow) -> bool {
        (self.operator, self.cluster, self.role) == (row.operator, row.cluster, row.role)
            && (self.version, self.document) == (row.version, row.document)
    }
}

/// One pass over all rows.
struct Reading<'a> {
    installation: &'a InstallationRow,
    seals: &'a Seals,
    now: Wall,
    /// Rows that nobody has vouched for yet.
    open: Vec<&'a RoleGrantRow>,
    grants: Vec<Grant>,
    faults: Vec<Fault>,
    /// Rights whose newest grant is gone, with its version: older ones do not count.
    missing: BTreeMap<Right, u64>,
    /// The operators of whom it is settled whether they own the installation.
    settled: BTreeSet<OperatorId>,
}

impl<'a> Reading<'a> {
    fn new(
        installation: &'a InstallationRow,
        (rows, seals): (&'a [RoleGrantRow], &'a Seals),
        missing: BTreeMap<Right, u64>,
        now: Wall,
    ) -> Self {
        Self {
            installation,
            seals,
            now,
            open: rows.iter().collect(),
            grants: Vec::new(),
            faults: Vec::new(),
            missing,
            settled: BTreeSet::new(),
        }
    }

    fn run(&mut self) {
        let mut owners = self.level(None);
        while !owners.is_empty() {
            owners = self.level(Some(&owners));
        }
        for row in std::mem::take(&mut self.open) {
            let why = match Envelope::parse(&row.bytes) {
                Ok(_) => FaultReason::NotSigned,
                Err(_) => FaultReason::Malformed,
            };
            self.fault(row, why);
        }
        for (operator, _, role) in self.missing.keys() {
            self.faults.push(Fault {
                operator: *operator,
                role: *role,
                why: FaultReason::Missing,
            });
        }
        self.rank();
    }

    /// Takes in what `owners`, or the product root, have signed. Returns the owners that this makes.
    fn level(&mut self, owners: Option<&BTreeMap<OperatorId, VerifyKey>>) -> BTreeMap<OperatorId, VerifyKey> {
        let from = self.grants.len();
        for row in std::mem::take(&mut self.open) {
            let found = match owners {
                None => self.by_root(row),
                Some(owners) => self.by_owner(row, owners),
            };
            match found {
                Some(grant) if grant.says(row) => self.grants.push(grant),
                Some(_) => self.fault(row, FaultReason::ColumnsDiffer),
                None => self.open.push(row),
            }
        }

        self.settle(from)
    }

    fn by_root(&self, row: &RoleGrantRow) -> Option<Grant> {
        let root = cbor::encode(self.installation);
        let content = Digest::of_parts(&[b"root", Digest::of(&root).as_bytes(), &row.bytes]);

        self.seals.of(content, || {
            let envelope = Envelope::parse(&row.bytes).ok()?;

            self.signed_by_root(&envelope)
        })
    }

    fn signed_by_root(&self, envelope: &Envelope) -> Option<Grant> {
        match envelope.claimed().kind {
            Kind::ActivationManifest if self.installation.manifest == Some(envelope.hash()) => {
                open_by_root::<ActivationManifest>(envelope, self.installation)
                    .ok()
                    .map(of_manifest)
            }
            Kind::RoleGrant => open_by_root::<RoleGrant>(envelope, self.installation)
                .ok()
                .map(|opened| of_grant(opened, GrantSigner::ProductRoot)),
            Kind::ActivationManifest
            | Kind::JoinToken
            | Kind::JoinContract
            | Kind::TrustBundle
            | Kind::RevocationList
            | Kind::SyntheticConfig
            | Kind::Routes
            | Kind::LeaseTable
            | Kind::Beacon
            | Kind::Succession => None,
        }
    }

    fn by_owner(&self, row: &RoleGrantRow, owners: &BTreeMap<OperatorId, VerifyKey>) -> Option<Grant> {
        let expected = self.installation.expected();
        let signed = |(owner, key): (&OperatorId, &VerifyKey)| {
            let envelope = Envelope::parse(&row.bytes).ok()?;
            let opened = envelope.open::<RoleGrant>(&expected, key).ok()?;

            Some(of_grant(opened, GrantSigner::Owner(*owner)))
        };

        owners.iter().find_map(|(owner, key)| {
            let signer = [owner.as_bytes().as_slice(), key.as_bytes()].concat();
            let installation = self.installation.id.as_bytes();
            let content = Digest::of_parts(&[b"owner", installation, &signer, &row.bytes]);

            self.seals.of(content, || signed((owner, key)))
        })
    }

    /// Decides who owns the installation by the grants of one level, for those whom no level before has decided.
    fn settle(&mut self, from: usize) -> BTreeMap<OperatorId, VerifyKey> {
        let mut newest: BTreeMap<OperatorId, usize> = BTreeMap::new();
        for index in from..self.grants.len() {
            let grant = &self.grants[index];
            if !grant.is_owner_of_all() {
                continue;
            }
            if self.settled.contains(&grant.operator) {
                self.grants[index].state = GrantState::Overruled;
                continue;
            }
            let best = newest.entry(grant.operator).or_insert(index);
            if self.grants[*best].version < self.grants[index].version {
                *best = index;
            }
        }
        self.settled.extend(newest.keys());

        newest
            .into_values()
            .map(|index| &self.grants[index])
            .filter(|grant| !grant.is_over(self.now) && !self.is_outdated(grant))
            .map(|grant| (grant.operator, grant.key))
            .collect()
    }

    /// Whether a newer grant was recorded and is gone.
    fn is_outdated(&self, grant: &Grant) -> bool {
        self.missing
            .get(&grant.right())
            .is_some_and(|version| grant.version < *version)
    }

    /// Gives every grant its state.
    fn rank(&mut self) {
        let mut newest = self.missing.clone();
        let counts = |grant: &&mut Grant| grant.state != GrantState::Overruled;
        for grant in self.grants.iter_mut().filter(counts) {
            let version = newest.entry(grant.right()).or_insert(grant.version);
            *version = grant.version.max(*version);
        }
        for grant in self.grants.iter_mut().filter(counts) {
            let is_newest = newest[&grant.right()] == grant.version;
            grant.state = match (is_newest, grant.is_over(self.now)) {
                (false, _) => GrantState::Superseded,
                (true, true) => GrantState::Ended,
                (true, false) => GrantState::InForce,
            };
        }
    }

    fn fault(&mut self, row: &RoleGrantRow, why: FaultReason) {
        self.faults.push(Fault {
            operator: row.operator,
            role: row.role,
            why,
        });
    }
}

fn open_by_root<D: Document>(
    envelope: &Envelope,
    installation: &InstallationRow,
) -> Result<Opened<D>, OpenError> {
    let threshold = usize::try_from(installation.root.threshold).unwrap_or(usize::MAX);

    envelope.open_by(&installation.expected(), &installation.root.keys, threshold)
}

/// The manifest's own dates bound when it may be consumed, not how long its owner is one.
fn of_manifest(opened: Opened<ActivationManifest>) -> Grant {
    Grant {
        operator: opened.body.owner,
        name: opened.body.owner_name,
        key: opened.body.owner_key,
        role: opened.body.role,
        cluster: None,
        version: opened.header.version,
        document: opened.hash,
        issued_at: opened.header.issued_at,
        valid_until: None,
        signer: GrantSigner::ProductRoot,
        state: GrantState::InForce,
    }
}

fn of_grant(opened: Opened<RoleGrant>, signer: GrantSigner) -> Grant {
    Grant {
        operator: opened.body.operator,
        name: opened.body.name,
        key: opened.body.key,
        role: opened.body.role,
        cluster: opened.body.cluster,
        version: opened.header.version,
        document: opened.hash,
        issued_at: opened.header.issued_at,
        valid_until: opened.header.valid_until,
        signer,
        state: GrantState::InForce,
    }
}
