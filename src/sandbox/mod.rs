//! A small S3-compatible server on loopback, storing in a directory, for `lsync sandbox` and for the tests.
