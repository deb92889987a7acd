//! Servers of the bare libraries, each in a process of its own as the product is: this program, started once more.
//!
//! TLS with the product's suites and keys, client certificates verified by rustls itself, and no more than the work
//! needs: no admission, no rows, no documents.

mod ground;
mod relay;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use agent_shell::quic;
use bytes::Bytes;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};

pub(crate) use ground::{ALPN, identity};

/// What a floor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shakes hands and closes.
    Handshakes,
    /// Answers every request with so many bytes.
    Answers(usize),
    /// Reads one request of each connection and never answers it.
    Parks,
    /// Sends on every datagram that it gets to the connection that is the far end.
    Relays,
}

impl Kind {
    fn words(self) -> Vec<String> {
        match self {
            Self::Handshakes => vec!["handshakes".to_owned()],
            Self::Answers(bytes) => vec!["answers".to_owned(), bytes.to_string()],
            Self::Parks => vec!["parks".to_owned()],
            Self::Relays => vec!["relays".to_owned()],
        }
    }

    fn read(words: &[String]) -> Option<Self> {
        match words {
            [kind] if kind == "handshakes" => Some(Self::Handshakes),
            [kind] if kind == "parks" => Some(Self::Parks),
            [kind] if kind == "relays" => Some(Self::Relays),
            [kind, bytes] if kind == "answers" => bytes.parse().ok().map(Self::Answers),
            _ => None,
        }
    }
}

/// A floor that runs. It ends with this.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Floor {
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .args(kind.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let address = line.trim().parse().map_err(io::Error::other)?;

        Ok(Self { child, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // What has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends, if the command line asks for a floor.
pub(crate) fn serve(arguments: &[String]) -> Option<io::Result<()>> {
    let (word, rest) = arguments.split_first()?;
    let kind = Kind::read(rest).filter(|_| word == WORD)?;

    Some(run(kind))
}

fn run(kind: Kind) -> io::Result<()> {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    runtime.block_on(async {
        let socket = quic::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.socket;
        let server = ground::server(kind);
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )?;
        writeln!(io::stdout().lock(), "{}", endpoint.local_addr()?)?;
        match kind {
            Kind::Relays => relay::carry(&endpoint).await,
            Kind::Handshakes | Kind::Answers(_) | Kind::Parks => accept(&endpoint, kind).await,
        }

        Ok(())
    })
}

async fn accept(endpoint: &Endpoint, kind: Kind) {
    let reply = match kind {
        Kind::Answers(bytes) => framed(bytes),
        Kind::Handshakes | Kind::Parks | Kind::Relays => Bytes::new(),
    };
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(attend(incoming, kind, reply.clone()));
    }
}

/// A reply as the clients read it: its length before it.
fn framed(bytes: usize) -> Bytes {
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);

    [length.to_be_bytes().as_slice(), &vec![7; bytes]].concat().into()
}

/// One connection. However it ends, the floor has no opinion.
async fn attend(incoming: Incoming, kind: Kind, reply: Bytes) -> Option<()> {
    let connection = incoming.await.ok()?;
    match kind {
        Kind::Handshakes => connection.close(VarInt::from_u32(0), b""),
        Kind::Answers(_) => answer(&connection, reply).await?,
        Kind::Parks => park(&connection).await?,
        Kind::Relays => {}
    }

    Some(())
}

async fn answer(connection: &Connection, reply: Bytes) -> Option<()> {
    loop {
        let (mut send, mut receive) = connection.accept_bi().await.ok()?;
        receive.read_to_end(MOST).await.ok()?;
        send.write_chunk(reply.clone()).await.ok()?;
        send.finish().ok()?;
    }
}

async fn park(connection: &Connection) -> Option<()> {
    let (_send, mut receive) = connection.accept_bi().await.ok()?;
    receive.read_to_end(MOST).await.ok()?;
    connection.closed().await;

    Some(())
}

/// Of a request.
const MOST: usize = 64 * 1024;
/// The first argument of a process that is a floor.
const WORD: &str = "--floor";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_floor_is_told_is_what_it_reads() {
        for kind in [Kind::Handshakes, Kind::Answers(700), Kind::Parks, Kind::Relays] {
            assert_eq!(Kind::read(&kind.words()), Some(kind));
        }
        assert_eq!(Kind::read(&["nonsense".to_owned()]), None);
        assert!(serve(&["failover".to_owned()]).is_none());
    }
}
