//! How much a run may do at once where the address space is limited (`ulimit -v`, batch systems): every thread reserves some, and a reservation
//! that fails ends the process without a word.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::exit::Exit;
use super::failure::Failure;
use super::text::bytes;

/// What a run with one transfer at a time needs, in bytes; measured, with some room.
const LEAST: u64 = 700 << 20;
/// What several need, in bytes: below it the allocator's reservations leave too little for their threads.
const SEVERAL: u64 = 1400 << 20;
/// What each of several reserves, in bytes: its threads, its buffers and its connection.
const EACH: u64 = 100 << 20;

/// Threads for blocking work below [`SEVERAL`].
const FEW_THREADS: usize = 6;
/// A limit that is larger changes nothing.
const COUNTS: u64 = 64 << 30;
/// The setting of our allocator.
const NO_ARENAS: &str = "MIMALLOC_DISALLOW_ARENA_ALLOC";
/// The setting of the C library's, which reserves 128 MiB for each thread that asks it for anything.
const ONE_ARENA: &str = "MALLOC_ARENA_MAX";

/// The bounds of a run in a limited address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Transfers at once.
    pub jobs: usize,
    /// All buffers, in bytes.
    pub max_memory: u64,
}

/// The limit of this process, in bytes.
pub(crate) fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

/// How many threads for blocking work there may be, of so many.
pub(crate) fn threads(most: usize) -> usize {
    match limit() {
        Some(limit) if limit < SEVERAL => most.min(FEW_THREADS),
        _ => most,
    }
}

/// Keeps the allocators from reserving large arenas in advance: their settings are read before the program begins, so that the process replaces
/// itself once. Where it cannot, it goes on as it is.
pub(crate) fn fit_allocator(words: &[OsString]) {
    let is_small = limit().is_some_and(|limit| limit < COUNTS);
    if !is_small || std::env::var_os(NO_ARENAS).is_some() {
        return;
    }
    if let (Ok(program), [name, rest @ ..]) = (std::env::current_exe(), words) {
        // Comes back only when it failed.
        let _ = Command::new(program).arg0(name).args(rest).env(NO_ARENAS, "1").env(ONE_ARENA, "1").exec();
    }
}

/// The bounds within a limit; `None` where there is none that counts. An error where nothing could be done.
pub(crate) fn bounds(limit: Option<u64>) -> Result<Option<Bounds>, Failure> {
    let Some(limit) = limit.filter(|limit| *limit < COUNTS) else { return Ok(None) };
    if limit < LEAST {
        let message = format!("the address space is limited to {}, and lsync needs {}", bytes(limit), bytes(LEAST));
        return Err(
            Failure::new(Exit::Failed, message).hint("raise the limit (ulimit -v), or ask the batch system for more virtual memory")
        );
    }
    let jobs = usize::try_from(limit.saturating_sub(SEVERAL) / EACH).unwrap_or(usize::MAX).max(1);
    Ok(Some(Bounds { jobs, max_memory: limit / 16 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_done_at_once_in_a_small_address_space() {
        let check = |mebibytes: u64, jobs: usize| assert_eq!(bounds(Some(mebibytes << 20)).unwrap().unwrap().jobs, jobs, "{mebibytes}");
        check(700, 1);
        check(1024, 1);
        check(2000, 6);
        check(4096, 26);
        assert_eq!(bounds(None), Ok(None));
        assert_eq!(bounds(Some(1 << 40)), Ok(None));
        let failure = bounds(Some(512 << 20)).unwrap_err();
        assert_eq!(failure.message, "the address space is limited to 512.0 MiB, and lsync needs 700.0 MiB");
    }
}
