//! The parts of an agent that runs on a real host.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rand::Rng;
use zeroize::Zeroizing;

use crate::agent::AgentFailed;
use crate::clock::SystemClock;
use crate::disk::DirectoryDisk;
use crate::interfaces::KernelInterfaces;
use crate::parts::{Parts, Supervisor, SystemListen, Truth};
use crate::quic::{self, Bound};
use crate::resolve::SystemResolver;

/// Takes the state directory and binds the socket. Must be called within a tokio runtime.
pub fn parts(
    listen: SocketAddr,
    state_dir: &Path,
    supervisor: Arc<dyn Supervisor>,
    metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
) -> Result<Parts, AgentFailed> {
    let disk = DirectoryDisk::open(state_dir)?;
    let runtime = Arc::new(TokioRuntime);
    let socket = socket(listen, &*runtime).map_err(AgentFailed::Socket)?;
    let mut seed = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(seed.as_mut_slice());

    Ok(Parts {
        clock: Arc::new(SystemClock),
        socket,
        doors: Vec::new(),
        listener: Arc::new(SystemListen(runtime.clone())),
        runtime,
        disk: Arc::new(disk),
        resolver: Arc::new(SystemResolver),
        interfaces: Arc::new(KernelInterfaces),
        supervisor,
        testimony: Arc::new(Truth),
        metrics_text,
        seed,
    })
}

fn socket(listen: SocketAddr, runtime: &dyn Runtime) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let Bound {
        socket,
        receive_buffer,
        send_buffer,
    } = bind(listen)?;
    tracing::info!(receive_buffer, send_buffer, "the UDP socket is open");

    runtime.wrap_udp_socket(socket)
}

/// A host without IPv6 still has the IPv4 half of the wildcard.
fn bind(listen: SocketAddr) -> io::Result<Bound> {
    quic::bind(listen).or_else(|error| match listen.is_ipv6() && listen.ip().is_unspecified() {
        true => quic::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port()))),
        false => Err(error),
    })
}
