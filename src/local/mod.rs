//! The mount: opened once, walked, hashed, written through temporaries. Knows no bucket and decides nothing.
//!
//! Every operation below the root is relative to its descriptor and refuses links and `..` on the way.
pub mod belongs;
pub(crate) mod beneath;
mod clock;
pub mod first_bytes;
pub mod folding;
pub mod hash;
pub mod inspect;
mod internal;
mod journal;
pub mod left;
mod lines;
pub mod lock;
pub mod log;
pub mod mount;
mod owner;
pub mod part;
pub mod place;
mod read_lease;
pub mod scan;
pub mod state;
mod state_codec;
pub mod store;
mod swap;
mod temp;
mod ticker;
mod touched;
mod trash;
mod twins;
pub(crate) mod umask;
pub mod undo;
pub mod uploads;
mod walk;
pub mod witness;
mod workplace;
