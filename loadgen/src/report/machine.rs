//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// A machine, as far as it tells.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// Processors that the generator may use, and shares with a server that it starts.
    pub(crate) processors: usize,
    /// What the processor calls itself.
    pub(crate) model: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) system: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let system = format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH);
        Machine {
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            model: after(&read("/proc/cpuinfo"), "model name").map(str::to_owned),
            memory_bytes: after(&read("/proc/meminfo"), "MemTotal")
                .and_then(|size| size.split(' ').next()?.parse::<u64>().ok())
                .map(|kib| kib * 1024),
            system: system.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

/// What stands after the colon on the first line of that name.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        assert_eq!(after("processor : 0\nmodel name\t: A CPU @ 2 GHz\n", "model name"), Some("A CPU @ 2 GHz"));
        assert_eq!(after("processor : 0\n", "model name"), None);
    }
}
