//! Hashes complete buffers: what several threads bring at the same time goes side by side through the lanes of one of them. Has no thread
//! of its own, and lets no buffer wait for another to come.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pace::Buffer;
use crate::digest::{Lanes, Md5, digest_one};

/// Smaller buffers are hashed at once by the thread that has them: handing them over and back costs as much as lanes save.
const ALONE_BYTES: usize = 64 << 10;

/// Where the threads of a run hash. The first that comes leads: it hashes its own buffer and those that come meanwhile. When its own is
/// done, one of those that wait leads on, so that nobody works for others longer than others work for it.
#[derive(Default)]
pub(super) struct Hashing(Mutex<Desk>);

#[derive(Default)]
struct Desk {
    /// Somebody leads, and will look at what waits.
    led: bool,
    waiting: VecDeque<Job>,
}

/// A buffer whose thread waits for its digest.
struct Job {
    buffer: Buffer,
    tell: Sender<Word>,
}

/// What a waiting thread is told.
enum Word {
    Done(Buffer, Md5),
    /// Its own buffer is in the lanes, or waits for one.
    Lead(Box<Lanes<Job>>),
}

impl AsRef<[u8]> for Job {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.vec
    }
}

impl Hashing {
    /// The MD5 of a complete buffer, and the buffer. Blocks.
    pub(super) fn digest(&self, buffer: Buffer) -> (Buffer, Md5) {
        if buffer.vec.len() < ALONE_BYTES {
            let md5 = digest_one(&buffer.vec);
            return (buffer, md5);
        }
        let (tell, told) = channel();
        let led = {
            let mut desk = self.desk();
            desk.waiting.push_back(Job { buffer, tell });
            mem::replace(&mut desk.led, true)
        };
        if !led {
            return self.lead(Box::default(), &told);
        }
        match told.recv().expect("who leads does not panic") {
            Word::Done(buffer, md5) => (buffer, md5),
            Word::Lead(lanes) => self.lead(lanes, &told),
        }
    }

    /// Hashes for all until the thread's own buffer is done.
    fn lead(&self, mut lanes: Box<Lanes<Job>>, told: &Receiver<Word>) -> (Buffer, Md5) {
        let _leading = Leading(self);
        loop {
            let mut desk = self.desk();
            while lanes.has_room()
                && let Some(job) = desk.waiting.pop_front()
            {
                lanes.put(job);
            }
            drop(desk);
            for (Job { buffer, tell }, md5) in lanes.step() {
                tell.send(Word::Done(buffer, md5)).expect("its thread waits");
            }
            if let Ok(Word::Done(buffer, md5)) = told.try_recv() {
                self.leave(lanes);
                return (buffer, md5);
            }
        }
    }

    /// Lets the next one lead: whose buffer is on its way for longest, else who waits for longest.
    fn leave(&self, lanes: Box<Lanes<Job>>) {
        let mut desk = self.desk();
        match lanes.first().or(desk.waiting.front()).map(|job| job.tell.clone()) {
            Some(next) => next.send(Word::Lead(lanes)).expect("its thread waits"),
            None => desk.led = false,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that nobody waits for a thread that has panicked.
struct Leading<'a>(&'a Hashing);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.desk() = Desk::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::engine::Stop;
    use crate::engine::pace::Pace;

    fn buffer(pace: &Pace, len: usize, byte: u8) -> Buffer {
        let mut buffer = pace.buffer(len as u64);
        buffer.vec.clear();
        buffer.vec.resize(len, byte);
        buffer
    }

    fn pace() -> Pace {
        Pace::new(8, 64 << 20, None, Stop::default())
    }

    /// Puts a buffer there as a thread does that finds another one leading.
    fn waits(hashing: &Hashing, buffer: Buffer) -> Receiver<Word> {
        let (tell, told) = channel();
        hashing.desk().waiting.push_back(Job { buffer, tell });
        told
    }

    #[test]
    fn whatever_many_threads_bring_at_once_each_gets_its_own_back() {
        let (hashing, pace) = (Hashing::default(), pace());
        thread::scope(|scope| {
            for number in 0..20_u8 {
                let (hashing, pace) = (&hashing, &pace);
                scope.spawn(move || {
                    for round in 0..10 {
                        let len = [0, 4096, ALONE_BYTES - 1, ALONE_BYTES, 300_001, 1 << 20][(usize::from(number) + round) % 6];
                        let brought = buffer(pace, len, number);
                        let (content, expected) = (brought.vec.clone(), digest_one(&brought.vec));
                        let (back, md5) = hashing.digest(brought);
                        assert!(back.vec == content && md5 == expected, "{len} bytes of thread {number}");
                    }
                });
            }
        });
        assert!(!hashing.desk().led && hashing.desk().waiting.is_empty());
    }

    #[test]
    fn a_small_buffer_does_not_wait_for_a_large_one_and_who_is_done_goes() {
        let (hashing, pace) = (Hashing::default(), pace());
        let large = waits(&hashing, buffer(&pace, 3 << 20, 1));
        let small = waits(&hashing, buffer(&pace, ALONE_BYTES, 2));
        let own = buffer(&pace, 1 << 20, 3);
        let expected = digest_one(&own.vec);
        assert_eq!(hashing.digest(own).1, expected);
        let expected = digest_one(&buffer(&pace, ALONE_BYTES, 2).vec);
        assert!(matches!(small.try_recv(), Ok(Word::Done(_, md5)) if md5 == expected));
        let Ok(Word::Lead(lanes)) = large.try_recv() else { panic!("the one that is left leads on") };
        // Further ones find somebody leading, and go through the same lanes.
        let late = waits(&hashing, buffer(&pace, ALONE_BYTES, 4));
        assert!(hashing.desk().led);
        assert_eq!(hashing.lead(lanes, &large).1, digest_one(&buffer(&pace, 3 << 20, 1).vec));
        assert!(matches!(late.try_recv(), Ok(Word::Done(..))));
        assert!(!hashing.desk().led);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_panicked() {
        let (hashing, pace) = (Hashing::default(), pace());
        hashing.desk().led = true;
        let left = waits(&hashing, buffer(&pace, ALONE_BYTES, 1));
        thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _leading = Leading(&hashing);
                panic!("as a bug would");
            });
            assert!(panicked.join().is_err());
        });
        assert!(left.recv().is_err(), "its thread hears of it");
        let after = buffer(&pace, ALONE_BYTES, 2);
        let expected = digest_one(&after.vec);
        assert_eq!(hashing.digest(after).1, expected);
    }
}
