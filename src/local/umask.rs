//! The umask of this process, which tells the permission bits of a new file. Changes nothing.

use rustix::fs::Mode;

/// The permission bits that a new file does not get.
pub(crate) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    of_status(&status).unwrap_or_else(|| {
        // Without /proc it cannot be asked for without setting it; what other threads create meanwhile is private.
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

fn of_status(status: &str) -> Option<u32> {
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_the_one_that_the_system_tells() {
        assert_eq!(of_status("Name:\tlsync\nUmask:\t0027\nState:\tR (running)\n"), Some(0o027));
        assert_eq!(of_status("Name:\tlsync\n"), None);
        let file = tempfile::tempdir().unwrap();
        std::fs::write(file.path().join("new"), "").unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file.path().join("new")).unwrap());
        assert_eq!(mode & 0o777, 0o666 & !umask());
    }
}
