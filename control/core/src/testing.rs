//! A store in memory and a controller on it, for tests of this room and of those that build on it.

use std::collections::BTreeMap;
use std::ops::Bound;

use protocol::id::{ClusterId, ControllerId, OperatorId};
use protocol::key::SigningKey;
use protocol::time::{Boot, Now, Wall};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::audit::Actor;
use crate::cluster;
use crate::desk::Desk;
use crate::installation::{self, Mode, ProductRoot};
use crate::issuing::{self, NewController};
use crate::store::{Entry, StoreError, Table, Tx, View};
use crate::vault::{Kek, Vault};

mod fixture;

pub use fixture::{Joiner, grant_to, manifest, secret_of, signed_grant};

/// Tables in a map. Copying it is how a test rolls back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTx {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryTx {
    /// How many rows a table has.
    pub fn count(&self, table: Table) -> usize {
        self.rows.keys().filter(|(found, _)| *found == table).count()
    }

    /// Every row there is, for looking for what must not be in any.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8], &[u8])> {
        self.rows
            .iter()
            .map(|((table, key), value)| (*table, key.as_slice(), value.as_slice()))
    }
}

impl View for MemoryTx {
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let from = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded((table, after.to_vec())),
            None => Bound::Included((table, prefix.to_vec())),
        };

        Ok(self
            .rows
            .range((from, Bound::Unbounded))
            .take_while(|((found, key), _)| *found == table && key.starts_with(prefix))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Tx for MemoryTx {
    fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        self.rows.insert((table, key.to_vec()), value);

        Ok(())
    }

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.rows.remove(&(table, key.to_vec()));

        Ok(())
    }
}

/// A controller without a shell: store, vault, clock and chance by seed.
pub struct World {
    pub tx: MemoryTx,
    pub vault: Vault,
    pub now: Now,
    pub rng: StdRng,
    /// The product root's only key.
    pub root: SigningKey,
    /// The first owner's key.
    pub owner_key: SigningKey,
    pub owner: OperatorId,
}

impl World {
    /// An empty store with a KEK.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kek = Kek::generate(&mut rng);

        Self {
            tx: MemoryTx::default(),
            vault: Vault::new(BTreeMap::from([(1, kek)])),
            now: Now {
                boot: Boot(1_000),
                wall: Wall(1_800_000_000_000),
            },
            root: SigningKey::generate(&mut rng),
            owner_key: SigningKey::generate(&mut rng),
            owner: OperatorId::random(&mut rng),
            rng,
        }
    }

    /// A strict installation that its first owner has activated.
    pub fn activated(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let root = ProductRoot::new([world.root.verify_key()], 1).expect("one key");
        let row = world
            .desk(Actor::Local, |desk| {
                installation::initialise(desk, Mode::Strict, root)
            })
            .expect("an empty store");
        let manifest = manifest(&world, row.id);
        world
            .desk(Actor::Local, |desk| installation::activate(desk, &manifest))
            .expect("a good manifest");

        world
    }

    /// An activated installation with one cluster and one controller in it.
    pub fn with_cluster(seed: u64) -> (Self, ClusterId) {
        let mut world = Self::activated(seed);
        let owner = Actor::Operator(world.owner);
        let name = "main".parse().expect("a name");
        let cluster = world
            .desk(owner, |desk| cluster::create(desk, name))
            .expect("the first cluster")
            .id;
        let controller = NewController {
            controller: ControllerId::random(&mut world.rng),
            key: SigningKey::generate(&mut world.rng).verify_key(),
            endpoints: vec!["127.0.0.1:4433".to_owned()],
        };
        world
            .desk(Actor::Local, |desk| {
                issuing::issue_controller_certificate(desk, cluster, controller)
            })
            .expect("a controller");

        (world, cluster)
    }

    /// One transaction: what fails leaves no trace.
    pub fn desk<T, E>(
        &mut self,
        actor: Actor,
        decide: impl FnOnce(&mut Desk<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.tx.clone();
        let result = decide(&mut Desk {
            tx: &mut self.tx,
            signer: &self.vault,
            now: self.now,
            rng: &mut self.rng,
            actor,
            uid: None,
        });
        if result.is_err() {
            self.tx = before;
        }

        result
    }

    /// Lets time pass on both clocks.
    pub fn pass(&mut self, by: std::time::Duration) {
        self.now = Now {
            boot: self.now.boot.after(by),
            wall: self.now.wall.after(by),
        };
    }
}
