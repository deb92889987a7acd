//! The further doors of an agent: sockets at which neighbours are let in, and from which nobody is dialled.
//!
//! One that cannot be opened, since another process has its port, stays shut and is tried again ever more rarely: the agent
//! is of use without it, and a host that lost its only agent to a port would be of none.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::Endpoint;
use tokio::task::JoinSet;

use crate::links;
use crate::station::Station;

/// The doors, by where they are to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors(Arc<Mutex<BTreeMap<SocketAddr, Door>>>);

#[derive(Clone, Debug)]
enum Door {
    Open(Endpoint),
    Shut(Shut),
}

/// Why a door is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// Low ports need `CAP_NET_BIND_SERVICE`.
    NotPermitted,
    /// Another process has the port.
    PortTaken,
    /// Anything else, as an address that this host does not have.
    Unusable,
}

impl Shut {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::PortTaken => "port_taken",
            Self::Unusable => "unusable",
        }
    }

    fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::AddrInUse {
            Self::PortTaken
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::NotPermitted
        } else {
            Self::Unusable
        }
    }
}

impl Doors {
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |door: &Door| match door {
            Door::Open(endpoint) => Some(endpoint.clone()),
            Door::Shut(_) => None,
        };

        self.all().values().filter_map(endpoint).collect()
    }

    pub(crate) fn shut(&self) -> Vec<(SocketAddr, Shut)> {
        let shut = |(listen, door): (&SocketAddr, &Door)| match door {
            Door::Open(_) => None,
            Door::Shut(why) => Some((*listen, *why)),
        };

        self.all().iter().filter_map(shut).collect()
    }

    /// Opens a door if it can be. Returns what to serve.
    pub(crate) fn try_open(
        &self,
        listen: SocketAddr,
        open: impl FnOnce() -> io::Result<Endpoint>,
    ) -> Option<Endpoint> {
        match open() {
            Ok(endpoint) => {
                tracing::info!(%listen, "a further door is open");
                self.all().insert(listen, Door::Open(endpoint.clone()));
                Some(endpoint)
            }
            Err(error) => {
                let before = self.all().insert(listen, Door::Shut(Shut::of(&error)));
                if before.is_none() {
                    tracing::warn!(
                        %listen,
                        %error,
                        "the agent goes on without this door (also_listen), and tries again"
                    );
                }
                None
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets neighbours in by every door, and opens those that are shut as soon as that can be. Ends when an open one does.
pub(crate) async fn keep(station: Station) {
    let mut served = JoinSet::new();
    let mut opened = station.doors.endpoints();
    let mut pause = FIRST_PAUSE;
    loop {
        for endpoint in opened.drain(..) {
            served.spawn(links::serve(endpoint, station.clone()));
        }
        let shut = station.doors.shut();
        let wait = async {
            match shut.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            biased;
            Some(_) = served.join_next() => return,
            () = wait => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        opened.extend(shut.iter().filter_map(|(listen, _)| station.open_door(*listen)));
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Whoever frees a port waits for the agent for a minute at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::parts::Parts;
    use crate::testing::parts;

    #[tokio::test(start_paused = true)]
    async fn a_door_whose_port_is_taken_is_opened_once_that_is_free() {
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = other.local_addr().unwrap();
        let parts = Parts {
            doors: vec![listen],
            ..parts()
        };
        let (send, _inbox) = mpsc::channel(1);
        let (_greeting, said) = watch::channel(None);
        let station = Station::new(&parts, [1; 32], send, said).expect("it goes on without");
        let mut keeper = tokio::spawn(keep(station.clone()));
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(station.doors.shut(), [(listen, Shut::PortTaken)]);
        assert_eq!(
            station.bound().len(),
            1,
            "a port of somebody else is published nowhere"
        );

        drop(other);
        let opened = async {
            while station.doors.endpoints().is_empty() {
                tokio::time::advance(FIRST_PAUSE).await;
            }
        };
        tokio::time::timeout(2 * LONGEST_PAUSE, opened)
            .await
            .expect("it is opened");
        assert_eq!(station.doors.shut(), []);
        assert!(station.bound().contains(&listen));
        station.doors.endpoints()[0].close(0_u32.into(), b"");
        (&mut keeper).await.expect("and served: its end is noticed");
    }
}
