//! Files with several names (hard links). What this run does to one name changes the change time of all, so that the others would look
//! as if somebody had changed them since the plan; here the run remembers what it did itself.

use std::collections::HashMap;

use super::mount::Stamp;

/// The inodes that this run touched and that have more names.
#[derive(Debug, Default)]
pub(super) struct Twins(HashMap<u64, Touched>);

#[derive(Debug)]
struct Touched {
    now: Stamp,
    earlier: Vec<Stamp>,
}

impl Twins {
    /// True when a file that carries `now` is still the one that carried `seen`, but for what this run did to it.
    pub(super) fn same(&self, now: &Stamp, seen: &Stamp) -> bool {
        now == seen || self.0.get(&now.inode).is_some_and(|touched| touched.now == *now && touched.earlier.contains(seen))
    }

    /// This run just changed a file's stamp.
    pub(super) fn changed(&mut self, before: Stamp, after: Stamp) {
        let touched = self.0.entry(before.inode).or_insert(Touched { now: before, earlier: Vec::new() });
        if touched.now != before {
            // Somebody else was there in between: what was known before that holds no more.
            touched.earlier.clear();
        }
        touched.earlier.push(before);
        touched.now = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_run_did_itself_is_forgiven() {
        let at = |ctime| Stamp { size: 1, mtime: 1, ctime, inode: 7 };
        let mut twins = Twins::default();
        assert!(twins.same(&at(1), &at(1)) && !twins.same(&at(2), &at(1)));
        twins.changed(at(1), at(2));
        twins.changed(at(2), at(3));
        assert!(twins.same(&at(3), &at(1)) && twins.same(&at(3), &at(2)));
        assert!(!twins.same(&at(4), &at(1)), "changed by another after us");
        twins.changed(at(4), at(5));
        assert!(!twins.same(&at(5), &at(1)) && twins.same(&at(5), &at(4)));
    }
}
