//! Where and when something was measured.

use std::fs;

/// Build, processor, cores, memory, kernel, and how busy it was before the bench began.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kilobytes: u64 = memory
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();

    // What is measured lies beside this program and has its profile.
    let profile = if cfg!(debug_assertions) {
        "a development build"
    } else {
        "a release build"
    };

    format!(
        "{profile} on {cores} cores of {processor}, {} GiB, Linux {}, load {load} before it began",
        (kilobytes + HALF_A_GIB) / (2 * HALF_A_GIB),
        release(&kernel)
    )
}

/// The date in UTC.
pub(crate) fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The value of the first line that begins with `name`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;

    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a kernel's builder appended to its number says nothing to others.
fn release(kernel: &str) -> &str {
    let end = kernel.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'));

    kernel[..end.unwrap_or(kernel.len())].trim_end_matches('.')
}

const HALF_A_GIB: u64 = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_named_by_its_number() {
        assert_eq!(release("6.18.5-builder+7\n"), "6.18.5");
        assert_eq!(release("6.18.\n"), "6.18");
    }
}
