//! The bucket: one concrete client over `aws-sdk-s3` that speaks lsync's words. Types of the SDK never leave this folder.
//!
//! How a request travels: a method of [`bucket::Bucket`] builds it, `tries` sends it under the run's time limits and tries again what
//! may heal, `connector` carries it over HTTP/1.1 (`dial` opens connections, `flow` notices when bytes stop), `classify` turns what came
//! back into an [`error::Error`].
pub mod body;
pub mod bucket;
mod calm;
#[cfg(test)]
mod canned;
mod classify;
pub mod connect;
mod connector;
pub mod copies;
mod demanded;
mod dial;
pub mod elsewhere;
pub mod error;
pub mod examine;
pub mod flow;
pub mod keep;
pub mod list;
pub mod multipart;
pub mod object;
pub mod open;
pub mod probe;
mod process;
mod rate;
mod read;
mod refreshing;
mod runs;
mod tries;
mod wide;
mod write;
