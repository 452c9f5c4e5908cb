//! Large buffers that are used again, so that a long run neither grows nor keeps asking the system for fresh pages.

use std::sync::{Arc, Mutex, PoisonError};

/// Smaller ones are not worth keeping.
const WORTH_KEEPING: usize = 1 << 20;

/// The buffers that are free now. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back to where it came from when dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// A buffer that holds `len` bytes without growing. Its content is arbitrary and its length at most `len`.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let mut bytes = if len < WORTH_KEEPING { None } else { self.lock().pop() }.unwrap_or_default();
        if bytes.capacity() < len {
            bytes = Vec::with_capacity(len); // the smaller one goes, so that what is kept never outgrows what was in flight
        }
        bytes.truncate(len);
        Buffer { bytes, home: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// The bytes, to be filled.
    pub(super) fn fill(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.capacity() >= WORTH_KEEPING {
            self.home.lock().push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_and_a_small_one_is_not_kept() {
        let buffers = Buffers::default();
        let mut first = buffers.take(2 << 20);
        first.fill().resize(2 << 20, 7);
        let at = first.as_ref().as_ptr();
        drop(first);
        let again = buffers.take(1 << 20);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (at, 1 << 20));
        drop(again);
        drop(buffers.take(10));
        assert_eq!(buffers.lock().len(), 1);
        drop(buffers.take(4 << 20));
        assert_eq!(buffers.lock().iter().map(Vec::capacity).collect::<Vec<_>>(), [4 << 20]);
    }
}
