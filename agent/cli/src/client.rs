//! The two doors that commands knock on: the controller's admin API, and the agent's local one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use control_api::action::Action;
use hyper::Method;
use protocol::error::Code;
use serde::Deserialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::http::{self, Answer, NoAnswer, Question};

/// The controller on this host.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) socket: PathBuf,
    pub(crate) operator: Option<String>,
    pub(crate) timeout: Duration,
}

impl Controller {
    /// Takes an action.
    pub(crate) async fn call(&self, action: Action, input: Value) -> Result<Value, Failure> {
        let target = format!("/v1/{}", action.name());
        let question = Question {
            socket: &self.socket,
            method: &Method::POST,
            target: &target,
            operator: self.operator.as_deref(),
            input: &input,
            timeout: self.timeout,
        };

        read(
            http::ask(question)
                .await
                .map_err(|no| unanswered(&no, CONTROLLER))?,
        )
    }
}

impl Controller {
    /// Takes an action that is answered with a file.
    pub(crate) async fn fetch(&self, action: Action, file: &mut File) -> Result<(), Failure> {
        let (target, nothing) = (format!("/v1/{}", action.name()), Value::Null);
        let question = Question {
            socket: &self.socket,
            method: &Method::POST,
            target: &target,
            operator: self.operator.as_deref(),
            input: &nothing,
            timeout: self.timeout.max(FILE_TIME),
        };
        let answer = http::fetch(question, file).await;

        read(answer.map_err(|no| unanswered(&no, CONTROLLER))?).map(|_| ())
    }
}

/// The agent on this host.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    pub(crate) timeout: Duration,
}

impl Agent {
    /// Reads one of the agent's views.
    pub(crate) async fn get(&self, target: &str) -> Result<Value, Failure> {
        self.ask(&Method::GET, target, Value::Null).await
    }

    /// Asks the agent to do something.
    pub(crate) async fn post(&self, target: &str, input: Value) -> Result<Value, Failure> {
        self.ask(&Method::POST, target, input).await
    }

    async fn ask(&self, method: &Method, target: &str, input: Value) -> Result<Value, Failure> {
        let question = Question {
            socket: &self.socket,
            method,
            target,
            operator: None,
            input: &input,
            timeout: self.timeout,
        };

        read(http::ask(question).await.map_err(|no| unanswered(&no, AGENT))?)
    }
}

/// What is said of one of the two when it does not answer.
#[derive(Clone, Copy)]
struct Who {
    name: &'static str,
    effect: &'static str,
    start: &'static str,
    flag: &'static str,
}

/// A refusal as either door words it.
#[derive(Debug, Deserialize)]
struct Refusal {
    number: u16,
    code: String,
    message: String,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    effect: Option<String>,
    #[serde(default)]
    fix: Option<String>,
}

fn read(answer: Answer) -> Result<Value, Failure> {
    let is_done = (200..300).contains(&answer.status);
    if is_done && answer.body.is_empty() {
        return Ok(Value::Null);
    }
    if is_done {
        return serde_json::from_slice(&answer.body).map_err(|error| not_ours(&answer).because_of(&error));
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).map_err(|_| not_ours(&answer))?;

    Err(refused(refusal))
}

/// Codes of a newer controller are taken by their number.
fn refused(refusal: Refusal) -> Failure {
    let mut failure = match Code::parse(&refusal.code) {
        Some(code) => Failure::of_code(code, refusal.message),
        None => Failure::new(exit_of_number(refusal.number), &refusal.code, refusal.message),
    };

    if let Some(why) = refusal.why {
        failure = failure.because(why);
    }
    if let Some(effect) = refusal.effect {
        failure = failure.affecting(effect);
    }

    match refusal.fix {
        Some(fix) => failure.fixed_by(fix),
        None => failure,
    }
}

const fn exit_of_number(number: u16) -> Exit {
    match number {
        400 | 422 => Exit::Usage,
        401 | 403 => Exit::NotAllowed,
        409 | 410 => Exit::Conflict,
        503 => Exit::Unreachable,
        504 => Exit::TimedOut,
        _ => Exit::Failed,
    }
}

fn not_ours(answer: &Answer) -> Failure {
    Failure::new(
        Exit::Failed,
        "unexpected_reply",
        format!(
            "the answer (status {}) is not of the kind that this version understands",
            answer.status
        ),
    )
    .fixed_by("gabion version    (command line and service should be of one version)")
}

fn unanswered(no: &NoAnswer, who: Who) -> Failure {
    let failure = match no {
        NoAnswer::TimedOut { .. } => Failure::new(
            Exit::TimedOut,
            "timed_out",
            format!("{} did not answer in time", who.name),
        ),
        NoAnswer::Request { .. } => Failure::usage("the question cannot be sent"),
        NoAnswer::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            let summary = format!("only root and the service's own user may talk to {}", who.name);
            return Failure::new(Exit::NotAllowed, "not_allowed", summary)
                .because_of(no)
                .fixed_by("run the command with sudo");
        }
        NoAnswer::Connect { .. } | NoAnswer::Broken { .. } | NoAnswer::Body { .. } => Failure::new(
            Exit::Unreachable,
            "unreachable",
            format!("{} does not answer", who.name),
        )
        .affecting(who.effect)
        .fixed_by(format!("{}    or name its socket with {}", who.start, who.flag)),
    };

    failure.because_of(no)
}

/// Where a controller listens for its administrators.
pub(crate) fn controller_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Where an agent listens for local questions.
pub(crate) fn agent_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("agent.sock")
}

const CONTROLLER: Who = Who {
    name: "the controller",
    effect: "nothing was changed; agents go on with what they have",
    start: "systemctl start gabion-controller",
    flag: "--socket",
};

const AGENT: Who = Who {
    name: "the agent of this host",
    effect: "nothing was changed",
    start: "systemctl start gabion-agent",
    flag: "--agent-socket",
};

/// For a copy of the largest store to be made and checked, and for each piece of it to come.
const FILE_TIME: Duration = Duration::from_secs(10 * 60);
/// Where the packages keep a controller's data.
pub(crate) const DATA_DIR: &str = "/var/lib/gabion/controller";
/// Where the packages keep an agent's state.
pub(crate) const STATE_DIR: &str = "/var/lib/gabion/agent";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_and_gets_the_fix_of_its_code() {
        let failure = read(reply(
            409,
            &json!({"number": 409, "code": "name_taken", "message": "another cluster has this name"}),
        ));

        let failure = failure.unwrap_err();
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Conflict, "name_taken")
        );
        assert!(
            failure.to_string().ends_with("fix     choose another name"),
            "{failure}"
        );
    }

    #[test]
    fn what_comes_with_the_refusal_is_what_is_shown() {
        let failure = read(reply(
            404,
            &json!({
                "number": 404, "code": "not_found", "message": "no node is called \"x\"", "why": "there are 3",
                "effect": "nothing was changed", "fix": "gabion node list",
            }),
        ));

        assert_eq!(
            failure.unwrap_err().to_string(),
            "error[not_found]: no node is called \"x\"\n  why     there are 3\n  effect  nothing was changed\n  \
             fix     gabion node list"
        );
    }

    #[test]
    fn a_code_of_a_newer_controller_is_taken_by_its_number() {
        let failure = read(reply(
            403,
            &json!({"number": 403, "code": "moon_phase", "message": "no"}),
        ))
        .unwrap_err();

        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::NotAllowed, "moon_phase")
        );
    }

    #[test]
    fn what_is_no_answer_of_ours_is_said_to_be_none() {
        for (status, body) in [(200, "<html>"), (502, "bad gateway"), (500, "")] {
            let answer = Answer {
                status,
                body: body.into(),
            };
            assert_eq!(read(answer).unwrap_err().code, "unexpected_reply");
        }
    }

    #[test]
    fn done_without_a_word_is_done() {
        let answer = Answer {
            status: 204,
            body: bytes::Bytes::new(),
        };
        assert_eq!(read(answer), Ok(Value::Null));
    }

    fn reply(status: u16, body: &Value) -> Answer {
        Answer {
            status,
            body: body.to_string().into(),
        }
    }
}
