//! What stands at the head of every report: the day, the machine, the versions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

/// Day, machine and compiler in one line.
pub(crate) fn line() -> String {
    let (cpu, memory) = (cpu(), memory().map_or_else(String::new, |gib| format!(", {gib:.0} GiB of memory")));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let system = std::env::consts::OS;
    format!("{}; {cores} cores of {cpu}{memory}, {system}; {}", today(), rustc())
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// GiB.
fn memory() -> Option<f64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?;
    Some(kib.parse::<f64>().ok()? / f64::from(1 << 20))
}

/// The compiler of this machine, which has just built what is measured.
fn rustc() -> String {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-V").output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    if words.is_empty() { "rustc unknown".to_owned() } else { words.join(" ") }
}

/// The version of a package in a lock file, with its name; the name alone if it is not there.
pub(crate) fn locked(lock: &Path, package: &str) -> String {
    let text = fs::read_to_string(lock).unwrap_or_default();
    let (name, mut lines) = (format!("name = \"{package}\""), text.lines());
    lines.find(|line| *line == name);
    let version = lines.next().and_then(|line| line.strip_prefix("version = "));
    version.map_or_else(|| package.to_owned(), |version| format!("{package} {}", version.trim_matches('"')))
}

fn today() -> String {
    let days = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400);
    let (year, month, day) = date(days);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970-01-01 (UTC).
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let known = [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (10_957, (2000, 1, 1)), (11_016, (2000, 2, 29))];
        for (days, expected) in known.into_iter().chain([(20_818, (2026, 12, 31)), (20_819, (2027, 1, 1))]) {
            assert_eq!(date(days), expected, "{days}");
        }
    }

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("Cargo.lock");
        fs::write(&lock, "[[package]]\nname = \"gemm\"\nversion = \"0.19.0\"\n").unwrap();
        assert_eq!(locked(&lock, "gemm"), "gemm 0.19.0");
        assert_eq!(locked(&lock, "gem"), "gem");
    }
}
