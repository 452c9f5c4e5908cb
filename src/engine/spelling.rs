//! Names that the mount takes for one: what of the bucket has no place of its own in it, and PATHs that it spells in another way. Only
//! asks; the rules are in `plan`.

use super::{Ask, Ends, Error, blocking};
use crate::entry::{InOrder, Local};
use crate::local::folding::{folding, held, spelt_otherwise};
use crate::path::RelPath;
use crate::plan::Wanted;
use crate::problem::Problem;
use crate::view::View;

/// Problems for what the bucket alone has and the mount would take for something else. `Error::SpeltOtherwise` for a PATH that the mount
/// finds and does not hold by that name: the walk has shown its content under a wrong name.
pub(super) async fn collisions(ends: &Ends, ask: &Ask, local: &[(RelPath, Local)], view: &View) -> Result<Vec<Problem>, Error> {
    let here = InOrder::new(local);
    let only_there = |(path, _): &&(RelPath, _)| here.find(path.as_str()).is_none();
    let paths: Vec<RelPath> = view.entries.iter().filter(only_there).map(|(path, _)| path.clone()).collect();
    if paths.is_empty() && ask.paths.is_empty() {
        return Ok(Vec::new());
    }
    let (mount, scope) = (ends.mount.clone(), ask.paths.clone());
    blocking(move || {
        let folding = folding(&mount);
        if !folding.any() {
            return Ok(Vec::new());
        }
        if let Some((path, held)) = scope.into_iter().find_map(|path| spelt_otherwise(&mount, folding, &path).map(|held| (path, held))) {
            return Err(Error::SpeltOtherwise { path, held });
        }
        let wanted = Wanted::of(&paths);
        Ok(wanted.collisions(folding, &held(&mount, wanted.dirs())))
    })
    .await?
}
