//! Who runs: the owner record that locks, journals and operation directories carry, whether its process still lives, and the host's
//! name and clock for records and messages. Decides nothing by a clock.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::entry::Nanos;

/// Whoever lives is heard of every minute; for this long it may be missed.
const BEATS: Duration = Duration::from_secs(90);

/// Who holds or held a lock or a directory of temporaries.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// Boot id of the host (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When it began, nanoseconds since 1970.
    pub since: i64,
    /// Random id of the run.
    pub operation: String,
    /// When the process started, in the kernel's ticks since boot: tells a process from a later one with the same id. `None` where
    /// `/proc` does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// The namespace that the process id belongs to (inode of `/proc/self/ns/pid`): containers of one host share the boot id, not the
    /// ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
}

/// What can be told about an owner from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// This very process.
    Own,
    /// Another process of this host that runs.
    Alive,
    /// Of this host, and gone; where it is of an earlier boot, another machine may have the same name: see [`Owner::is_surely_dead`].
    Dead,
    /// Of another host or container: nothing can be told but by its heartbeat.
    Elsewhere,
}

impl Owner {
    /// The record of this process for a run.
    #[must_use]
    pub fn this(operation: &str) -> Owner {
        let pid = std::process::id();
        Owner {
            host: host_name(),
            boot: boot_id(),
            pid,
            since: now(),
            operation: operation.to_owned(),
            started: started(pid),
            pids: pid_namespace(),
        }
    }

    /// The record as one JSON line.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        crate::manifest::write_line(&mut out, self);
        out
    }

    /// Reads [`Owner::encode`]; `None` for a torn or foreign record.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Owner> {
        serde_json::from_slice(bytes.strip_suffix(b"\n")?).ok()
    }

    /// True when its host has not been started anew since: what it wrote is there, durable or not.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        let boot = boot_id();
        self.host == host_name() && self.boot == boot && !boot.is_empty()
    }

    /// True when it is dead and no other machine, last heard of `age` nanoseconds ago. Of a boot that is not this one it can only be told
    /// from a machine of the same name that runs by when it was heard of: before this one was started, and not within a minute.
    #[must_use]
    pub fn is_surely_dead(&self, age: Nanos) -> bool {
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
        let before_this_boot = || uptime().is_some_and(|uptime| age > uptime.max(BEATS));
        self.life() == Life::Dead && (self.is_of_this_boot() || before_this_boot())
    }

    /// Whether its process lives, as far as this host can tell. An unknown boot id is never taken for a reboot.
    #[must_use]
    pub fn life(&self) -> Life {
        if self.host != host_name() {
            return Life::Elsewhere;
        }
        let boot = boot_id();
        if self.boot.is_empty() || boot.is_empty() {
            return Life::Elsewhere;
        }
        if self.boot != boot {
            return Life::Dead;
        }
        if self.pids.is_some() && self.pids != pid_namespace() {
            return Life::Elsewhere;
        }
        if !fs::exists(format!("/proc/{}", self.pid)).unwrap_or(true) {
            return Life::Dead;
        }
        match (self.started, started(self.pid)) {
            (Some(then), Some(now)) if then != now => Life::Dead,
            _ if self.pid == std::process::id() => Life::Own,
            _ => Life::Alive,
        }
    }
}

/// Nanoseconds since 1970 as `2026-11-20 09:30:00 UTC`.
#[must_use]
pub fn clock_text(nanos: i64) -> String {
    let Ok(t) = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos)) else {
        return format!("{nanos} ns since 1970");
    };
    let (hour, minute, second) = t.to_hms();
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", t.year(), u8::from(t.month()), t.day())
}

/// Nanoseconds since 1970 by this host's clock; for records and messages only.
#[must_use]
pub fn now() -> Nanos {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX),
        Err(before) => Nanos::try_from(before.duration().as_nanos()).map_or(Nanos::MIN, |n| -n),
    }
}

/// This host's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Empty where the kernel does not tell.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Since this host was started; `None` where the kernel does not tell.
pub(super) fn uptime() -> Option<Duration> {
    let seconds: f64 = fs::read_to_string("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn pid_namespace() -> Option<u64> {
    Some(fs::metadata("/proc/self/ns/pid").ok()?.ino())
}

/// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)); the name before it may itself hold blanks and parentheses.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lives(owner: &Owner, life: Life) {
        assert_eq!(owner.life(), life, "{owner:?}");
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_id() {
        let me = Owner::this("op");
        lives(&me, Life::Own);
        lives(&Owner { started: None, ..me.clone() }, Life::Own);
        lives(&Owner { started: Some(1), ..me.clone() }, Life::Dead);
        lives(&Owner { pid: 1, started: started(1), ..me.clone() }, Life::Alive);
        lives(&Owner { pid: u32::MAX, ..me.clone() }, Life::Dead);
        lives(&Owner { boot: "another".into(), ..me.clone() }, Life::Dead);
        lives(&Owner { boot: String::new(), ..me.clone() }, Life::Elsewhere);
        lives(&Owner { pids: Some(1), ..me.clone() }, Life::Elsewhere);
        lives(&Owner { host: format!("{}-2", me.host), ..me }, Life::Elsewhere);
    }

    #[test]
    fn a_boot_is_told_from_an_earlier_one() {
        let me = Owner::this("op");
        assert!(me.is_of_this_boot() && Owner { pid: u32::MAX, ..me.clone() }.is_of_this_boot());
        assert!(!Owner { boot: "another".into(), ..me.clone() }.is_of_this_boot());
        assert!(!Owner { host: format!("{}-2", me.host), ..me }.is_of_this_boot());
    }

    #[test]
    fn another_machine_of_the_same_name_is_not_taken_for_an_earlier_boot() {
        let second = 1_000_000_000;
        let up = i64::try_from(uptime().expect("Linux tells").as_secs()).unwrap();
        let me = Owner::this("op");
        let before = Owner { boot: "another".into(), ..me.clone() };
        let dead = |owner: &Owner, seconds: i64| owner.is_surely_dead(seconds * second);
        assert!(dead(&before, up + 100) && !dead(&before, 0) && !dead(&before, 60) && !dead(&before, -5));
        assert!(dead(&Owner { pid: u32::MAX, ..me.clone() }, 0) && !dead(&me, up + 100));
        assert!(!dead(&Owner { host: format!("{}-2", me.host), ..before }, up + 100));
    }

    #[test]
    fn a_torn_record_is_none() {
        let bytes = Owner::this("op").encode();
        assert_eq!(Owner::decode(&bytes).map(|o| o.operation), Some("op".into()));
        for at in 0..bytes.len() {
            assert_eq!(Owner::decode(&bytes[..at]), None, "cut at {at}");
        }
        let first = r#"{"host":"h","boot":"b","pid":1,"since":-5,"operation":"x"}"#;
        assert!(Owner::decode(format!("{first}\n").as_bytes()).is_some(), "the fields of format 1 are enough");
    }

    #[test]
    fn times_are_shown_in_utc_to_the_second() {
        assert_eq!(clock_text(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(clock_text(1_795_166_999_999_999_999), "2026-11-20 09:29:59 UTC");
        assert_eq!(clock_text(-1), "1969-12-31 23:59:59 UTC");
        assert!(now() > 1_700_000_000_000_000_000 && !host_name().is_empty());
    }
}
