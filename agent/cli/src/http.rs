//! One question over HTTP/1 on a unix socket, and its answer.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// What to ask, and of whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    /// The operator as which to act.
    pub(crate) operator: Option<&'a str>,
    /// The body; none is sent for null.
    pub(crate) input: &'a Value,
    pub(crate) timeout: Duration,
}

/// An answer: HTTP status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Asks once.
pub(crate) async fn ask(question: Question<'_>) -> Result<Answer, NoAnswer> {
    let socket = || question.socket.to_owned();
    match tokio::time::timeout(question.timeout, exchange(question, None)).await {
        Ok(answered) => answered,
        Err(_) => Err(NoAnswer::TimedOut {
            socket: socket(),
            after: question.timeout,
        }),
    }
}

/// As [`ask`], but writes the body of an answer that is no refusal into `file`. The timeout is for the answer's head and
/// for each piece of the body.
pub(crate) async fn fetch(question: Question<'_>, file: &mut File) -> Result<Answer, NoAnswer> {
    exchange(question, Some(file)).await
}

async fn exchange(question: Question<'_>, file: Option<&mut File>) -> Result<Answer, NoAnswer> {
    let socket = || question.socket.to_owned();
    let stream = UnixStream::connect(question.socket)
        .await
        .map_err(|source| NoAnswer::Connect {
            socket: socket(),
            source,
        })?;
    let broken = |source| NoAnswer::Broken {
        socket: socket(),
        source,
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = request(question).map_err(|source| NoAnswer::Request { source })?;
    let talk = async move {
        let head = in_time(question, sender.send_request(request)).await?;
        let response = head.map_err(broken)?;
        match file {
            Some(file) if response.status().is_success() => save(response, question, file).await,
            Some(_) | None => answer(response, question.socket).await,
        }
    };

    // The connection ends when `talk` has dropped its sender.
    let (answered, _) = tokio::join!(talk, connection);

    answered
}

async fn in_time<T>(question: Question<'_>, work: impl Future<Output = T>) -> Result<T, NoAnswer> {
    let done = tokio::time::timeout(question.timeout, work).await;

    done.map_err(|_| NoAnswer::TimedOut {
        socket: question.socket.to_owned(),
        after: question.timeout,
    })
}

async fn save(
    response: Response<hyper::body::Incoming>,
    question: Question<'_>,
    file: &mut File,
) -> Result<Answer, NoAnswer> {
    let status = response.status().as_u16();
    let cut = |source: Box<dyn std::error::Error + Send + Sync>| NoAnswer::Body {
        socket: question.socket.to_owned(),
        source,
    };
    let mut body = response.into_body();
    while let Some(frame) = in_time(question, body.frame()).await? {
        let frame = frame.map_err(|error| cut(error.into()))?;
        if let Some(piece) = frame.data_ref() {
            file.write_all(piece).map_err(|error| cut(error.into()))?;
        }
    }

    Ok(Answer {
        status,
        body: Bytes::new(),
    })
}

fn request(question: Question<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut builder = Request::builder()
        .method(question.method)
        .uri(question.target)
        .header(HOST, "localhost");
    if let Some(operator) = question.operator {
        builder = builder.header(OPERATOR, operator);
    }
    if question.input.is_null() {
        return builder.body(Full::default());
    }

    builder
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(question.input.to_string()))
}

async fn answer(response: Response<hyper::body::Incoming>, socket: &Path) -> Result<Answer, NoAnswer> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;

    Ok(Answer {
        status,
        body: body
            .map_err(|source| NoAnswer::Body {
                socket: socket.to_owned(),
                source,
            })?
            .to_bytes(),
    })
}

/// Nobody answered, or not to the end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The answer was cut off, or is longer than [`BODY_BYTES`].
    #[error("the answer from {} cannot be read", .socket.display())]
    Body {
        socket: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The other end closed the connection, or does not speak HTTP.
    #[error("{} was closed without an answer", .socket.display())]
    Broken {
        socket: PathBuf,
        #[source]
        source: hyper::Error,
    },
    /// There is no socket, nobody listens on it, or we may not open it.
    #[error("{} cannot be opened", .socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The question has no HTTP form: an operator id or name with characters that cannot stand there.
    #[error("the question cannot be sent")]
    Request {
        #[source]
        source: hyper::http::Error,
    },
    /// It took too long.
    #[error("{} did not answer within {after:?}", .socket.display())]
    TimedOut { socket: PathBuf, after: Duration },
}

/// Who acts, when it is not the first owner.
const OPERATOR: &str = "x-gabion-operator";
/// The longest answer that is read: a list of 100,000 nodes, each of 600 bytes.
const BODY_BYTES: usize = 64 * 1024 * 1024;
