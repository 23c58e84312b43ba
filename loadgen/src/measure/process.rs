//! What a process has used so far, as Linux tells it under `/proc`. Nothing elsewhere.
//!
//! Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5).

use std::fs;

/// A process that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    id: u32,
}

/// What it has used since its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Processor time of all threads, in user mode and in the kernel, microseconds.
    pub(crate) processor_us: f64,
    /// The most memory it ever held.
    pub(crate) peak_bytes: u64,
    /// The memory it holds.
    pub(crate) resident_bytes: u64,
    /// What it caused to be written to storage; absent if only its owner may know.
    pub(crate) written_bytes: Option<u64>,
}

impl Process {
    pub(crate) fn new(id: u32) -> Process {
        Process { id }
    }

    /// The generator itself.
    pub(crate) fn own() -> Process {
        Process { id: std::process::id() }
    }

    /// What it has used; nothing if it is gone or the system does not tell.
    pub(crate) fn usage(self) -> Option<Usage> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.id)).ok();
        let ticks = ticks(&read("stat")?)?;
        let status = read("status")?;
        let kib = |name: &str| line(&status, name).map(|kib| kib * 1024);
        Some(Usage {
            processor_us: ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64,
            peak_bytes: kib("VmHWM:")?,
            resident_bytes: kib("VmRSS:")?,
            written_bytes: read("io").and_then(|io| line(&io, "write_bytes:")),
        })
    }
}

/// utime and stime, the 14th and 15th field. The second one, the name in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    Some(user + fields.next()?.parse::<u64>().ok()?)
}

/// The number on the line that begins with this name.
fn line(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 41 1 0 0 20";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let io = "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n";
        assert_eq!(line(io, "write_bytes:"), Some(4096));
        assert_eq!(line("VmPeak:\t 9 kB\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_generator_sees_itself() {
        let usage = Process::own().usage().expect("Linux tells");
        assert!(usage.peak_bytes >= usage.resident_bytes && usage.resident_bytes > 0, "{usage:?}");
    }
}
