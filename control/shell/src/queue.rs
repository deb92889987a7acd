//! What waits for the writer: a queue for each kind of caller, so that nobody crowds out whom the fleet rests on.
//!
//! The controller's own work comes first, then operators and nodes, then whoever knocks at the join door: of those a
//! group takes a few at most, however many there are.

use control_api::failure::Failure;
use control_api::request::{Caller, Reply, Request};
use protocol::error::Code;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

/// Where every thread hands in what is to be written.
#[derive(Clone, Debug)]
pub struct Door {
    lanes: [mpsc::Sender<Job>; LANES.len()],
}

impl Door {
    /// Hands in a request and waits for the commit that answers it. A full queue is an answer, not a wait.
    pub async fn call(&self, caller: Caller, request: Request) -> Result<Reply, Failure> {
        let (reply, answer) = oneshot::channel();
        let lane = lane_of(&caller);
        let job = Job {
            caller,
            request,
            reply,
        };
        self.lanes[lane].try_send(job).map_err(|_| {
            metrics::counter!("gabion_controller_queue_full_total", "queue" => LANES[lane].name).increment(1);
            Failure::new(
                Code::Unavailable,
                "the controller has more requests than it can take",
            )
        })?;

        answer
            .await
            .map_err(|_| Failure::new(Code::Unavailable, "the controller is stopping"))?
    }
}

/// A request on its way to the writer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Result<Reply, Failure>>,
}

/// What came through a door, as the writer takes it.
#[derive(Debug)]
pub struct Waiting {
    lanes: [mpsc::Receiver<Job>; LANES.len()],
}

/// A door and what comes through it.
pub fn door() -> (Door, Waiting) {
    let (own, own_waiting) = mpsc::channel(LANES[OWN].waiting);
    let (known, known_waiting) = mpsc::channel(LANES[KNOWN].waiting);
    let (strange, strange_waiting) = mpsc::channel(LANES[STRANGE].waiting);

    (
        Door {
            lanes: [own, known, strange],
        },
        Waiting {
            lanes: [own_waiting, known_waiting, strange_waiting],
        },
    )
}

impl Waiting {
    /// Waits for the next request; none once every door is dropped.
    pub(crate) async fn next(&mut self) -> Option<Job> {
        let [own, known, strange] = &mut self.lanes;
        tokio::select! {
            biased;
            job = own.recv() => job,
            job = known.recv() => job,
            job = strange.recv() => job,
        }
    }

    /// Takes what else is there into a group that has `first`.
    pub(crate) fn group(&mut self, first: Option<Job>) -> Vec<Job> {
        let mut taken = [0; LANES.len()];
        let mut jobs = Vec::new();
        if let Some(job) = first {
            taken[lane_of(&job.caller)] += 1;
            jobs.push(job);
        }
        for (lane, waiting) in self.lanes.iter_mut().enumerate() {
            while taken[lane] < LANES[lane].of_group {
                match waiting.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                taken[lane] += 1;
            }
        }

        jobs
    }
}

/// What the queues are called.
pub(crate) fn names() -> [&'static str; LANES.len()] {
    LANES.map(|lane| lane.name)
}

const fn lane_of(caller: &Caller) -> usize {
    match caller {
        Caller::Controller => OWN,
        Caller::Node(_) | Caller::Local { .. } => KNOWN,
        Caller::Joiner(_) => STRANGE,
    }
}

/// One kind of caller.
#[derive(Clone, Copy)]
struct Lane {
    name: &'static str,
    /// Requests that may wait.
    waiting: usize,
    /// Requests that one group takes.
    of_group: usize,
}

const OWN: usize = 0;
const KNOWN: usize = 1;
const STRANGE: usize = 2;
/// At 10,000 commits a second, what may wait is done within half a second.
const LANES: [Lane; 3] = [
    Lane {
        name: "own",
        waiting: 1_024,
        of_group: 256,
    },
    Lane {
        name: "known",
        waiting: 4_096,
        of_group: 512,
    },
    Lane {
        name: "strangers",
        waiting: 512,
        of_group: 64,
    },
];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use control_core::join::JoinCaller;
    use protocol::id::ClusterId;

    use super::*;

    #[test]
    fn a_crowd_at_the_join_door_holds_up_neither_the_controller_nor_an_operator() {
        let (door, mut waiting) = door();
        let mut calls: Vec<_> = (0..2 * LANES[STRANGE].waiting)
            .map(|_| Box::pin(door.call(stranger(), Request::Tick)))
            .collect();
        let over = calls.iter_mut().map(|call| is_over(call.as_mut()));
        let refused = over.filter(|over| *over).count();
        assert_eq!(
            refused, LANES[STRANGE].waiting,
            "the others are told to come again"
        );
        let mut operator = pin!(door.call(
            Caller::Local {
                operator: None,
                uid: None
            },
            Request::Tick
        ));
        let mut own = pin!(door.call(Caller::Controller, Request::Tick));
        assert!(!is_over(operator.as_mut()) && !is_over(own.as_mut()), "they wait");
        let group = waiting.group(None);

        assert!(matches!(group[0].caller, Caller::Controller));
        assert!(matches!(group[1].caller, Caller::Local { .. }));
        assert_eq!(group.len(), 2 + LANES[STRANGE].of_group);
    }

    fn stranger() -> Caller {
        Caller::Joiner(JoinCaller {
            cluster: ClusterId::from_bytes([1; 16]),
            exported: [0; 32],
            source: SocketAddr::from(([192, 0, 2, 1], 4_000)),
        })
    }

    fn is_over(call: Pin<&mut impl Future>) -> bool {
        call.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}
