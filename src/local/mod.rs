//! The mount: opened once, walked, hashed, written through temporaries. Knows no bucket and decides nothing.
//!
//! Every operation below the root is relative to its descriptor and refuses links and `..` on the way.
pub(crate) mod beneath;
mod clock;
pub mod hash;
pub mod inspect;
mod internal;
mod journal;
pub mod lock;
pub mod mount;
mod owner;
pub mod place;
pub mod scan;
pub mod state;
mod state_codec;
pub mod store;
mod temp;
mod ticker;
mod trash;
mod twins;
mod walk;
mod workplace;
