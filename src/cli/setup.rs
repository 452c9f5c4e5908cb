//! stub
use super::{args::*, exit::Exit, failure::Failure, settings::environment::Environment};
pub(crate) fn run(_: &SetupArgs, _: &Common, _: &Environment) -> Result<Exit, Failure> {
    Err(Failure::usage("x"))
}
