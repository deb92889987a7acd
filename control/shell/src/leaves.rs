//! The certificates that this controller shows: one per cluster, chosen by the server name that is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use agent_shell::tls;
use control_core::cluster;
use control_core::issuing;
use control_core::store::View;
use protocol::certificate::{ServerOf, parse_server_name};
use protocol::id::{ClusterId, ControllerId};
use protocol::key::SigningKey;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Swapped without closing a connection.
#[derive(Clone, Debug)]
pub struct Leaves {
    controller: ControllerId,
    key: SigningKey,
    by_cluster: Arc<RwLock<BTreeMap<ClusterId, Arc<CertifiedKey>>>>,
}

impl Leaves {
    pub fn new(controller: ControllerId, key: SigningKey) -> Self {
        Self {
            controller,
            key,
            by_cluster: Arc::default(),
        }
    }

    /// Takes over what the store has. A cluster whose certificate cannot be read keeps the one it has.
    pub fn refresh(&self, view: &dyn View) {
        let clusters = match cluster::list(view) {
            Ok(clusters) => clusters,
            Err(error) => return tracing::error!(%error, "the clusters cannot be read"),
        };
        for row in clusters {
            match self.certified(view, row.id) {
                Ok(Some(leaf)) => {
                    self.by_cluster
                        .write()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(row.id, leaf);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(cluster = ?row.id, error, "this controller's certificate cannot be used")
                }
            }
        }
    }

    fn certified(&self, view: &dyn View, cluster: ClusterId) -> Result<Option<Arc<CertifiedKey>>, String> {
        let row = issuing::controller(view, cluster, self.controller).map_err(|error| error.to_string())?;
        let Some(row) = row.filter(|row| row.key == self.key.verify_key()) else {
            return Ok(None);
        };

        tls::certified_key(row.certificate.to_vec(), &self.key)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (server, cluster) = parse_server_name(hello.server_name()?)?;
        let leaves = self.by_cluster.read().unwrap_or_else(PoisonError::into_inner);

        (server == ServerOf::Controller)
            .then(|| leaves.get(&cluster).cloned())
            .flatten()
    }
}
