//! `lsync doctor`: what the store and the mount really do, asked and told with what it means. Moves no data.

mod copy_facts;
mod facts;
mod writers_fact;

use std::sync::Arc;
use std::time::Instant;

use lsync::engine::{Ends, Kept, examine_store, refuse_self_sync};
use lsync::local::inspect::{Inspected, Tried, inspect, try_out};
use lsync::local::lock::now;
use lsync::local::mount::{LocalError, Mount};
use lsync::local::store;
use lsync::path::Shown;
use lsync::remote::connect::offers_http2;
use lsync::remote::error::Kind;
use lsync::remote::examine::Examined;
use serde_json::json;

pub(super) use facts::{Fact, Verdict, store_facts};

use super::args::{Common, Flags};
use super::exit::Exit;
use super::failure::{Failure, chain};
use super::output;
use super::render::Page;
use super::session::{Session, block_on};
use super::settings::environment::Environment;
use super::text::{some, when, wrap};

/// Runs the command.
pub(crate) fn run(common: Common, env: &Environment) -> Result<Exit, Failure> {
    let began = Instant::now();
    let flags = Flags { common, ..Flags::default() };
    block_on(async {
        let session = Session::open(flags, &[], env, None).await?;
        let mut doctor = Doctor { session: &session, page: session.page(true), notes: 0, problems: 0 };
        let ended = doctor.examine().await;
        match (ended, session.signal.exit()) {
            (Err(_), Some(exit)) => Err(Failure::new(exit, "interrupted")),
            (Err(failure), None) => Err(failure),
            (Ok(kept), _) => doctor.end(kept, began),
        }
    })
}

struct Doctor<'a> {
    session: &'a Session,
    page: Page,
    notes: u64,
    problems: u64,
}

impl Doctor<'_> {
    /// Mount first, so that what it is shows also when the store does not answer. Says whether the answers were kept.
    async fn examine(&mut self) -> Result<bool, Failure> {
        let (ends, dry_run) = (&self.session.ends, self.session.flags.common.dry_run);
        let (bucket, mount) = (&ends.bucket, ends.mount.clone());
        if !dry_run && !self.session.flags.common.quiet {
            output::say(&wrap(
                &format!(
                    "This asks {} what it does, with at most 25 small requests; the objects .lsync/probe-… are removed again.",
                    Shown(bucket.url())
                ),
                output::columns(&console::Term::stderr()),
                0,
                0,
            ));
        }
        let (inspected, tried) = look_at_mount(mount, !dry_run).await?;
        self.heading(&format!("Mount {}", Shown(&ends.mount.root().to_string_lossy())))?;
        for fact in facts::mount_facts(&inspected, tried.as_ref()) {
            self.tell(&fact)?;
        }
        not_its_own(ends, !dry_run).await?;
        let (objects, more) = bucket.check_readable().await?;
        let holds = format!("{}{}", if more { "more than " } else { "" }, some(objects as u64, "object"));
        self.heading(&format!("Store {} at {}: {holds}", Shown(bucket.url()), Shown(bucket.endpoint())))?;
        if dry_run {
            return self.what_is_known().await;
        }
        let (examined, kept) = examine_store(ends).await;
        if let Examined { ended_by: Some(error), leftover, .. } = examined {
            for key in leftover {
                output::say(&format!("warning: {} could not be removed from the bucket; it may be deleted", Shown(&key)));
            }
            return Err(if error.kind == Kind::Stopped { Failure::new(Exit::Failed, "stopped") } else { error.into() });
        }
        for fact in store_facts(&examined) {
            self.tell(&fact)?;
        }
        self.connection().await?;
        self.kept(kept)
    }

    /// Of a dry run: what runs rely on now, or what reading alone tells.
    async fn what_is_known(&mut self) -> Result<bool, Failure> {
        let bucket = &self.session.ends.bucket;
        let known = store::load(&self.session.ends.mount, bucket.endpoint(), bucket.name())?;
        let known = known.filter(|profile| profile.is_fresh(now()));
        let since = known.as_ref().map(|profile| profile.time);
        let profile = match known {
            Some(known) => known,
            None => bucket.examine_reading().await?,
        };
        for fact in facts::profile_facts(&profile).into_iter().filter(|fact| !fact.value.is_null()) {
            self.tell(&fact)?;
        }
        self.connection().await?;
        self.say(&match since {
            Some(time) => format!("\ndry run: nothing was written; these answers were kept {}", when(time, now())),
            None => "\ndry run: nothing was written, and only reading was tried".into(),
        })?;
        Ok(since.is_some())
    }

    /// Clock and protocol, which no request has to be made for.
    async fn connection(&mut self) -> Result<(), Failure> {
        let bucket = &self.session.ends.bucket;
        let settings = &self.session.settings;
        let http2 = offers_http2(&settings.network, bucket.endpoint()).await;
        for fact in facts::connection_facts(bucket.clock_offset_seconds(), http2) {
            self.tell(&fact)?;
        }
        Ok(())
    }

    fn kept(&mut self, kept: Kept) -> Result<bool, Failure> {
        let why = match kept {
            Kept::Yes => return Ok(true),
            Kept::Locked(error) => chain(&error),
            Kept::No(error) => chain(&error),
            Kept::Unfinished => "it did not come to its end".into(),
        };
        self.tell(&Fact::new("store", "answers", Verdict::Note, json!(null), format!("not kept: {why}"), ""))?;
        Ok(false)
    }

    fn heading(&self, text: &str) -> Result<(), Failure> {
        let common = &self.session.flags.common;
        if common.json || common.quiet {
            return Ok(());
        }
        output::line(&self.page.ink.bold(&wrap(text, self.page.width, 0, 2)))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.session.flags.common.json { Ok(()) } else { output::line(text) }
    }

    fn tell(&mut self, fact: &Fact) -> Result<(), Failure> {
        let common = &self.session.flags.common;
        match fact.verdict {
            Verdict::Ok => {}
            Verdict::Note => self.notes += 1,
            Verdict::Problem => self.problems += 1,
        }
        if common.json {
            return output::line(&fact.json().to_string());
        }
        if common.quiet && fact.verdict != Verdict::Problem { Ok(()) } else { output::print(&fact.text(&self.page)) }
    }

    fn end(self, kept: bool, began: Instant) -> Result<Exit, Failure> {
        let exit = if self.problems > 0 { Exit::Partial } else { Exit::Done };
        let common = &self.session.flags.common;
        if common.json {
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let summary = json!({
                "v": 1, "type": "summary", "command": "doctor", "exit": exit.code(), "complete": self.problems == 0, "elapsed_ms": elapsed_ms,
                "generation": null, "notes": self.notes, "problems": self.problems, "kept": kept, "dry_run": common.dry_run,
            });
            output::line(&summary.to_string())?;
        } else if !common.dry_run {
            let notes = if self.notes > 0 { format!(", {}", some(self.notes, "note")) } else { String::new() };
            let apart = if common.quiet { "" } else { "\n" };
            output::line(&match self.problems {
                0 => format!("{apart}healthy{notes}"),
                n => format!("{apart}{}{notes}", some(n, "problem")),
            })?;
        }
        Ok(exit)
    }
}

async fn look_at_mount(mount: Arc<Mount>, write: bool) -> Result<(Inspected, Option<Result<Tried, LocalError>>), Failure> {
    let unique = format!("doctor-{}", std::process::id());
    let looked = tokio::task::spawn_blocking(move || {
        let inspected = inspect(&mount)?;
        Ok::<_, LocalError>((inspected, write.then(|| try_out(&mount, &unique))))
    });
    Ok(looked.await.map_err(|_| Failure::new(Exit::Failed, "the mount could not be examined"))??)
}

/// Refuses (5) a mount that is the bucket's own filesystem. Without writing only one that is marked already can be told.
async fn not_its_own(ends: &Ends, may_write: bool) -> Result<(), Failure> {
    let id = match may_write {
        // A mount that takes no mark is a problem that was told; what it is cannot be looked up.
        true => ends.mount.ensure_id().ok(),
        false => ends.mount.id()?,
    };
    match id {
        Some(id) => Ok(refuse_self_sync(ends, &id).await?),
        None => Ok(()),
    }
}
