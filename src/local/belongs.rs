//! To whom belongs what lies in a mount. What root makes in a directory of another user belongs to that user, who else could not even look
//! at it afterwards; and whoever is refused is told whose it is. Gives away nothing that was
//! there before, root's or not: a user could have moved root's own files to where they are found.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::process::geteuid;

use super::beneath::Dir;
use super::mount::Mount;
use crate::path::RESERVED;

/// Who gets what this process makes in a directory; `None` where it is the one who makes it.
fn heir(dir: &Dir) -> Option<(Uid, Gid)> {
    if !geteuid().is_root() {
        return None;
    }
    let stat = fs::fstat(dir).ok()?;
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    (!user.is_root()).then_some((user, group))
}

/// Gives a file that was just created to the owner of its directory. What cannot be given stays root's: some network file systems refuse.
pub(super) fn give_file(dir: &Dir, file: &File) {
    if let Some((user, group)) = heir(dir) {
        let _ = fs::fchown(file, Some(user), Some(group));
    }
}

/// The same for a file of another directory, by its ordinary path.
pub fn give_new_file(dir: &Path, file: &File) {
    if let Ok(dir) = Dir::open_root(dir) {
        give_file(&dir, file);
    }
}

/// Gives a directory or link of this name that was just made to the owner of its directory, who may have put something else there
/// meanwhile: a directory with something in it stays root's, and so does a file.
pub(super) fn give(dir: &Dir, name: &str) {
    if let Some((user, group)) = heir(dir) {
        let _ = give_to(dir, name, user, group);
    }
}

fn give_to(dir: &Dir, name: &str, user: Uid, group: Gid) -> io::Result<()> {
    let found = fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fs::fstat(&found)?;
    let is_new = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => true,
        // Through the same descriptor: another directory of this name is not meant.
        FileType::Directory => Dir::below(&found)?.is_empty()?,
        _ => false,
    };
    if stat.st_uid == 0 && is_new {
        fs::chownat(&found, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// What lsync keeps in a mount and another user owns, so that this one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Others {
    /// The whole path of it.
    pub path: PathBuf,
    /// Name of its owner, or the number where the system has no name for it.
    pub owner: String,
    /// Name of the owner of the mount's root.
    pub root_owner: String,
    /// The mount's root belongs to the user of this process.
    pub is_in_own_directory: bool,
    /// Name of the user of this process.
    pub user: String,
}

impl Mount {
    /// What another user owns of `.lsync/` and this one may not use; `None` when there is nothing of the kind.
    #[must_use]
    pub fn belongs_to_another(&self) -> Option<Others> {
        let me = geteuid();
        if me.is_root() {
            return None;
        }
        let is_refused = |dir: &Dir, name: &str| {
            let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let owner = Uid::from_raw(stat.st_uid);
            let access = fs::Access::READ_OK | fs::Access::WRITE_OK;
            let refused =
                matches!(fs::accessat(dir, name, access, AtFlags::EACCESS), Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM));
            (owner != me && refused).then_some(owner)
        };
        let (name, owner) = match is_refused(self.top(), RESERVED) {
            Some(owner) => (RESERVED.to_owned(), owner),
            None => {
                let dir = self.open_internal("").ok()??;
                let names = dir.names().ok()?.into_iter().filter_map(|name| name.into_string().ok());
                names.into_iter().find_map(|name| Some((format!("{RESERVED}/{name}"), is_refused(&dir, &name)?)))?
            }
        };
        let root_owner = Uid::from_raw(fs::fstat(self.top()).ok()?.st_uid);
        Some(Others {
            path: self.root().join(name),
            owner: name_of(owner),
            root_owner: name_of(root_owner),
            is_in_own_directory: root_owner == me,
            user: name_of(me),
        })
    }
}

/// The name of a user, as far as `/etc/passwd` tells.
fn name_of(user: Uid) -> String {
    let number = user.as_raw().to_string();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&known, &number).unwrap_or(number)
}

fn named(passwd: &str, number: &str) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| Some((fields.next()?, fields.nth(1)?)).filter(|(_, id)| *id == number)).map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_that_the_system_gives() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\n\nbroken\n";
        assert_eq!(named(passwd, "0").as_deref(), Some("root"));
        assert_eq!(named(passwd, "1000").as_deref(), Some("ada"));
        assert_eq!(named(passwd, "100"), None);
    }
}
