//! Files with private keys: made once, closed to others, and refused when they are not.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use protocol::key::{SigningKey, VerifyKey};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::failure::Failure;

/// Writes `key` into a new file: base64url of its PKCS#8 form (RFC 8410 7), mode 0600. It is on disk when this
/// returns.
pub(crate) fn create(path: &Path, key: &SigningKey) -> Result<(), KeyFileRefused> {
    let mut text = Zeroizing::new(BASE64URL_NOPAD.encode(&key.reveal_pkcs8()));
    text.push('\n');

    write_new(path, text.as_bytes(), PRIVATE)
}

/// Reads a private key: PKCS#8 DER, or base64 of it.
pub(crate) fn read(path: &Path) -> Result<SigningKey, KeyFileRefused> {
    let bytes = read_private(path)?;
    let invalid = || KeyFileRefused::NotAKey {
        path: path.to_owned(),
    };
    if let Ok(key) = SigningKey::from_pkcs8(&bytes) {
        return Ok(key);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?.trim();
    let decoded = BASE64URL_NOPAD
        .decode(text.as_bytes())
        .or_else(|_| BASE64.decode(text.as_bytes()));
    let der = Zeroizing::new(decoded.map_err(|_| invalid())?);

    SigningKey::from_pkcs8(&der).map_err(|_| invalid())
}

/// A public key: its text, or the file that holds the text or the private key to it.
pub(crate) fn public(named: &str) -> Result<VerifyKey, KeyFileRefused> {
    if let Ok(key) = named.parse() {
        return Ok(key);
    }
    let path = Path::new(named);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim().parse() {
        Ok(key) => Ok(key),
        Err(_) => Ok(read(path)?.verify_key()),
    }
}

/// A public key where the private one must not be: its text, or a file that holds the text.
pub(crate) fn public_alone(named: &str) -> Result<VerifyKey, Failure> {
    let key = public(named)?;
    let path = Path::new(named);
    let is_private = named.parse::<VerifyKey>().is_err() && read(path).is_ok();
    if !is_private {
        return Ok(key);
    }

    Err(
        Failure::new(Exit::Usage, "private_key", format!("{named} holds a private key"))
            .because("a controller needs the public key alone; whoever takes this host would take the root as well")
            .affecting("nothing was changed")
            .fixed_by(format!(
                "--root-key {key}    (and keep {named} on the offline machine)"
            )),
    )
}

/// Reads a file that nobody but its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileRefused> {
    let refuse = |source| KeyFileRefused::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(refuse)?;
    let mode = file.metadata().map_err(refuse)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyFileRefused::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LIMIT).read_to_end(&mut bytes).map_err(refuse)?;

    Ok(bytes)
}

/// Writes a file that must not exist yet, and has it on disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFileRefused> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };

    written().map_err(|source| {
        let path = path.to_owned();
        match source.kind() == io::ErrorKind::AlreadyExists {
            true => KeyFileRefused::Exists { path },
            false => KeyFileRefused::Io { path, source },
        }
    })
}

/// A file with a key cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileRefused {
    /// Something is there already, and a key that was overwritten is lost for ever.
    #[error("{} exists already", .path.display())]
    Exists { path: PathBuf },
    /// Its mode lets others read it.
    #[error("{} has mode {mode:04o}: others can read it", .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// The system refuses to open, read or write it.
    #[error("{} cannot be used", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} does not hold an Ed25519 key", .path.display())]
    NotAKey { path: PathBuf },
}

impl From<KeyFileRefused> for Failure {
    fn from(refused: KeyFileRefused) -> Self {
        let summary = refused.to_string();
        match &refused {
            KeyFileRefused::Exists { .. } => Self::new(Exit::Conflict, "file_exists", summary)
                .because("a key is never overwritten")
                .fixed_by("name another file, or move this one away"),
            KeyFileRefused::Exposed { path, .. } => Self::new(Exit::Usage, "key_exposed", summary)
                .because("whoever has read it can use what it holds as its owner can")
                .fixed_by(format!("chmod 600 {}", path.display())),
            KeyFileRefused::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                Self::new(Exit::Usage, "file_unusable", summary)
                    .because(source.to_string())
                    .fixed_by(format!(
                        "put the file at {}, mode 0600, or name another",
                        path.display()
                    ))
            }
            KeyFileRefused::Io { path, source } => Self::new(Exit::Failed, "file_unusable", summary)
                .because(source.to_string())
                .fixed_by(format!("ls -l {}    (says whose it is)", path.display())),
            KeyFileRefused::NotAKey { .. } => Self::new(Exit::Usage, "not_a_key", summary).because(
                "it is neither PKCS#8 (DER, or base64 of it) nor the base64url text of a public key",
            ),
        }
    }
}

/// For private keys and whatever opens a door.
pub(crate) const PRIVATE: u32 = 0o600;
/// For documents that anyone may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// The permission bits of group and others.
const OTHERS: u32 = 0o077;
/// More than any key or token takes.
const LIMIT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_reads_back_from_a_file_that_only_its_owner_may_read() {
        let (_directory, path) = place();
        create(&path, &key()).unwrap();

        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().verify_key(), key().verify_key());
    }

    #[test]
    fn a_private_key_is_refused_where_the_public_one_is_enough() {
        let (_directory, path) = place();
        create(&path, &key()).unwrap();
        let public = key().verify_key();

        let refused = public_alone(path.to_str().unwrap()).unwrap_err();
        assert_eq!(
            (refused.exit, refused.code.as_str()),
            (Exit::Usage, "private_key")
        );
        assert!(
            refused.to_string().contains(&format!("--root-key {public} ")),
            "{refused}"
        );
        assert_eq!(public_alone(&public.to_string()), Ok(public));
        let (_directory, path) = place();
        write_new(&path, public.to_string().as_bytes(), PUBLIC).unwrap();
        assert_eq!(public_alone(path.to_str().unwrap()), Ok(public));
    }

    #[test]
    fn der_and_both_alphabets_of_base64_are_read() {
        let der = key().reveal_pkcs8();
        for content in [
            der.to_vec(),
            BASE64.encode(&der).into_bytes(),
            BASE64URL_NOPAD.encode(&der).into_bytes(),
        ] {
            let (_directory, path) = place();
            write_new(&path, &content, PRIVATE).unwrap();
            assert_eq!(read(&path).unwrap().verify_key(), key().verify_key());
        }
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let (_directory, path) = place();
        create(&path, &key()).unwrap();

        let again = create(&path, &SigningKey::from_seed(&[2; 32])).unwrap_err();
        assert!(matches!(again, KeyFileRefused::Exists { .. }));
        assert_eq!(read(&path).unwrap().verify_key(), key().verify_key());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        for mode in [0o644, 0o640, 0o604, 0o660] {
            let (_directory, path) = place();
            create(&path, &key()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();

            let failure = Failure::from(read(&path).unwrap_err());
            let expected = format!("fix     chmod 600 {}", path.display());
            assert!(failure.to_string().ends_with(&expected), "{failure}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for content in ["", "hello", "AAAA", "\u{fffd}"] {
            let (_directory, path) = place();
            write_new(&path, content.as_bytes(), PRIVATE).unwrap();
            assert!(
                matches!(read(&path), Err(KeyFileRefused::NotAKey { .. })),
                "{content}"
            );
        }
    }

    #[test]
    fn a_public_key_is_named_by_text_or_by_either_kind_of_file() {
        let (directory, path) = place();
        create(&path, &key()).unwrap();
        let beside = directory.path().join("key.pub");
        std::fs::write(&beside, format!("{}\n", key().verify_key())).unwrap();

        for named in [
            key().verify_key().to_string(),
            path.display().to_string(),
            beside.display().to_string(),
        ] {
            assert_eq!(public(&named).unwrap(), key().verify_key(), "{named}");
        }
        assert!(public("/nowhere").is_err());
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");

        (directory, path)
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }
}
