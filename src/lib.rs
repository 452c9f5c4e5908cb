//! lsync keeps a researcher's working data safe across rented GPU instances.
pub mod digest;
pub mod entry;
pub mod manifest;
pub mod path;
