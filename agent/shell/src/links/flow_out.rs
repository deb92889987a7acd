//! What leaves on one link: queued by class above quinn, whose own buffer drops the oldest of any class.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::mesh::queue::{ClassQueue, QueueDrops};
use protocol::frame::Class;
use protocol::limits::MESH_FRAME_BYTES;
use protocol::time::Boot;
use quinn::Connection;

/// The queue of one link, and the connection it empties into.
#[derive(Clone, Debug)]
pub(super) struct Outflow {
    connection: Connection,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: ClassQueue,
    /// Whether a task waits for room to send what is queued.
    draining: bool,
}

impl Outflow {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            queue: Arc::default(),
        }
    }

    /// Queues a frame and sends what there is room for. When some is left, the future that is returned sends it as
    /// room comes; it is for a task, and there is never more than one.
    pub(super) fn send(
        &self,
        class: Class,
        frame: Vec<u8>,
        now: Boot,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut queue = self.queue();
        if queue.frames.push(class, frame, now).is_err() || queue.draining {
            return None;
        }
        while self.connection.datagram_send_buffer_space() >= MESH_FRAME_BYTES
            && let Some((_, frame)) = queue.frames.pop(now)
        {
            // Only a connection that has ended refuses a frame of this size, and its end is told elsewhere.
            let _ = self.connection.send_datagram(frame.into());
        }
        queue.draining = !queue.frames.is_empty();

        queue.draining.then(|| self.clone().drain(now))
    }

    pub(super) fn drops(&self) -> QueueDrops {
        self.queue().frames.drops()
    }

    /// Sends until the queue is empty or the connection has ended. Frames that come meanwhile are queued before their
    /// turn, so the order of classes holds but for the one frame that waits for room.
    async fn drain(self, began: Boot) {
        let start = tokio::time::Instant::now();
        loop {
            let next = {
                let mut queue = self.queue();
                let next = queue.frames.pop(began.after(start.elapsed()));
                queue.draining = next.is_some();
                next
            };
            let Some((_, frame)) = next else {
                return;
            };
            if self.connection.send_datagram_wait(frame.into()).await.is_err() {
                return;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
