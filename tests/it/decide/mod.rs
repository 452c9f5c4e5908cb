//! "What decides": each sentence of that section, in both directions, with the real binary and two mounts on one bucket.

mod attributes;
mod deletions;
mod digest;
mod guards;
mod kinds;
mod rows;
mod scope;
