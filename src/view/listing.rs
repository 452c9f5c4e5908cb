//! A bucket's listing in memory. Reads nothing into what is listed.

use crate::digest::ETag;
use crate::entry::Nanos;

/// One object as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key after the prefix, as it is; it may be no valid path.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// As listed.
    pub etag: ETag,
    /// By the server's clock.
    pub last_modified: Nanos,
}

impl Listed {
    /// The text of the path that it stands for, and whether it is the marker of a directory: empty, with a `/` behind.
    #[must_use]
    pub fn names(&self) -> (&str, bool) {
        let marked = self.key.strip_suffix('/').filter(|_| self.size == 0);
        (marked.unwrap_or(&self.key), marked.is_some())
    }
}

/// Objects sorted by key, each key once. In pieces, as they came: to join the pieces of a million objects is to hold them twice for a
/// moment, and a piece can go as soon as it is read.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// One after the other, none of them empty.
    pieces: Vec<Vec<Listed>>,
}

impl Listing {
    /// Of pieces that are sorted, as what is in them is.
    #[must_use]
    pub fn of_pieces(mut pieces: Vec<Vec<Listed>>) -> Listing {
        pieces.retain(|piece| !piece.is_empty());
        Listing { pieces }
    }

    /// How many objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// True when nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.pieces.iter().flatten()
    }

    /// The object with this key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Listed> {
        self.first(|listed| listed < key).filter(|object| object.key == key)
    }

    /// The first object whose key comes after this.
    #[must_use]
    pub fn after(&self, key: &str) -> Option<&Listed> {
        self.first(|listed| listed <= key)
    }

    /// The first object that does not come before a point.
    fn first(&self, is_before: impl Fn(&str) -> bool) -> Option<&Listed> {
        let is_before = |object: &Listed| is_before(&object.key);
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.last().is_some_and(is_before)))?;
        piece.get(piece.partition_point(is_before))
    }
}

impl From<Vec<Listed>> for Listing {
    /// Of objects that are sorted.
    fn from(objects: Vec<Listed>) -> Listing {
        Listing::of_pieces(vec![objects])
    }
}

impl IntoIterator for Listing {
    type Item = Listed;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<Listed>>>;

    /// All, in order. A piece is freed when its last object has been taken.
    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_searched_as_if_they_were_one(
            keys in prop::collection::btree_set("[a-c]{0,3}", 0..20),
            cuts in prop::collection::vec(0..20_usize, 0..6),
            asked in "[a-c]{0,3}",
        ) {
            let objects: Vec<Listed> =
                keys.iter().map(|key| Listed { key: key.clone(), size: 1, etag: ETag::parse("e"), last_modified: 0 }).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(objects.len())).chain([0, objects.len()]).collect();
            cuts.sort_unstable();
            let listing = Listing::of_pieces(cuts.windows(2).map(|pair| objects[pair[0]..pair[1]].to_vec()).collect());
            prop_assert!(listing.iter().eq(&objects));
            prop_assert_eq!((listing.len(), listing.is_empty()), (objects.len(), objects.is_empty()));
            prop_assert_eq!(listing.find(&asked), objects.iter().find(|object| object.key == asked));
            prop_assert_eq!(listing.after(&asked), objects.iter().find(|object| object.key > asked));
            prop_assert!(listing.into_iter().eq(objects));
        }
    }
}
