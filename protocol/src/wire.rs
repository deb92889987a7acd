//! Requests and replies between an agent and a controller.
//!
//! One request per bidirectional stream: four bytes of length, big endian, then deterministic CBOR with numbered
//! fields, of which unknown ones are skipped. The reply has the same form. The server speaks first, once, on a
//! unidirectional stream: [`Welcome`].

mod join;
mod node;
mod report;

pub use join::{Enroll, EnrollmentStatus, ExpiredRenewal, HostFacts, JoinReply, JoinRequest, Proof, Welcome};
pub use node::{Have, Heartbeat, NodeReply, NodeRequest, Poll, PollReply, Refused, Renew, Renewed, Reverted};
pub use report::{
    Carried, Drift, InForce, LinkObservation, PathObservation, Refresh, Report, Switch, SwitchCause,
};

use minicbor::{Decode, Encode};

use crate::cbor::{self, Malformed};
use crate::error::WireError;
use crate::limits::FRAME_BYTES;

/// Bytes before every frame: its length.
pub const FRAME_PREFIX: usize = 4;

/// A reply: what was asked for, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer<T> {
    #[n(0)]
    Done(#[n(0)] T),
    #[n(1)]
    Refused(#[n(0)] WireError),
}

impl<T> Answer<T> {
    pub fn into_result(self) -> Result<T, WireError> {
        match self {
            Self::Done(reply) => Ok(reply),
            Self::Refused(error) => Err(error),
        }
    }
}

impl<T> From<Result<T, WireError>> for Answer<T> {
    fn from(result: Result<T, WireError>) -> Self {
        match result {
            Ok(reply) => Self::Done(reply),
            Err(error) => Self::Refused(error),
        }
    }
}

/// A message with its length before it, ready to be written.
pub fn frame<T: Encode<()>>(message: &T) -> Result<Vec<u8>, FrameTooLong> {
    let body = cbor::encode(message);
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= FRAME_BYTES);
    let prefix = length.ok_or(FrameTooLong { length: body.len() })?.to_be_bytes();

    Ok([prefix.as_slice(), &body].concat())
}

/// The length that a prefix announces, refused before anything of that length is read.
pub fn announced_length(prefix: [u8; FRAME_PREFIX], limit: usize) -> Result<usize, FrameTooLong> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    match length <= limit {
        true => Ok(length),
        false => Err(FrameTooLong { length }),
    }
}

/// Reads the body of a frame.
pub fn read<'b, T: Decode<'b, ()>>(body: &'b [u8]) -> Result<T, Malformed> {
    cbor::decode(body)
}

/// The frame is longer than its door allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes is longer than allowed")]
pub struct FrameTooLong {
    pub length: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::config::Candidate;
    use crate::envelope::Kind;
    use crate::error::Code;
    use crate::id::BootId;
    use crate::key::Digest;

    #[test]
    fn a_frame_announces_its_length() {
        let frame = frame(&Answer::<u64>::Done(7)).expect("short");

        assert_eq!(frame[..4], [0, 0, 0, 4]);
        assert_eq!(announced_length([0, 0, 0, 4], 4), Ok(4));
        assert_eq!(
            announced_length([0xff; 4], FRAME_BYTES),
            Err(FrameTooLong { length: 0xffff_ffff })
        );
        assert_eq!(read::<Answer<u64>>(&frame[4..]), Ok(Answer::Done(7)));
    }

    #[test]
    fn a_message_above_the_limit_is_not_framed() {
        let long = minicbor::bytes::ByteVec::from(vec![0; FRAME_BYTES]);

        assert!(frame(&long).is_err());
    }

    /// As the first version had it.
    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct FirstHeartbeat {
        #[n(0)]
        boot: BootId,
        #[n(1)]
        candidates: Vec<Candidate>,
        #[n(2)]
        epoch: u64,
        #[n(3)]
        applied: Vec<Have>,
        #[n(4)]
        agent_version: String,
        #[n(5)]
        refused: Vec<Refused>,
    }

    #[test]
    fn a_heartbeat_with_a_reversal_and_one_without_are_read_by_either_version() {
        let config = Have {
            kind: Kind::SyntheticConfig,
            epoch: 1,
            version: 7,
            hash: Digest::of(b"config"),
        };
        let new = Heartbeat {
            boot: BootId::from_bytes([1; 16]),
            candidates: Vec::new(),
            epoch: 1,
            applied: vec![config],
            agent_version: "0.1.0".to_owned(),
            refused: Vec::new(),
            reverted: Some(Reverted {
                config,
                settings: Digest::of(b"tried"),
                restored: Some(Digest::of(b"confirmed")),
            }),
        };
        assert_eq!(read::<Heartbeat>(&cbor::encode(&new)).as_ref(), Ok(&new));

        let first: FirstHeartbeat = read(&cbor::encode(&new)).expect("what is unknown is skipped");
        assert_eq!((first.boot, &first.applied), (new.boot, &new.applied));
        let old: Heartbeat = read(&cbor::encode(&first)).expect("what is absent is none");
        assert_eq!(
            old,
            Heartbeat {
                reverted: None,
                ..new
            }
        );
    }

    #[test]
    fn a_refusal_travels_as_code_and_text() {
        let refused: Answer<u64> =
            Err(WireError::new(Code::TokenConsumed, "the token has no use left")).into();
        let read: Answer<u64> = read(&cbor::encode(&refused)).expect("our own bytes");

        assert_eq!(
            read.into_result().expect_err("refused").known(),
            Some(Code::TokenConsumed)
        );
    }
}
