//! The binary: hands the process over to the command line and ends with its exit code.

mod cli;

/// The SDK makes some hundred small allocations for each request: with this allocator ten thousand downloads take a fifth less CPU time
/// than with that of the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
