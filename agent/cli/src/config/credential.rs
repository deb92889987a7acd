//! Secrets that the service manager hands over: files in a directory that only this service can read.

use std::io::Read;
use std::path::{Path, PathBuf};

use protocol::token::JoinToken;
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyfile;

/// The credentials of this process (systemd.exec(5), `LoadCredential=`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials(Option<PathBuf>);

impl Credentials {
    pub(crate) fn of_environment() -> Self {
        Self(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))
    }

    #[cfg(test)]
    pub(crate) fn of(directory: &Path) -> Self {
        Self(Some(directory.to_owned()))
    }

    /// Whether `path` is that of a credential, however it came to be named.
    pub(crate) fn hold(&self, path: &Path) -> bool {
        self.0
            .as_deref()
            .is_some_and(|directory| path.parent() == Some(directory))
    }

    /// The file of the first of `names` that was handed over.
    pub(crate) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let directory = self.0.as_deref()?;

        names
            .iter()
            .map(|name| directory.join(name))
            .find(|path| path.is_file())
    }
}

/// The join token: of the file that was named (`-` is standard input), or of a credential, if there is either.
pub(crate) fn join_token(
    named: Option<&Path>,
    credentials: &Credentials,
) -> Result<Option<JoinToken>, Failure> {
    let is_ours = |path: &&Path| *path != Path::new("-") && !credentials.hold(path);
    if let Some(path) = named.filter(is_ours) {
        let bytes = keyfile::read_private(path)?;
        return parsed(&bytes, &path.display().to_string()).map(Some);
    }
    if named == Some(Path::new("-")) {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes);
        read.map_err(|error| Failure::usage("standard input cannot be read").because(error.to_string()))?;
        return parsed(&bytes, "standard input").map(Some);
    }
    let Some(path) = named
        .map(Path::to_owned)
        .or_else(|| credentials.find(&JOIN_TOKEN))
    else {
        return Ok(None);
    };
    // The service manager sets its mode and access list, which is not ours to judge.
    let bytes = Zeroizing::new(std::fs::read(&path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display())).because(error.to_string())
    })?);

    parsed(&bytes, &path.display().to_string()).map(Some)
}

fn parsed(bytes: &[u8], from: &str) -> Result<JoinToken, Failure> {
    let token = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| JoinToken::parse(text).ok());

    token.ok_or_else(|| {
        Failure::new(Exit::Usage, "token_malformed", "the join token is not complete")
            .because(format!(
                "what {from} holds was cut short or mistyped: its checksum does not fit"
            ))
            .affecting("nothing was sent to anyone")
            .fixed_by("copy the token again, whole, into the file that --token-file names")
    })
}

/// As the packaged units name it, and as it is named elsewhere.
pub(crate) const JOIN_TOKEN: [&str; 2] = ["gabion.join-token", "join-token"];
/// The controller's key-encryption key.
pub(crate) const KEK: [&str; 2] = ["gabion.kek", "kek"];
/// More than any token takes.
const LIMIT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_the_file_or_else_from_a_credential() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::of(directory.path());
        assert!(join_token(None, &credentials).unwrap().is_none());

        std::fs::write(directory.path().join("join-token"), format!("{}\n", vector())).unwrap();
        assert!(join_token(None, &credentials).unwrap().is_some());

        let named = directory.path().join("mine");
        keyfile::write_new(&named, vector().as_bytes(), keyfile::PRIVATE).unwrap();
        assert!(
            join_token(Some(&named), &Credentials::default())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_credential_that_the_configuration_names_is_one_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::of(directory.path());
        let named = directory.path().join("mine");
        keyfile::write_new(&named, vector().as_bytes(), 0o440).unwrap();

        assert!(join_token(Some(&named), &credentials).unwrap().is_some());
        assert!(join_token(Some(&named), &Credentials::default()).is_err());
    }

    #[test]
    fn a_token_that_was_cut_short_is_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        keyfile::write_new(&path, &vector().as_bytes()[..100], keyfile::PRIVATE).unwrap();

        let failure = join_token(Some(&path), &Credentials::default()).unwrap_err();
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Usage, "token_malformed")
        );
        assert!(!failure.to_string().contains("gbj1_"), "{failure}");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        keyfile::write_new(&path, vector().as_bytes(), 0o644).unwrap();

        let failure = join_token(Some(&path), &Credentials::default()).unwrap_err();
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Usage, "key_exposed")
        );
        assert!(
            !failure.to_string().contains("sign"),
            "a token signs nothing: {failure}"
        );
    }

    #[test]
    fn a_token_file_that_is_missing_is_a_mistake_of_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let failure = join_token(Some(&directory.path().join("none")), &Credentials::default()).unwrap_err();

        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Usage, "file_unusable")
        );
        assert!(
            failure.to_string().contains("fix     put the file at"),
            "{failure}"
        );
    }

    fn vector() -> String {
        let vector: serde_json::Value = serde_json::from_str(VECTOR).unwrap();

        vector["text"].as_str().unwrap().to_owned()
    }

    const VECTOR: &str = include_str!("../../../../protocol/vectors/token.json");
}
