//! Asks the kernel whether any program can write to an open file: it grants a read lease only while none has the file open for writing,
//! not even through a mapping whose descriptor is closed. The one place with `unsafe` code, because no safe interface has this call.
#![expect(unsafe_code, reason = "fcntl(F_SETLEASE) has no safe interface; the call takes and returns integers only")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// What the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// No program can write to the file.
    Granted,
    /// Some program can.
    Refused,
    /// Not told: another user's file, a file system without leases, or leases are switched off.
    Unavailable,
}

/// Which signal a descriptor's owner is sent; not in libc.
const F_SETSIG: libc::c_int = 10;

/// Takes a read lease on a file that is open for reading, and gives it back at once: whoever opens the file for writing meanwhile waits
/// for these few microseconds.
pub(super) fn ask(file: &File) -> Lease {
    // Who holds a lease is sent a signal when somebody else wants to write. The one that is sent by default ends the process; this one
    // is ignored by default.
    if fcntl(file, F_SETSIG, libc::SIGURG) != 0 {
        return Lease::Unavailable;
    }
    if fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        // It cannot fail for a lease that is held; closing the file ends it too.
        fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
        return Lease::Granted;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Lease::Refused,
        _ => Lease::Unavailable,
    }
}

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> libc::c_int {
    // SAFETY: the descriptor is open while `file` is borrowed, and these commands take an integer, so no memory is read or written.
    unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The signal that a lease sends by default would end this process.
    #[test]
    fn a_program_that_opens_the_file_meanwhile_neither_fails_nor_ends_this_one() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let (reader, done) = (File::open(temp.path()).unwrap(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    OpenOptions::new().write(true).open(temp.path()).unwrap();
                }
            });
            for _ in 0..20_000 {
                ask(&reader);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
