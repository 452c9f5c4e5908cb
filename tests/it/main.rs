//! The integration tests: the real binary and the library, against real servers on loopback and real temporary directories.
//!
//! One file per promise. What they share is in [`support`]; no test reads the machine's own configuration or needs another test.

mod bad_input_answer;
mod bad_input_config;
mod bad_input_mount;
mod bad_input_names;
mod bad_input_store;
mod campaign;
mod changing;
mod clean;
mod complete;
mod config_travels;
mod containment;
mod damage;
mod decide;
mod doctor;
mod durable;
mod exits;
mod foreign;
mod foreign_runs;
mod full;
mod interrupt;
mod json;
mod killed;
mod kills;
mod large;
mod lock;
mod mangled;
mod manifests;
mod meanwhile;
mod model;
mod overwrite;
mod privileged;
mod prompt;
mod readme;
mod resume_down;
mod resume_up;
mod roundtrip;
mod setup;
mod support;
mod tidy;
mod trash;
mod verify;
mod wire;
