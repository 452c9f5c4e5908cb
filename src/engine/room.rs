//! Whether a download fits. Nothing that it replaces makes room: that stays in the trash. What part files hold already needs none.

use super::fetch::parts_of_object;
use super::{Ends, Error};
use crate::local::left;
use crate::plan::{Direction, Plan};

/// Refuses a download for which the mount has not enough free bytes.
pub(super) fn check_room(ends: &Ends, plan: &Plan) -> Result<(), Error> {
    if plan.direction != Direction::Download || plan.transfers.is_empty() {
        return Ok(());
    }
    let (free, _) = ends.mount.space()?;
    let all = plan.transfer_bytes();
    if all <= free {
        return Ok(());
    }
    let in_parts = plan.transfers.iter().filter_map(|transfer| {
        let source = transfer.source.file()?;
        parts_of_object(ends, &transfer.path, source, source.etag.as_ref()?, transfer.last_modified)
    });
    let needed = all.saturating_sub(left::bytes_there(&ends.mount, &in_parts.collect::<Vec<_>>())?);
    if needed > free { Err(Error::NoSpace { needed, free }) } else { Ok(()) }
}
