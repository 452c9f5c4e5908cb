//! The works, carried out: every tool in turn, round after round, so that what this machine does besides falls on all alike. Each tool has a
//! server and a source of its own, or one that looks as if nobody had been there before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::data::{self, MIB};
use crate::measure::{self, Sample};
use crate::scratch::Scratch;
use crate::sizes::Sizes;
use crate::store::{Asked, Store};
use crate::tools::{self, Program, Programs, Tool, Verb};

/// What the works that are far away wait for at each request.
const LATENCY: Duration = Duration::from_millis(40);

/// One run of one tool.
pub(crate) struct Row {
    pub(crate) round: u32,
    pub(crate) work: &'static str,
    pub(crate) tool: String,
    pub(crate) program: Program,
    pub(crate) sample: Sample,
    pub(crate) asked: Asked,
    /// Why it does not count.
    pub(crate) wrong: Option<String>,
}

/// Everything that the works need, and what they found so far.
pub(crate) struct Runs<'a> {
    pub(crate) programs: &'a Programs,
    /// Names of works, in lower case.
    pub(crate) wanted: BTreeSet<String>,
    pub(crate) rounds: u32,
    pub(crate) sizes: Sizes,
    pub(crate) disk: &'a Path,
    pub(crate) rows: Vec<Row>,
}

/// One run that is still to be made.
#[derive(Clone, Copy)]
struct Step<'s> {
    round: u32,
    work: &'static str,
    tool: Tool,
    verb: Verb,
    dir: &'s Path,
}

/// The names of the works with many small files.
struct Names {
    upload: &'static str,
    again: &'static str,
    download: &'static str,
    /// Not far away: what is measured there is the disk.
    to_disk: Option<&'static str>,
}

const HERE: Names = Names { upload: "W1", again: "W2", download: "W3", to_disk: Some("W3d") };
const FAR: Names = Names { upload: "W10 W1", again: "W10 W2", download: "W10 W3", to_disk: None };

impl Runs<'_> {
    /// All works that are wanted.
    pub(crate) fn all(&mut self) -> Result<(), Failure> {
        if self.wants(&["w1", "w2", "w3", "w3d"]) {
            self.many_small(tools::MANY, &HERE, None)?;
        }
        if self.wants(&["w4", "w5"]) {
            self.large("W4", "W5")?;
        }
        if self.wants(&["w6", "w7"]) {
            self.large("W6", "W7")?;
        }
        if self.wants(&["w8", "w10"]) {
            self.nothing_changed()?;
        }
        if self.wants(&["w9"]) {
            self.a_million()?;
        }
        if self.wants(&["w10"]) {
            self.many_small(tools::FAR, &FAR, Some(LATENCY))?;
        }
        if self.wants(&["w11"]) {
            self.changed()?;
        }
        if self.wants(&["w12"]) {
            self.moved()?;
        }
        Ok(())
    }

    fn wants(&self, works: &[&str]) -> bool {
        works.iter().any(|work| self.wanted.contains(*work))
    }

    /// `W10 W2` belongs to `w10`.
    fn wants_work(&self, work: &str) -> bool {
        self.wanted.contains(&work.split(' ').next().unwrap_or_default().to_lowercase())
    }

    fn tools(&self, tools: &[Tool]) -> Vec<Tool> {
        tools.iter().copied().filter(|tool| self.programs.has(*tool)).collect()
    }

    fn many_small(&mut self, tools: &[Tool], names: &Names, latency: Option<Duration>) -> Result<(), Failure> {
        let scratch = Scratch::with_room(self.sizes.small_room(), self.disk)?;
        // A checksum of a file in memory (tmpfs) cannot be remembered: a store through a mapping shows in no time there.
        let on_disk = Scratch::on(self.disk)?;
        let source = on_disk.empty("source")?;
        data::small_files(&source, self.sizes.small.0, self.sizes.small.1, |_, _| 4096)?;
        for round in 1..=self.rounds {
            for tool in self.tools(tools) {
                let store = Store::start(&scratch.absent("store")?)?;
                if let Some(latency) = latency {
                    store.set_latency(latency);
                }
                let step = Step { round, work: names.upload, tool, verb: Verb::Upload, dir: &source };
                self.take(step, &store, &scratch)?;
                if self.wants_work(names.again) {
                    self.take(Step { work: names.again, verb: Verb::Again, ..step }, &store, &scratch)?;
                }
                if self.wants_work(names.download) {
                    self.fetch(Step { work: names.download, ..step }, &store, &scratch, &scratch)?;
                }
                if let Some(work) = names.to_disk.filter(|work| self.wants_work(work)) {
                    let disk = Scratch::on(self.disk)?;
                    // What others left to be written is theirs to wait for.
                    rustix::fs::sync();
                    self.fetch(Step { work, ..step }, &store, &scratch, &disk)?;
                }
                forget(&source)?;
            }
        }
        Ok(())
    }

    fn large(&mut self, upload: &'static str, download: &'static str) -> Result<(), Failure> {
        let files = if upload == "W4" { self.sizes.big } else { self.sizes.middle };
        let scratch = Scratch::with_room(3 * files.0 * files.1, self.disk)?;
        let source = scratch.empty("source")?;
        for number in 0..files.0 {
            data::large_file(&source.join(format!("shard_{number:03}.bin")), files.1, number)?;
        }
        for round in 1..=self.rounds {
            for tool in self.tools(tools::LARGE) {
                let store = Store::start(&scratch.absent("store")?)?;
                let step = Step { round, work: upload, tool, verb: Verb::Upload, dir: &source };
                self.take(step, &store, &scratch)?;
                if self.wants_work(download) {
                    self.fetch(Step { work: download, ..step }, &store, &scratch, &scratch)?;
                }
                forget(&source)?;
            }
        }
        Ok(())
    }

    /// W8, and the same far away. Each program sends everything once, unseen, and finds it again in each round.
    fn nothing_changed(&mut self) -> Result<(), Failure> {
        let scratch = Scratch::with_room(self.sizes.tiny_room(), self.disk)?;
        // A checksum of a file in memory (tmpfs) cannot be remembered: a store through a mapping shows in no time there.
        let on_disk = Scratch::on(self.disk)?;
        let source = on_disk.empty("source")?;
        data::small_files(&source, self.sizes.tiny.0, self.sizes.tiny.1, tiny_bytes)?;
        let mut stores: Vec<(Program, Store)> = Vec::new();
        for tool in self.tools(tools::MANY) {
            stores.push((tool.program, Store::start(&scratch.absent(&format!("store of {:?}", tool.program))?)?));
            let step = Step { round: 0, work: "W8 made ready", tool, verb: Verb::Upload, dir: &source };
            self.unseen(step, &stores[stores.len() - 1].1, &scratch)?;
            if tool.program == Program::Lsync {
                fs::rename(source.join(".lsync"), on_disk.absent("memory")?)?;
            }
        }
        for (work, tools, latency) in [("W8", tools::MANY, None), ("W10 W8", tools::FAR, Some(LATENCY))] {
            if !self.wants_work(work) {
                continue;
            }
            for (_, store) in &stores {
                if let Some(latency) = latency {
                    store.set_latency(latency);
                }
            }
            for round in 1..=self.rounds {
                for tool in self.tools(tools) {
                    let remembers = tool.program == Program::Lsync;
                    if remembers {
                        fs::rename(on_disk.path("memory"), source.join(".lsync"))?;
                    }
                    let (_, store) = stores.iter().find(|(program, _)| *program == tool.program).ok_or("a program without a server")?;
                    self.take(Step { round, work, tool, verb: Verb::Again, dir: &source }, store, &scratch)?;
                    if remembers {
                        fs::rename(source.join(".lsync"), on_disk.absent("memory")?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn a_million(&mut self) -> Result<(), Failure> {
        let scratch = Scratch::with_room(self.sizes.million_room(), self.disk)?;
        // A checksum of a file in memory (tmpfs) cannot be remembered: a store through a mapping shows in no time there.
        let on_disk = Scratch::on(self.disk)?;
        let source = on_disk.empty("source")?;
        data::small_files(&source, self.sizes.million.0, self.sizes.million.1, tiny_bytes)?;
        let store = Store::start(&scratch.absent("store")?)?;
        for tool in self.tools(tools::ALONE) {
            let step = Step { round: 0, work: "W9 made ready", tool, verb: Verb::Upload, dir: &source };
            self.unseen(step, &store, &scratch)?;
            for round in 1..=self.rounds {
                self.take(Step { round, work: "W9", verb: Verb::Again, ..step }, &store, &scratch)?;
            }
        }
        Ok(())
    }

    /// W11, once: it counts bytes, which are the same each time.
    fn changed(&mut self) -> Result<(), Failure> {
        // The server keeps what is replaced until it is.
        let scratch = Scratch::with_room(3 * self.sizes.changed, self.disk)?;
        let source = scratch.empty("source")?;
        let file = source.join("checkpoint.bin");
        data::large_file(&file, self.sizes.changed, 11)?;
        let store = Store::start(&scratch.absent("store")?)?;
        for tool in self.tools(tools::ALONE) {
            let step = Step { round: 1, work: "W11 whole", tool, verb: Verb::Upload, dir: &source };
            self.take(step, &store, &scratch)?;
            data::change(&file, self.sizes.changed / 100)?;
            self.take(Step { work: "W11", ..step }, &store, &scratch)?;
            self.check(step, &store, &scratch)?;
        }
        Ok(())
    }

    /// W12, once.
    fn moved(&mut self) -> Result<(), Failure> {
        let (files, bytes, large) = self.sizes.moved;
        let scratch = Scratch::with_room(6 * (files * bytes + large), self.disk)?;
        let source = scratch.empty("source")?;
        for number in 0..files {
            data::large_file(&source.join(format!("before/shard_{number:03}.bin")), bytes, number)?;
        }
        data::large_file(&source.join("before/checkpoint.bin"), large, files)?;
        let store = Store::start(&scratch.absent("store")?)?;
        for tool in self.tools(tools::ALONE) {
            let step = Step { round: 1, work: "W12 whole", tool, verb: Verb::Upload, dir: &source };
            self.take(step, &store, &scratch)?;
            fs::rename(source.join("before"), source.join("after"))?;
            self.take(Step { work: "W12 renamed", ..step }, &store, &scratch)?;
            data::copy(&source.join("after"), &source.join("copy"))?;
            self.take(Step { work: "W12 copied", ..step }, &store, &scratch)?;
            // What was renamed stays in the bucket, so the source has it again for the comparison.
            data::copy(&source.join("after"), &source.join("before"))?;
            self.check(step, &store, &scratch)?;
        }
        Ok(())
    }

    /// Downloads to a new directory in `place`; in the first round everything is compared with the source.
    fn fetch(&mut self, step: Step<'_>, store: &Store, scratch: &Scratch, place: &Scratch) -> Result<(), Failure> {
        let target = place.empty("target")?;
        self.take(Step { verb: Verb::Download, dir: &target, ..step }, store, scratch)?;
        if step.round == 1 {
            self.compare(step.dir, &target);
        }
        place.absent("target")?;
        Ok(())
    }

    /// Downloads unseen, to see whether the last upload that counts was right.
    fn check(&mut self, step: Step<'_>, store: &Store, scratch: &Scratch) -> Result<(), Failure> {
        let target = scratch.empty("target")?;
        self.unseen(Step { work: "download", verb: Verb::Download, dir: &target, ..step }, store, scratch)?;
        self.compare(step.dir, &target);
        scratch.absent("target")?;
        Ok(())
    }

    fn compare(&mut self, source: &Path, target: &Path) {
        if let (Err(error), Some(row)) = (data::same(source, target), self.rows.last_mut()) {
            eprintln!("{} {}: the download is not the source: {error}", row.work, row.tool);
            row.wrong.get_or_insert(error.to_string());
        }
    }

    /// Runs a step that counts, if its work is wanted.
    fn take(&mut self, step: Step<'_>, store: &Store, scratch: &Scratch) -> Result<(), Failure> {
        let row = self.run(step, store, scratch)?;
        if self.wants_work(step.work) {
            self.rows.push(row);
        }
        Ok(())
    }

    /// Runs a step that does not count, and must not fail.
    fn unseen(&self, step: Step<'_>, store: &Store, scratch: &Scratch) -> Result<(), Failure> {
        let row = self.run(step, store, scratch)?;
        row.wrong.map_or(Ok(()), |wrong| Err(format!("{} {}: {wrong}", row.work, row.tool).into()))
    }

    fn run(&self, step: Step<'_>, store: &Store, scratch: &Scratch) -> Result<Row, Failure> {
        let endpoint = store.server().endpoint();
        let call = self.programs.call(step.tool, step.verb, step.dir, &endpoint, &scratch.empty("home")?)?;
        let output = scratch.empty("output")?;
        let (sample, asked) = store.during(|| measure::run(&self.programs.python, &call, &output))?;
        let tool = step.tool.name(step.verb);
        let wrong = wrong(step.tool, &sample);
        let sent_mib = asked.sent_bytes / MIB;
        eprintln!(
            "{:>2} {:<13} {tool:<19} {:8.2} s {:7.2} CPU s {:6.0} MiB {:7} requests {sent_mib:6} MiB sent {:6.2} server CPU s",
            step.round,
            step.work,
            sample.wall_s,
            sample.cpu_s(),
            sample.rss_mib,
            asked.requests(),
            asked.cpu_s
        );
        if let Some(wrong) = &wrong {
            eprintln!("   {wrong}\n{}", sample.stderr);
        }
        Ok(Row { round: step.round, work: step.work, tool, program: step.tool.program, sample, asked, wrong })
    }
}

/// Why a run does not count.
fn wrong(tool: Tool, sample: &Sample) -> Option<String> {
    if sample.exit != 0 {
        return Some(format!("exit code {}", sample.exit));
    }
    let claims = tool.program != Program::Lsync || sample.last_line.starts_with("complete: ");
    (!claims).then(|| format!("it ended with {:?}", sample.last_line))
}

/// 64 to 200 bytes.
fn tiny_bytes(dir: u64, file: u64) -> usize {
    64 + ((dir * 7 + file * 13) % 137) as usize
}

/// Takes away what lsync remembers, so that the next tool finds the source as the first one did.
fn forget(source: &Path) -> Result<(), Failure> {
    let memory = source.join(".lsync");
    if memory.exists() {
        fs::remove_dir_all(memory)?;
    }
    Ok(())
}
