//! The id by which a directory knows itself again in the bucket's records. Kept in `.lsync/`, or elsewhere while that takes nothing.

use std::io;

use super::beneath::Dir;
use super::elsewhere::Place;
use super::mount::{LocalError, Mount};
use crate::path::RESERVED;

impl Mount {
    /// The id of this mount, from the name of `.lsync/mount-<32 hex digits>`; `None` before the first run that may write.
    pub fn id(&self) -> Result<Option<String>, LocalError> {
        Ok(match self.id_at_home()? {
            None => self.open_elsewhere("")?.map(|dir| id_of(&dir)).transpose()?.flatten(),
            id => id,
        })
    }

    fn id_at_home(&self) -> Result<Option<String>, LocalError> {
        Ok(self.open_home("")?.map(|dir| id_of(&dir)).transpose()?.flatten())
    }

    /// Creates `.lsync/` (mode 0700) and the id file where they are missing, and returns the id.
    pub fn ensure_id(&self) -> Result<String, LocalError> {
        let known = if self.place() == Place::Here { self.id_at_home()? } else { self.id()? };
        if let Some(id) = known {
            return Ok(id);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| LocalError::at("cannot create", RESERVED)(io::Error::other(e.to_string())))?;
        let id = self.id()?.unwrap_or_else(|| data_encoding::HEXLOWER.encode(&random));
        if self.place() == Place::Memory {
            return Ok(id);
        }
        let name = format!("mount-{id}");
        let dir = self.make_internal("")?;
        let create = || {
            dir.create_new(&name, 0o600)?.sync_all()?;
            dir.sync()
        };
        create().map_err(LocalError::at("cannot create", &format!("{RESERVED}/{name}")))?;
        Ok(self.id()?.unwrap_or(id))
    }
}

fn id_of(dir: &Dir) -> Result<Option<String>, LocalError> {
    let names = dir.names().map_err(LocalError::at("cannot read", RESERVED))?;
    // The smallest, so that two first runs at once come to agree.
    Ok(names.iter().filter_map(|name| id_in(name.to_str()?)).min().map(str::to_owned))
}

fn id_in(name: &str) -> Option<&str> {
    let id = name.strip_prefix("mount-")?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))).then_some(id)
}
