//! One who writes: a connection to the admin socket that is kept.

use std::path::PathBuf;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Empty while it is asking.
#[derive(Debug, Default)]
pub(super) struct Caller {
    stream: Option<UnixStream>,
    /// The token that it has made and not revoked.
    token: Option<String>,
    buffer: Vec<u8>,
}

impl Caller {
    pub(super) async fn connect(socket: PathBuf) -> Result<Self, String> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| error.to_string())?;

        Ok(Self {
            stream: Some(stream),
            ..Self::default()
        })
    }

    /// One write: revokes the token that it has, or makes one.
    pub(super) async fn write(&mut self) -> Result<(), String> {
        match self.token.take() {
            Some(id) => self
                .ask("token/revoke", &format!("{{\"id\":\"{id}\"}}"))
                .await
                .map(|_| ()),
            None => {
                let made = self.ask("token/create", "{}").await?;
                self.token = made["id"].as_str().map(ToOwned::to_owned);
                match self.token {
                    Some(_) => Ok(()),
                    None => Err(format!("a token without an id: {made}")),
                }
            }
        }
    }

    async fn ask(&mut self, action: &str, body: &str) -> Result<Value, String> {
        let question = format!(
            "POST /v1/{action} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = self.stream.as_mut().ok_or("no connection")?;
        let told = |error: std::io::Error| format!("{action}: {error}");
        stream.write_all(question.as_bytes()).await.map_err(told)?;
        self.buffer.clear();
        loop {
            if let Some((head, length)) = head(&self.buffer)
                && let Some(body) = self.buffer.get(head..head + length)
            {
                let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                return match self.buffer.starts_with(b"HTTP/1.1 200 ") {
                    true => Ok(value),
                    false => Err(format!("{action} was refused: {value}")),
                };
            }
            if stream.read_buf(&mut self.buffer).await.map_err(told)? == 0 {
                return Err(format!("{action}: the connection ended"));
            }
        }
    }
}

/// Where the head of an answer ends, and how long its body is, once the head is there.
fn head(answer: &[u8]) -> Option<(usize, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;

        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })?;

    Some((end, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_when_its_head_says_how_long_it_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

        assert_eq!(head(answer), Some((answer.len() - 2, 2)));
        assert_eq!(head(&answer[..30]), None);
    }
}
