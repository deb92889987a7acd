//! Unix sockets for the commands of this host: bound so that nobody else ever gets in, and nobody is pushed out.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Makes the socket, mode 0600, in place of one that an earlier run left behind.
///
/// Refused when a process answers there, which is named, and when the path holds anything that is no socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    make_room(path)?;
    // Bound under another name first: under its own it must never have been reachable by others.
    let hidden = hidden(path);
    make_room(&hidden)?;
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;

    Ok(listener)
}

/// Removes a socket that nobody listens on any more.
fn make_room(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there and is no socket", path.display()),
        ));
    }
    match net::UnixStream::connect(path) {
        Ok(stream) => Err(io::Error::new(io::ErrorKind::AddrInUse, taken(path, stream))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Its listener is busy or not ours to ask: it is somebody's all the same.
        Err(error) => Err(error),
    }
}

fn taken(path: &Path, stream: net::UnixStream) -> String {
    let peer = stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream))
        .and_then(|stream| stream.peer_cred());
    let who = peer.ok().and_then(|peer| peer.pid());

    match who {
        Some(pid) => format!("process {pid} answers at {}", path.display()),
        None => format!("another process answers at {}", path.display()),
    }
}

fn hidden(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");

    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_on_which_somebody_answers_is_left_to_him_and_he_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = bind(&path).unwrap();
        let refused = bind(&path).unwrap_err();

        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let own = format!("process {} ", std::process::id());
        assert!(refused.to_string().contains(&own), "{refused}");
        let asked = UnixStream::connect(&path).await.unwrap();
        first.accept().await.unwrap();
        drop(asked);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_by_one_of_mode_0600() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(bind(&path).unwrap());
        drop(UnixListener::bind(hidden(&path)).unwrap());
        let _listener = bind(&path).unwrap();

        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!hidden(&path).exists());
    }

    #[tokio::test]
    async fn a_file_at_the_place_of_a_socket_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        for place in [path.clone(), hidden(&path)] {
            std::fs::write(&place, "precious").unwrap();
            let refused = bind(&path).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(&place).unwrap(), "precious");
            std::fs::remove_file(&place).unwrap();
        }
    }
}
