//! The mount: opened once, walked, hashed, written through temporaries. Knows no bucket and decides nothing.
//!
//! Every operation below the root is relative to its descriptor and refuses links and `..` on the way.
pub(crate) mod beneath;
pub mod hash;
pub mod lock;
pub mod mount;
pub mod place;
pub mod scan;
pub mod state;
mod walk;
