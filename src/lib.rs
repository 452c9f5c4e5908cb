//! lsync keeps a researcher's working data safe across rented GPU instances: it sends a mount to an S3-compatible bucket and brings
//! it back, and says "complete" only when that is proven.
//!
//! The library never prints, never asks and never reads the environment; the command line in `src/cli/` does that with what every
//! other program can use too.
//!
//! A run takes four steps: [`engine::look()`] at both sides, [`engine::Sight::plan`], [`engine::Proposal::approve`] within limits, and
//! [`engine::run()`], which takes nothing but an approved plan of that look.
//!
//! # The floors
//! A file imports only from floors below its own; `tests/it/tidy.rs` holds the table.
//!
//! | floor | what | modules |
//! |---|---|---|
//! | 0 words | no I/O, no async, no clock | [`path`] [`digest`] [`entry`] [`problem`] [`manifest`] [`profile`] [`filter`] [`config`] |
//! | 1 decisions | pure functions over words | [`event`] [`view`] [`diff`] [`plan`] |
//! | 2 worlds | each knows one world and decides nothing | [`local`] [`remote`] |
//! | 3 engine | joins the two worlds | [`engine`] |

pub mod config;
pub mod diff;
pub mod digest;
pub mod engine;
pub mod entry;
pub mod event;
pub mod filter;
pub mod local;
pub mod manifest;
pub mod path;
pub mod plan;
pub mod problem;
pub mod profile;
pub mod remote;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod view;
