//! What a node is: roles, labels, names.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// What a node does for the others besides being a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeRole {
    #[n(1)]
    Member,
    #[n(2)]
    Relay,
    #[n(3)]
    Rendezvous,
}

impl NodeRole {
    pub const ALL: [Self; 3] = [Self::Member, Self::Relay, Self::Rendezvous];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Relay => "relay",
            Self::Rendezvous => "rendezvous",
        }
    }
}

impl FromStr for NodeRole {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(InvalidName)
    }
}

/// Labels of a node, given by a token or an operator, never by the node. At most [`MAX_LABELS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Accepts keys and values of 1 to 63 characters of `a-z 0-9 - _ .`.
    pub fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidName> {
        let labels: BTreeMap<_, _> = pairs.into_iter().collect();
        let valid = labels.iter().all(|(key, value)| is_name(key) && is_name(value));
        match valid && labels.len() <= MAX_LABELS {
            true => Ok(Self(labels)),
            false => Err(InvalidName),
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A flat array: key, value, key, value, with keys ascending. (A CBOR map would order keys by length first.)
impl<C> Encode<C> for Labels {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2 * self.0.len() as u64)?;
        for (key, value) in &self.0 {
            e.str(key)?.str(value)?;
        }

        e.ok()
    }
}

impl<'b, C> Decode<'b, C> for Labels {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let invalid = || minicbor::decode::Error::message("not labels");
        let items = d.array()?.filter(|items| items % 2 == 0).ok_or_else(invalid)?;
        let mut labels = BTreeMap::new();
        for _ in 0..items / 2 {
            let (key, value) = (d.str()?.to_owned(), d.str()?.to_owned());
            if labels.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(invalid());
            }
            labels.insert(key, value);
        }

        Self::parse(labels).map_err(|_| invalid())
    }
}

/// The name of a node or cluster: 1 to 63 characters of `a-z 0-9 - _ .`, unique per cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match is_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<C> Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Name {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a name"))
    }
}

/// The text is empty, longer than 63 characters, or has others than `a-z 0-9 - _ .`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid name: 1 to 63 characters of a-z, 0-9, '-', '_' and '.'")]
pub struct InvalidName;

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);

    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

/// Labels of one node: more would make every neighbour's config longer.
pub const MAX_LABELS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_lower_case() {
        assert!("web-07.fra".parse::<Name>().is_ok());
        for wrong in ["", "Web", "a b", "ä", &"x".repeat(64)] {
            assert_eq!(wrong.parse::<Name>(), Err(InvalidName), "{wrong}");
        }
    }

    #[test]
    fn labels_refuse_what_is_no_name() {
        let label = |key: &str, value: &str| Labels::parse([(key.to_owned(), value.to_owned())]);

        assert!(label("site", "fra").is_ok());
        assert_eq!(label("site", ""), Err(InvalidName));
        assert_eq!(
            Labels::parse((0..17).map(|n| (format!("k{n}"), "v".to_owned()))),
            Err(InvalidName)
        );
    }
}
