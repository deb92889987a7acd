//! Dialling several addresses of one peer, as RFC 8305 does: one after the other, without waiting for the one before,
//! and the first that answers wins.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

/// Runs `attempts` in their order, each [`STAGGER`] after the one before or as soon as one fails, and keeps the first
/// success; the others are dropped. With no success: every failure, in the order in which they came.
pub(crate) async fn first<T, E>(
    attempts: Vec<impl Future<Output = Result<T, E>> + Send + 'static>,
) -> Result<T, Vec<E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let mut waiting = attempts.into_iter();
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    let mut next = waiting.next();
    loop {
        if let Some(attempt) = next.take() {
            running.spawn(attempt);
        }
        tokio::select! {
            biased;
            ended = running.join_next() => match ended {
                None => return Err(failures),
                Some(Ok(Ok(won))) => return Ok(won),
                Some(Ok(Err(failure))) => failures.push(failure),
                Some(Err(broken)) => tracing::error!(error = %broken, "a dial broke"),
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
        next = waiting.next();
    }
}

/// RFC 8305 5, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_no_more_than_the_stagger() {
        let start = Instant::now();
        let won = first(vec![attempt(60_000, Err("silent")), attempt(20, Ok("second"))]).await;

        assert_eq!(won, Ok("second"));
        assert_eq!(start.elapsed(), Duration::from_millis(270));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_the_next_is_tried_at_once() {
        let start = Instant::now();
        let won = first(vec![attempt(10, Err("refused")), attempt(20, Ok("second"))]).await;

        assert_eq!(won, Ok("second"));
        assert_eq!(start.elapsed(), Duration::from_millis(30));
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_answers_every_failure_is_told() {
        let lost = first(vec![attempt(400, Err("slow")), attempt(10, Err("quick"))]).await;

        assert_eq!(lost, Err(vec!["quick", "slow"]));
        assert_eq!(first::<(), ()>(Vec::<Attempt<(), ()>>::new()).await, Err(vec![]));
    }

    type Attempt<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

    fn attempt(after: u64, ends: Result<&'static str, &'static str>) -> Attempt<&'static str, &'static str> {
        Box::pin(async move {
            sleep(Duration::from_millis(after)).await;
            ends
        })
    }
}
