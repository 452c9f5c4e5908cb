//! What the integration tests share: a mount of their own, the real binary, a bucket, a terminal. Asserts nothing about lsync's words.

pub(crate) mod canary;
pub(crate) mod cmd;
pub(crate) mod inside;
pub(crate) mod mapped;
pub(crate) mod mount;
pub(crate) mod pty;
pub(crate) mod report;
pub(crate) mod s3;
pub(crate) mod seed;
pub(crate) mod tokens;
pub(crate) mod tool;
pub(crate) mod two;
pub(crate) mod wait;
