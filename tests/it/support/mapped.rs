//! A file that is written through a shared mapping, as `np.memmap`, LMDB and HDF5 do. No safe interface offers that.
#![expect(unsafe_code, reason = "a mapping has no safe interface; nothing here outlives it")]

use std::ffi::c_void;
use std::fs::OpenOptions;
use std::path::Path;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared, writable mapping of a whole file, whose descriptor is closed.
pub(crate) struct Mapped {
    start: *mut c_void,
    len: usize,
}

impl Mapped {
    /// Maps a file that is not empty.
    pub(crate) fn open(path: &Path) -> Mapped {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file opens");
        let len = usize::try_from(file.metadata().expect("it has a length").len()).expect("it fits");
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses the place, so no other memory of this process is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, flags, &file, 0) }.expect("the file can be mapped");
        Mapped { start, len }
    }

    /// Stores bytes at the beginning, as a plain write to memory.
    pub(crate) fn store(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len);
        // SAFETY: the mapping has at least so many bytes, is writable, and lives as long as `self`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.cast(), bytes.len()) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `open` made, and nothing else points into it.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}
