//! Turns what lies on disks into JSON for people: documents, tokens, state files. It shows no secret.

mod body;
mod state;

use protocol::envelope::{Envelope, Expected, Header, OpenError};
use protocol::key::{Digest, Fingerprint, VerifyKey};
use protocol::time::Wall;
use protocol::token::{JoinToken, TokenMistyped};
use serde_json::{Value, json};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) shown: Value,
    /// Whether every document in it is signed by one of the keys that were given.
    pub(crate) verified: bool,
    /// Whether checksums hold.
    pub(crate) intact: bool,
}

/// Reads `bytes`, which came from a file called `name`, and checks signatures by `keys`.
pub(crate) fn inspect(name: &str, bytes: &[u8], keys: &[VerifyKey]) -> Result<Found, NotReadable> {
    if bytes.starts_with(state::MAGIC) {
        return Ok(state::inspect(name, bytes, keys));
    }
    let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    if text.starts_with(TOKEN) {
        return token(text, keys);
    }

    document(bytes, keys).map_err(NotReadable::Document)
}

/// One signed document.
fn document(bytes: &[u8], keys: &[VerifyKey]) -> Result<Found, OpenError> {
    let envelope = Envelope::parse(bytes)?;
    let header = envelope.claimed();
    let expected = Expected {
        realm: header.realm,
        subject: header.subject,
    };
    let signing: Vec<&VerifyKey> = keys
        .iter()
        .filter(|key| envelope.is_signed_by(header.kind, &expected, key))
        .collect();
    let signers = envelope
        .claimed_signers()
        .map(|signer| signature(signer, keys, &signing));
    let mut shown = json!({
        "name": header.kind.name(),
        "id": envelope.hash().to_string(),
        "state": state_word(keys, !signing.is_empty()),
        "header": header_of(header),
        "signatures": signers.collect::<Vec<_>>(),
    });
    match body::of(&envelope) {
        Ok(body) => shown["body"] = body,
        Err(error) => shown["body_error"] = Value::from(error.to_string()),
    }

    Ok(Found {
        shown,
        verified: !signing.is_empty(),
        intact: true,
    })
}

fn state_word(keys: &[VerifyKey], verified: bool) -> &'static str {
    match (keys.is_empty(), verified) {
        (true, _) => "unchecked",
        (false, true) => "verified",
        (false, false) => "not_verified",
    }
}

/// A slot of the envelope. About a signer whose key was not given nothing can be said.
fn signature(signer: Fingerprint, keys: &[VerifyKey], signing: &[&VerifyKey]) -> Value {
    let is_known = keys.iter().any(|key| key.fingerprint() == signer);
    let verifies = is_known.then(|| signing.iter().any(|key| key.fingerprint() == signer));

    json!({ "signer": signer, "verifies": verifies })
}

fn header_of(header: &Header) -> Value {
    json!({
        "schema": header.schema,
        "cluster": header.realm.to_string(),
        "subject": header.subject.to_string(),
        "epoch": header.epoch,
        "version": header.version,
        "previous": header.previous.as_ref().map(Digest::to_string),
        "issued_at": time(header.issued_at),
        "valid_until": header.valid_until.map(time),
        "needs": header.needs,
    })
}

/// A token: its claims are a document; of its secret only the hash is shown, which is what a controller keeps.
fn token(text: &str, keys: &[VerifyKey]) -> Result<Found, NotReadable> {
    let token = JoinToken::parse(text)?;
    let found = document(token.claims_bytes(), keys).map_err(NotReadable::Document)?;
    let mut shown = found.shown;
    shown["secret_hash"] = Value::from(token.secret().hash().to_string());

    Ok(Found { shown, ..found })
}

fn time(at: Wall) -> String {
    control_api::view::time(at)
}

/// A file is neither a document, nor a token, nor a state file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReadable {
    /// It is no envelope, or not deterministic CBOR.
    #[error("it is not a signed document")]
    Document(#[source] OpenError),
    /// It begins like a join token, and its checksum does not fit.
    #[error("it is not a join token")]
    Token(#[from] TokenMistyped),
}

/// How the text of a join token begins.
const TOKEN: &str = "gbj";

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use protocol::envelope::Kind;
    use protocol::key::SigningKey;

    use super::*;

    #[test]
    fn every_vector_is_shown_whole() {
        let vectors: Value = serde_json::from_str(DOCUMENTS).unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for (name, vector) in vectors.as_object().unwrap() {
            let bytes = HEXLOWER
                .decode(vector["envelope"].as_str().unwrap().as_bytes())
                .unwrap();
            let found = inspect(name, &bytes, &[]).unwrap();

            assert_eq!(found.shown["id"], vector["hash"], "{name}");
            assert_eq!(found.shown["state"], "unchecked", "{name}");
            assert!(found.shown["body"].is_object(), "{name}: {}", found.shown);
            kinds.insert(found.shown["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(kinds.len(), 11, "{kinds:?}");
        assert!(kinds.contains(Kind::Succession.name()));
    }

    #[test]
    fn a_document_shows_ids_times_and_names() {
        let found = inspect("", &vector("role grant in a cluster"), &[]).unwrap();

        assert_eq!(found.shown["header"]["subject"], "*");
        assert_eq!(found.shown["header"]["version"], 2);
        assert_eq!(found.shown["header"]["issued_at"], "2027-01-15T08:00:00Z");
        assert_eq!(found.shown["body"]["name"], "grace");
        assert_eq!(found.shown["body"]["role"], "viewer");
        assert_eq!(found.shown["body"]["cluster"].as_str().unwrap().len(), 26);
    }

    #[test]
    fn what_verifies_is_said_by_key() {
        let (right, wrong) = (signer_of("beacon"), SigningKey::from_seed(&[99; 32]).verify_key());

        let found = inspect("", &vector("beacon"), &[wrong, right]).unwrap();
        assert!(found.verified);
        assert_eq!(found.shown["state"], "verified");
        assert_eq!(found.shown["signatures"][0]["verifies"], true);

        let found = inspect("", &vector("beacon"), &[wrong]).unwrap();
        assert!(!found.verified);
        assert_eq!(found.shown["state"], "not_verified");
        assert_eq!(found.shown["signatures"][0]["verifies"], Value::Null);
    }

    #[test]
    fn a_changed_document_does_not_verify() {
        let mut bytes = vector("beacon");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;

        let found = inspect("", &bytes, &[signer_of("beacon")]).unwrap();
        assert!(!found.verified);
        assert_eq!(found.shown["signatures"][0]["verifies"], false);
    }

    #[test]
    fn a_token_shows_its_claims_and_not_its_secret() {
        let vector: Value = serde_json::from_str(TOKEN_VECTOR).unwrap();
        let text = format!("{}\n", vector["text"].as_str().unwrap());
        let found = inspect("token", text.as_bytes(), &[]).unwrap();

        assert_eq!(found.shown["name"], "join token");
        assert_eq!(found.shown["secret_hash"], vector["secret_hash"]);
        assert_eq!(found.shown["body"]["controllers"][0], "controller.example:4433");
        assert!(
            !found
                .shown
                .to_string()
                .contains(vector["secret"].as_str().unwrap())
        );
    }

    #[test]
    fn what_is_nothing_of_ours_is_refused() {
        for bytes in [
            b"".as_slice(),
            b"hello",
            b"gbj1_aaaa",
            &[0x84, 0x40, 0xa0],
            &[0xff; 100],
        ] {
            assert!(inspect("", bytes, &[]).is_err());
        }
    }

    pub(super) fn vector(name: &str) -> Vec<u8> {
        let vectors: Value = serde_json::from_str(DOCUMENTS).unwrap();

        HEXLOWER
            .decode(vectors[name]["envelope"].as_str().unwrap().as_bytes())
            .unwrap()
    }

    /// The vectors' signers have one repeated byte as their seed.
    pub(super) fn signer_of(name: &str) -> VerifyKey {
        let envelope = Envelope::parse(&vector(name)).unwrap();
        let signer = envelope.claimed_signers().next().unwrap();
        let keys = (0..=255).map(|seed| SigningKey::from_seed(&[seed; 32]).verify_key());

        keys.into_iter().find(|key| key.fingerprint() == signer).unwrap()
    }

    const DOCUMENTS: &str = include_str!("../../../protocol/vectors/documents.json");
    const TOKEN_VECTOR: &str = include_str!("../../../protocol/vectors/token.json");
}
