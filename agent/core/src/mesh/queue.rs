//! What waits for one link, above quinn: in class order, bounded, with stale telemetry dropped first.
//!
//! Quinn drops the oldest datagram of any class when its own buffer is full. So the shell keeps that buffer small and
//! takes from here only when it has room.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::frame::Class;
use protocol::time::Boot;

/// Frames that wait for one link.
#[derive(Debug, Default)]
pub struct ClassQueue {
    /// In the order of [`CARRIED`].
    waiting: [VecDeque<Waiting>; CARRIED.len()],
    drops: QueueDrops,
}

#[derive(Debug)]
struct Waiting {
    since: Boot,
    frame: Vec<u8>,
}

/// Frames that never reached the link, since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDrops {
    /// `fabric_control` and `route_control` frames refused because their queue was full.
    pub control_refused: u64,
    /// `synthetic` frames refused because their queue was full.
    pub synthetic_refused: u64,
    /// `telemetry` frames that gave way to newer ones or waited for longer than [`STALE`].
    pub telemetry_dropped: u64,
}

/// The class's queue is full, or nothing carries the class; the frame is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for a frame of class {}", class.name())]
pub struct NoRoom {
    pub class: Class,
}

impl ClassQueue {
    /// Adds a frame at the end of its class. A full `telemetry` queue drops its oldest, any other refuses.
    pub fn push(&mut self, class: Class, frame: Vec<u8>, now: Boot) -> Result<(), NoRoom> {
        self.drop_stale(now);
        let place = place(class).ok_or(NoRoom { class })?;
        let full = self.waiting[place].len() >= BOUNDS[place];
        if full && class != Class::Telemetry {
            match class {
                Class::FabricControl | Class::RouteControl => self.drops.control_refused += 1,
                Class::Synthetic | Class::Telemetry | Class::Payload => self.drops.synthetic_refused += 1,
            }
            return Err(NoRoom { class });
        }
        if full {
            self.waiting[place].pop_front();
            self.drops.telemetry_dropped += 1;
        }
        self.waiting[place].push_back(Waiting { since: now, frame });

        Ok(())
    }

    /// The frame that goes next: the oldest of the first class that has one.
    pub fn pop(&mut self, now: Boot) -> Option<(Class, Vec<u8>)> {
        self.drop_stale(now);
        CARRIED
            .into_iter()
            .zip(&mut self.waiting)
            .find_map(|(class, queue)| queue.pop_front().map(|waiting| (class, waiting.frame)))
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Frames waiting.
    pub fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    pub fn drops(&self) -> QueueDrops {
        self.drops
    }

    fn drop_stale(&mut self, now: Boot) {
        let telemetry = &mut self.waiting[TELEMETRY];
        while telemetry
            .front()
            .is_some_and(|waiting| now.since(waiting.since) > STALE)
        {
            telemetry.pop_front();
            self.drops.telemetry_dropped += 1;
        }
    }
}

fn place(class: Class) -> Option<usize> {
    CARRIED.into_iter().position(|carried| carried == class)
}

/// The classes that are carried, first to go first.
const CARRIED: [Class; 4] = [
    Class::FabricControl,
    Class::RouteControl,
    Class::Synthetic,
    Class::Telemetry,
];

/// Frames that may wait, by class: a second of probes of 64 routes at their fastest, and of a busy flow; together
/// below 1 MiB, the window of a mesh connection.
const BOUNDS: [usize; CARRIED.len()] = [64, 256, 512, 64];

const TELEMETRY: usize = 3;

/// Telemetry older than this tells nothing that newer telemetry does not.
pub const STALE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_leave_in_class_order_and_in_order_within_a_class() {
        let mut queue = ClassQueue::default();
        for (class, frame) in [
            (Class::Telemetry, 1),
            (Class::Synthetic, 2),
            (Class::RouteControl, 3),
            (Class::Synthetic, 4),
            (Class::FabricControl, 5),
        ] {
            queue.push(class, vec![frame], Boot(0)).unwrap();
        }

        assert_eq!(drain(&mut queue, Boot(0)), [5, 3, 2, 4, 1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn stale_telemetry_is_dropped_and_nothing_else_is() {
        let mut queue = ClassQueue::default();
        queue.push(Class::Telemetry, vec![1], Boot(0)).unwrap();
        queue.push(Class::Synthetic, vec![2], Boot(0)).unwrap();
        queue.push(Class::Telemetry, vec![3], Boot(1)).unwrap();

        assert_eq!(drain(&mut queue, Boot(1_001)), [2, 3]);
        assert_eq!(queue.drops().telemetry_dropped, 1);
    }

    #[test]
    fn a_full_control_queue_refuses_and_counts() {
        let mut queue = ClassQueue::default();
        for _ in 0..BOUNDS[1] {
            queue.push(Class::RouteControl, vec![1], Boot(0)).unwrap();
        }

        let class = Class::RouteControl;
        assert_eq!(queue.push(class, vec![2], Boot(0)), Err(NoRoom { class }));
        assert_eq!(queue.drops().control_refused, 1);
        assert_eq!(queue.len(), BOUNDS[1]);
        assert!(queue.push(Class::FabricControl, vec![3], Boot(0)).is_ok());
    }

    #[test]
    fn a_full_telemetry_queue_keeps_the_newest() {
        let mut queue = ClassQueue::default();
        for number in 0..=BOUNDS[TELEMETRY] {
            queue.push(Class::Telemetry, vec![number as u8], Boot(0)).unwrap();
        }

        assert_eq!(drain(&mut queue, Boot(0))[0], 1);
        assert_eq!(queue.drops().telemetry_dropped, 1);
    }

    #[test]
    fn nothing_queues_payload() {
        let class = Class::Payload;
        let mut queue = ClassQueue::default();

        assert_eq!(queue.push(class, vec![1], Boot(0)), Err(NoRoom { class }));
        assert!(queue.is_empty());
    }

    proptest! {
        /// What comes out is what a list sorted by class, stably, would give.
        #[test]
        fn behaves_like_a_stable_sort(classes in prop::collection::vec(0_usize..3, 0..200)) {
            let mut queue = ClassQueue::default();
            let mut model = Vec::new();
            for (number, class) in classes.into_iter().enumerate() {
                if queue.push(CARRIED[class], vec![number as u8], Boot(0)).is_ok() {
                    model.push((class, number as u8));
                }
            }
            model.sort_by_key(|(class, _)| *class);

            let expected: Vec<_> = model.into_iter().map(|(_, number)| number).collect();
            prop_assert_eq!(drain(&mut queue, Boot(0)), expected);
        }
    }

    fn drain(queue: &mut ClassQueue, now: Boot) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop(now))
            .map(|(_, frame)| frame[0])
            .collect()
    }
}
