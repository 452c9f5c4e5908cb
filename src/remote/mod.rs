//! The bucket: one concrete client over `aws-sdk-s3` that speaks lsync's words. Types of the SDK never leave this folder.
pub mod bucket;
pub mod connect;
pub mod error;
pub mod list;
pub mod multipart;
pub mod object;
pub mod probe;
