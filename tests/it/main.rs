//! The integration tests: the real binary and the library, against real servers on loopback and real temporary directories.
//!
//! One file per promise. What they share is in [`support`]; no test reads the machine's own configuration or needs another test.

mod bad_input_answer;
mod bad_input_config;
mod bad_input_mount;
mod bad_input_names;
mod bad_input_store;
mod changing;
mod complete;
mod config_travels;
mod decide;
mod durable;
mod exits;
mod foreign;
mod foreign_runs;
mod full;
mod interrupt;
mod json;
mod killed;
mod large;
mod lock;
mod log;
mod manifests;
mod meanwhile;
mod model;
mod overwrite;
mod prompt;
mod readme;
mod resume;
mod roundtrip;
mod setup;
mod support;
mod tidy;
mod trash;
mod undo;
mod wire;
