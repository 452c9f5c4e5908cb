//! The lock: one run at a time per mount. A file with an owner record in `.lsync/` that only one can create. It keeps runs from wasting
//! each other's work; what keeps files safe are the guards of every single change.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::beneath::Dir;
use super::elsewhere::{Place, takes_nothing};
use super::internal::{self, PRIVATE_FILE, Probe};
use super::lock_beside;
use super::mount::{LocalError, Mount, Stamp};
pub use super::owner::{Life, Owner, clock_text, host_name, now};
use super::ticker::Ticker;
use crate::entry::Nanos;

const NAME: &str = "lock";
/// How the names of locks begin that are being written.
const NEW: &str = "lock-new-";
/// How the names of stale locks begin that are being removed.
const ASIDE: &str = "lock-stale-";
/// How often a run looks whether it still has the lock, and how many looks make a heartbeat: a minute.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS: u32 = 12;
/// Without a heartbeat for this long, by the mount's clock, an owner of another host counts as dead: 5 minutes.
pub(super) const SILENT: Nanos = 300 * 1_000_000_000;
/// How long a lock without a readable record is looked at again: its owner may be about to write it.
const TORN: Duration = Duration::from_millis(200);

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it: exit 11.
    #[error("another run holds the lock: {0}")]
    Held(Box<Holder>),
    /// Another run replaced the lock of this one: exit 11.
    #[error(
        "another run took over this run's lock: it was started with --take-over, or this machine slept or lost the filesystem for more than 5 minutes"
    )]
    Lost,
    /// The system said no.
    #[error(transparent)]
    Failed(#[from] LocalError),
}

/// Who has the lock.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Its record. The host is `unknown` when that cannot be read.
    pub owner: Owner,
    /// Nanoseconds since it was last heard of, where it cannot be seen from here.
    pub silent_for: Option<Nanos>,
}

impl Holder {
    pub(crate) fn new(owner: Owner, age: Nanos) -> Holder {
        let silent_for = (owner.life() == Life::Elsewhere).then_some(age.max(0));
        Holder { owner, silent_for }
    }

    /// Nanoseconds until its lock is free if it is never heard of again; `None` where it can be seen.
    #[must_use]
    pub fn free_in(&self) -> Option<Nanos> {
        self.silent_for.map(|age| SILENT.saturating_sub(age).max(0))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Owner { pid, host, since, .. } = &self.owner;
        write!(f, "process {pid} on {host} since {}", clock_text(*since))?;
        match self.silent_for {
            Some(age) => write!(f, ", last seen {} s ago", age / 1_000_000_000),
            None => Ok(()),
        }
    }
}

/// What a run that wants the lock may do about one that it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// It takes what nobody holds any more.
    #[default]
    Free,
    /// It also takes the lock of a run that cannot be seen from here, because the user says that this one is gone.
    TakeOver,
}

/// Whether a lock is taken from its holder: from one that lives on this host never. `left`: it is certainly dead.
#[must_use]
pub fn may_take(life: Life, silent: bool, left: bool, claim: Claim) -> bool {
    match life {
        Life::Own | Life::Alive => false,
        Life::Dead | Life::Elsewhere => silent || left || claim == Claim::TakeOver,
    }
}

/// The lock, held until dropped (dropping removes the file).
#[derive(Debug)]
pub struct Lock {
    owner: Owner,
    guard: Guard,
    lost: Arc<OnceLock<Told>>,
    /// Held while state is not kept in `.lsync/`.
    _alone: Option<Dir>,
    _heartbeat: Option<Ticker>,
}

/// What is called when the lock was taken away.
struct Told(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

/// Tells whether a run still has its lock. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where the file is; `None` where no place takes one.
    dir: Option<Arc<Dir>>,
    /// Device-independent identity of our file, so that a lock that replaced ours is never removed.
    inode: u64,
    /// Whose record it has: file systems give inode numbers again.
    operation: Arc<str>,
}

impl Guard {
    /// False when the lock was taken away.
    pub fn still_held(&self) -> Result<bool, LocalError> {
        let Some(dir) = &self.dir else { return Ok(true) };
        let look = || -> io::Result<bool> {
            if dir.status(NAME)?.is_none_or(|status| status.stamp.inode != self.inode) {
                return Ok(false);
            }
            let record = internal::read(dir, NAME)?.and_then(|bytes| Owner::decode(&bytes));
            Ok(record.is_some_and(|owner| *owner.operation == *self.operation))
        };
        look().map_err(LocalError::at("cannot look at", ".lsync/lock"))
    }
}

impl Lock {
    /// Takes the lock for a run. A holder that is dead on this host is replaced at once; one of another host, or of one that might be
    /// another, after 5 minutes without a heartbeat, or by [`Claim::TakeOver`]. While held, a thread refreshes the heartbeat (the file's
    /// mtime) every minute, and looks every 5 seconds whether the lock is still this run's.
    pub fn take(mount: &Mount, operation: &str, claim: Claim) -> Result<Lock, LockError> {
        let mut lock = match mount.place() {
            Place::Memory => {
                let guard = Guard { dir: None, inode: 0, operation: operation.into() };
                Lock { owner: Owner::this(operation), guard, lost: Arc::default(), _alone: None, _heartbeat: None }
            }
            Place::Here | Place::Elsewhere => Lock::take_in_place(mount, operation, claim)?,
        };
        // Both have their own lock before they look at the other's: one of them sees it.
        if let Some(holder) = lock_beside::holder(mount, NAME, operation, claim)? {
            return Err(LockError::Held(Box::new(holder)));
        }
        if mount.place() != Place::Here {
            lock._alone = lock_beside::alone(mount).map_err(|_| LockError::Held(Box::new(Holder::new(unknown(now()), 0))))?;
        }
        Ok(lock)
    }

    fn take_in_place(mount: &Mount, operation: &str, claim: Claim) -> Result<Lock, LockError> {
        let failed = || LocalError::at("cannot take the lock", ".lsync/lock");
        let dir = mount.make_internal("")?;
        let owner = Owner::this(operation);
        let begun = Instant::now();
        let file = loop {
            match create(&dir, &owner) {
                Ok(file) => break file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed()(e).into()),
            }
            let Some(found) = Found::look(&dir).map_err(failed())? else { continue };
            match found.judge(&dir, claim).map_err(failed())? {
                Verdict::Stale => found.remove(&dir, operation).map_err(failed())?,
                Verdict::Held(holder) => return Err(LockError::Held(holder)),
                Verdict::Torn if begun.elapsed() >= TORN && claim == Claim::TakeOver => found.remove(&dir, operation).map_err(failed())?,
                Verdict::Torn if begun.elapsed() >= TORN => {
                    let age = found.age(&dir).map_err(failed())?;
                    return Err(LockError::Held(Box::new(Holder::new(found.unknown(), age))));
                }
                Verdict::Torn => thread::sleep(TORN / 10),
            }
        };
        clear_up(&dir).map_err(failed())?;
        let inode = file.metadata().map(|metadata| Stamp::of(&metadata).inode).map_err(failed())?;
        let guard = Guard { dir: Some(Arc::new(dir)), inode, operation: operation.into() };
        let lost: Arc<OnceLock<Told>> = Arc::default();
        let (watched, tell, mut looks) = (guard.clone(), Arc::clone(&lost), 0);
        let look = move || {
            looks = (looks + 1) % LOOKS;
            // A look or a heartbeat that fails is missed: the next one may work, and the file's mtime tells how long it did not.
            if looks == 0 {
                internal::refresh(&file).unwrap_or(());
            }
            if let (Ok(false), Some(tell)) = (watched.still_held(), tell.get()) {
                tell.0();
            }
        };
        let heartbeat = Ticker::start("lsync-lock", LOOK, look).map_err(failed())?;
        Ok(Lock { owner, guard, lost, _alone: None, _heartbeat: Some(heartbeat) })
    }

    /// Calls this, perhaps several times, soon after the lock was taken away.
    pub fn when_lost(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.lost.set(Told(Box::new(tell)));
    }

    /// Tells whether this run still has the lock.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// True when a run that had the lock died: what it left in `.lsync/` waits for the next one that takes it.
    pub fn is_left_behind(mount: &Mount) -> Result<bool, LocalError> {
        let Some(dir) = mount.open_internal("")? else { return Ok(false) };
        let left = || Found::look(&dir)?.map_or(Ok(false), |found| found.is_left(&dir));
        // Where nothing can be written nothing can be cleared away.
        left().or_else(|e| if takes_nothing(&e) { Ok(false) } else { Err(e) }).map_err(LocalError::at("cannot look at", ".lsync/lock"))
    }

    /// The owner record of this run.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(dir) = self.guard.dir.as_ref().filter(|_| self.guard.still_held().unwrap_or(false)) {
            // If this fails, the next run finds a dead owner.
            let _ = dir.remove_file(NAME);
        }
    }
}

/// Creates the lock with its record in it: a run that dies meanwhile leaves no lock that nobody can read.
fn create(dir: &Dir, owner: &Owner) -> io::Result<File> {
    let temp = format!("{NEW}{}", owner.operation);
    let file = written(dir, &temp, owner)?;
    let linked = match dir.hard_link(&temp, dir, NAME) {
        // Over NFS the answer to a request that was carried out may get lost (open(2), O_EXCL).
        Err(_) if internal::links(dir, &temp).is_ok_and(|names| names == 2) => Ok(()),
        linked => linked,
    };
    let removed = or_gone(dir.remove_file(&temp));
    match linked {
        Ok(()) => removed.map(|()| file),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
        // A file system without hard links, or a new holder took this one for litter.
        Err(_) => written(dir, NAME, owner),
    }
}

fn written(dir: &Dir, name: &str, owner: &Owner) -> io::Result<File> {
    let mut file = dir.create_new(name, PRIVATE_FILE)?;
    let write = file.write_all(&owner.encode()).and_then(|()| file.sync_all()).and_then(|()| internal::refresh(&file));
    // Without its record it would stand in everybody's way for 5 minutes.
    write.inspect_err(|_| drop(dir.remove_file(name)))?;
    Ok(file)
}

/// Removes what runs left that died while they took the lock. The caller holds it.
fn clear_up(dir: &Dir) -> io::Result<()> {
    for name in dir.names()? {
        let Some(name) = name.to_str().filter(|name| name.starts_with(NEW) || name.starts_with(ASIDE)) else { continue };
        let lives = |bytes: Vec<u8>| Owner::decode(&bytes).is_some_and(|owner| owner.life() != Life::Dead);
        if !internal::read(dir, name)?.is_some_and(lives) {
            or_gone(dir.remove_file(name))?;
        }
    }
    Ok(())
}

/// Another may have removed it first.
fn or_gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// A lock file that was there already.
struct Found {
    file: File,
    owner: Option<Owner>,
    stamp: Stamp,
}

enum Verdict {
    Held(Box<Holder>),
    Stale,
    /// No readable record yet.
    Torn,
}

impl Found {
    fn look(dir: &Dir) -> io::Result<Option<Found>> {
        let mut file = match internal::open_to_write(dir, NAME) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let stamp = Stamp::of(&file.metadata()?);
        Ok(Some(Found { owner: Owner::decode(&bytes), file, stamp }))
    }

    fn judge(&self, dir: &Dir, claim: Claim) -> io::Result<Verdict> {
        let age = self.age(dir)?;
        Ok(match &self.owner {
            Some(owner) if may_take(owner.life(), age > SILENT, self.is_left(dir)?, claim) => Verdict::Stale,
            Some(owner) => Verdict::Held(Box::new(Holder::new(owner.clone(), age))),
            None if age > SILENT => Verdict::Stale,
            None => Verdict::Torn,
        })
    }

    /// True when its owner has died, and nobody has to wait to be sure.
    fn is_left(&self, dir: &Dir) -> io::Result<bool> {
        match &self.owner {
            Some(owner) if owner.life() == Life::Dead => Ok(owner.is_surely_dead(self.age(dir)?)),
            _ => Ok(false),
        }
    }

    /// Since the last heartbeat, by the mount's clock.
    fn age(&self, dir: &Dir) -> io::Result<Nanos> {
        Ok(Probe::open(dir)?.now()?.saturating_sub(self.stamp.mtime))
    }

    /// Removes the file, and no other: of several runs that found it stale, the later ones would else remove the first one's new lock.
    fn remove(&self, dir: &Dir, operation: &str) -> io::Result<()> {
        // The first guard: who removes a lock holds flock(2) on it, and looks again under it. Some network file systems lack flock.
        let _ = flock(&self.file, FlockOperation::LockExclusive);
        let same = |stamp: Stamp| (stamp.inode, stamp.mtime, stamp.size) == (self.stamp.inode, self.stamp.mtime, self.stamp.size);
        let ours = |name: &str| Ok::<_, io::Error>(dir.status(name)?.is_some_and(|status| same(status.stamp)));
        if !ours(NAME)? {
            return Ok(());
        }
        // The second guard: it is moved aside, looked at, and put back if it is another one.
        let aside = format!("{ASIDE}{operation}");
        match dir.rename(NAME, dir, &aside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        if !ours(&aside)? {
            // AlreadyExists: a third run has the lock now; the one moved aside finds that it lost it.
            let _ = dir.hard_link(&aside, dir, NAME);
        }
        or_gone(dir.remove_file(&aside))
    }

    fn unknown(&self) -> Owner {
        unknown(self.stamp.mtime)
    }
}

fn unknown(since: Nanos) -> Owner {
    Owner { host: "unknown".into(), boot: String::new(), pid: 0, since, operation: String::new(), started: None, pids: None }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;

    fn mount() -> (tempfile::TempDir, Mount) {
        let temp = tempfile::tempdir().unwrap();
        let mount = Mount::open(temp.path()).unwrap();
        mount.make_internal("").unwrap();
        (temp, mount)
    }

    /// Plants a lock file whose last heartbeat is `seconds` old.
    fn planted(mount: &Mount, record: &[u8], seconds: u64) -> PathBuf {
        let path = mount.root().join(".lsync/lock");
        std::fs::write(&path, record).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        path
    }

    #[track_caller]
    fn replaced(record: &[u8], seconds: u64) {
        let (temp, mount) = mount();
        planted(&mount, record, seconds);
        let lock = Lock::take(&mount, "op", Claim::Free).unwrap();
        assert!(lock.guard().still_held().unwrap());
        drop(lock);
        let mut left: Vec<_> = std::fs::read_dir(temp.path().join(".lsync")).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.retain(|name| name != "clock");
        assert_eq!(left, Vec::<std::ffi::OsString>::new());
    }

    #[track_caller]
    fn held(record: &[u8], seconds: u64, host: &str) {
        let (_temp, mount) = mount();
        let path = planted(&mount, record, seconds);
        match Lock::take(&mount, "op", Claim::Free) {
            Err(LockError::Held(holder)) => assert_eq!(holder.owner.host, host),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(path).unwrap(), record, "it is as it was");
    }

    fn owner() -> Owner {
        Owner::this("other")
    }

    #[test]
    fn a_second_run_is_told_who_holds_the_lock_and_the_lock_goes_with_its_holder() {
        let (temp, mount) = mount();
        let first = Lock::take(&mount, "first", Claim::Free).unwrap();
        let Err(refused) = Lock::take(&mount, "second", Claim::Free) else { panic!("two locks") };
        let pid = std::process::id();
        let since = clock_text(first.owner().since);
        assert_eq!(refused.to_string(), format!("another run holds the lock: process {pid} on {} since {since}", host_name()));
        drop(first);
        assert!(!temp.path().join(".lsync/lock").exists());
        assert_eq!(Lock::take(&mount, "second", Claim::Free).unwrap().owner().operation, "second");
    }

    #[test]
    fn a_lock_is_taken_from_who_is_gone_and_never_from_who_lives_here() {
        let check =
            |life, silent, left, claim, expected: bool| assert_eq!(may_take(life, silent, left, claim), expected, "{life:?} {claim:?}");
        for claim in [Claim::Free, Claim::TakeOver] {
            for life in [Life::Own, Life::Alive] {
                check(life, true, true, claim, false);
            }
            check(Life::Dead, false, true, claim, true);
            check(Life::Dead, true, false, claim, true);
            check(Life::Elsewhere, true, false, claim, true);
        }
        // Perhaps another machine of this name, and one that cannot be seen.
        for life in [Life::Dead, Life::Elsewhere] {
            check(life, false, false, Claim::Free, false);
            check(life, false, false, Claim::TakeOver, true);
        }
    }

    #[test]
    fn a_holder_that_cannot_be_seen_is_told_with_its_age() {
        let other = Owner { host: "gpu-2".into(), pid: 7, since: 1_700_000_000_000_000_000, ..owner() };
        let second = 1_000_000_000;
        let holder = Holder::new(other, 40 * second);
        assert_eq!(holder.to_string(), "process 7 on gpu-2 since 2023-11-14 22:13:20 UTC, last seen 40 s ago");
        assert_eq!(holder.free_in(), Some(260 * second));
        assert_eq!(Holder::new(owner(), 40 * second).free_in(), None);
    }

    #[test]
    fn a_run_hears_that_its_lock_was_taken_over() {
        let (_temp, mount) = mount();
        planted(&mount, &Owner { host: "gpu-2".into(), ..owner() }.encode(), 10);
        assert!(matches!(Lock::take(&mount, "op", Claim::Free), Err(LockError::Held(_))));
        let lock = Lock::take(&mount, "op", Claim::TakeOver).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        lock.when_lost(move || tell.send(()).unwrap_or(()));
        planted(&mount, b"another's", 0);
        std::fs::rename(mount.root().join(".lsync/lock"), mount.root().join(".lsync/aside")).unwrap();
        assert!(!lock.guard().still_held().unwrap());
        told.recv_timeout(Duration::from_secs(120)).unwrap();
    }

    /// File systems give the number of a file that was removed to the next.
    #[test]
    fn the_lock_of_another_run_is_not_taken_for_this_ones_because_of_its_inode() {
        let (_temp, mount) = mount();
        let lock = Lock::take(&mount, "op", Claim::Free).unwrap();
        assert!(lock.guard().still_held().unwrap());
        let path = mount.root().join(".lsync/lock");
        std::fs::write(&path, owner().encode()).unwrap();
        assert!(!lock.guard().still_held().unwrap());
        drop(lock);
        assert!(path.exists(), "it is not ours to remove");
    }

    #[test]
    fn a_dead_holder_of_this_host_is_replaced_at_once() {
        replaced(&Owner { pid: u32::MAX, ..owner() }.encode(), 0);
        replaced(&Owner { started: Some(1), ..owner() }.encode(), 0);
    }

    #[test]
    fn what_an_earlier_boot_of_this_host_left_is_told_from_another_machine_of_its_name() {
        let earlier = Owner { boot: "earlier".into(), ..owner() }.encode();
        let up = super::super::owner::uptime().expect("Linux tells").as_secs();
        replaced(&earlier, up + 100);
        held(&earlier, 0, &host_name());
        held(&earlier, 80, &host_name());
        replaced(&earlier, 310);
        let (_temp, mount) = mount();
        planted(&mount, &earlier, 0);
        assert!(!Lock::is_left_behind(&mount).unwrap());
        planted(&mount, &earlier, up + 100);
        assert!(Lock::is_left_behind(&mount).unwrap());
    }

    #[test]
    fn a_lock_that_is_left_behind_is_told_from_one_that_is_held() {
        let (_temp, mount) = mount();
        assert!(!Lock::is_left_behind(&mount).unwrap(), "there is none");
        planted(&mount, &Owner { pid: u32::MAX, ..owner() }.encode(), 0);
        assert!(Lock::is_left_behind(&mount).unwrap());
        let lock = Lock::take(&mount, "op", Claim::Free).unwrap();
        assert!(!Lock::is_left_behind(&mount).unwrap());
        drop(lock);
        planted(&mount, &Owner { host: "gpu-2".into(), ..owner() }.encode(), 100_000);
        assert!(!Lock::is_left_behind(&mount).unwrap(), "nobody here can tell");
    }

    #[test]
    fn a_holder_of_another_host_is_replaced_after_5_minutes_without_a_heartbeat() {
        let far = Owner { host: "gpu-2".into(), ..owner() }.encode();
        held(&far, 0, "gpu-2");
        held(&far, 290, "gpu-2");
        replaced(&far, 310);
    }

    #[test]
    fn what_died_while_it_took_the_lock_is_in_nobodys_way() {
        let (temp, mount) = mount();
        let own = |name: &str| temp.path().join(".lsync").join(name);
        std::fs::write(own("lock-new-torn"), "{\"host").unwrap();
        std::fs::write(own("lock-new-dead"), Owner { pid: u32::MAX, ..owner() }.encode()).unwrap();
        std::fs::write(own("lock-stale-dead"), Owner { pid: u32::MAX, ..owner() }.encode()).unwrap();
        std::fs::write(own("lock-new-lives"), owner().encode()).unwrap();
        drop(Lock::take(&mount, "op", Claim::Free).unwrap());
        let mut left: Vec<_> = std::fs::read_dir(own("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.retain(|name| name != "clock");
        assert_eq!(left, ["lock-new-lives"]);
    }

    #[test]
    fn a_holder_that_lives_is_never_replaced_however_silent() {
        held(&owner().encode(), 100_000, &host_name());
        held(&Owner { pid: 1, started: None, ..owner() }.encode(), 100_000, &host_name());
    }

    #[test]
    fn a_lock_without_a_readable_record_is_held_for_5_minutes() {
        held(b"", 0, "unknown");
        held(b"{\"host\":\"x", 290, "unknown");
        replaced(b"", 310);
        replaced(b"{\"host\":\"x", 310);
    }

    #[test]
    fn of_many_runs_that_find_a_stale_lock_one_gets_it() {
        let (_temp, mount) = mount();
        for round in 0..20 {
            planted(&mount, &Owner { pid: u32::MAX, ..owner() }.encode(), 0);
            let start = std::sync::Barrier::new(8);
            let locks: Vec<Lock> = thread::scope(|scope| {
                let take = |i: usize| {
                    let (mount, start) = (&mount, &start);
                    scope.spawn(move || {
                        start.wait();
                        Lock::take(mount, &format!("op-{round}-{i}"), Claim::Free).ok()
                    })
                };
                let threads: Vec<_> = (0..8).map(take).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(locks.len(), 1, "round {round}");
            assert!(locks[0].guard().still_held().unwrap());
        }
    }

    #[test]
    fn a_lock_that_was_taken_away_is_not_removed() {
        let (_temp, mount) = mount();
        let lock = Lock::take(&mount, "op", Claim::Free).unwrap();
        let path = mount.root().join(".lsync/lock");
        std::fs::write(path.with_extension("new"), "theirs").unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        assert!(!lock.guard().still_held().unwrap());
        drop(lock);
        assert_eq!(std::fs::read(path).unwrap(), b"theirs");
    }

    #[test]
    fn a_planted_link_is_not_written_through() {
        let (temp, mount) = mount();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join(".lsync/lock")).unwrap();
        assert!(matches!(Lock::take(&mount, "op", Claim::Free), Err(LockError::Failed(_))));
        assert_eq!(outside.as_file().metadata().unwrap().len(), 0);
    }
}
