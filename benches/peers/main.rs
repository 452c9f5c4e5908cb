//! lsync and other tools at the same work, on one machine, against one server: `cargo bench --features sandbox --bench peers`. Changes
//! nothing but the user's cache, where the other tools are kept; everything else is temporary.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose results are what it prints")]

mod data;
mod limits;
mod measure;
mod runs;
mod scratch;
mod sizes;
mod store;
mod table;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use runs::Runs;
use sizes::Sizes;
use tools::Programs;

/// What ends everything.
type Failure = Box<dyn std::error::Error>;

const WORKS: [&str; 13] = ["w1", "w2", "w3", "w3d", "w4", "w5", "w6", "w7", "w8", "w9", "w10", "w11", "w12"];

/// Measures lsync against s5cmd and rclone and prints two Markdown tables. The README says what the works are.
#[derive(Parser)]
#[command(name = "cargo bench --features sandbox --bench peers --")]
struct Args {
    /// Only these works; without any, all.
    #[arg(value_parser = WORKS, ignore_case = true)]
    works: Vec<String>,
    /// How often each tool does each work.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Little data and one round: shows that everything runs, and measures nothing.
    #[arg(long)]
    quick: bool,
    /// Where the disk is that W3d writes to, and where all that does not fit into memory lies.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    disk: PathBuf,
    /// Also writes every single run to this file, tab-separated.
    #[arg(long)]
    tsv: Option<PathBuf>,
    /// The AWS CLI too, where it takes part: nearby, without W9, W11 and W12. It is slow.
    #[arg(long)]
    aws: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the tables; false when a run failed or, with full sizes, a limit does not hold.
fn measure(args: &Args) -> Result<bool, Failure> {
    let works: Vec<String> = args.works.iter().map(|work| work.to_lowercase()).collect();
    let programs = Programs::install(args.aws)?;
    let mut runs = Runs {
        programs: &programs,
        wanted: if works.is_empty() { WORKS.map(str::to_owned).into() } else { works.into_iter().collect() },
        rounds: if args.quick { 1 } else { args.rounds },
        sizes: if args.quick { Sizes::QUICK } else { Sizes::FULL },
        disk: &args.disk,
        rows: Vec::new(),
    };
    let ended = runs.all();
    if let Some(path) = &args.tsv {
        std::fs::write(path, table::tsv(&runs.rows)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let groups = table::groups(&runs.rows);
    let (ratios, all_hold) = limits::ratios(&groups);
    println!("{}\n{ratios}", table::medians(&groups));
    if args.quick {
        println!("--quick: everything ran, and the figures mean nothing.");
    }
    // What was measured before is shown all the same.
    ended?;
    Ok(groups.iter().all(|group| group.wrong() == 0) && (args.quick || all_hold))
}
