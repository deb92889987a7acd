//! What the kernel says of a process.

use std::fs;

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> Result<u64, String> {
    let status = read(pid, "status")?;
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });

    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| format!("process {pid} has no memory"))
}

/// Processor time so far, in seconds: of the process itself, in user and kernel mode.
pub(crate) fn processor_seconds(pid: u32) -> Result<f64, String> {
    let stat = read(pid, "stat")?;
    // The name may hold anything; what follows its last parenthesis is plain.
    let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
    let mut fields = rest.split_whitespace().skip(USER_TIME).map(str::parse::<u64>);
    let mut next = || fields.next().and_then(Result::ok).ok_or("no times in stat");

    Ok((next()? + next()?) as f64 / TICKS)
}

fn read(pid: u32, what: &str) -> Result<String, String> {
    fs::read_to_string(format!("/proc/{pid}/{what}")).map_err(|error| format!("process {pid}: {error}"))
}

/// Fields between the name and the user time (proc(5)).
const USER_TIME: usize = 11;
/// A second, as Linux counts for user space on every platform that it has.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_run() {
        let own = std::process::id();
        let begun = processor_seconds(own).unwrap();
        assert!(resident(own).unwrap() > 1024 * 1024);

        let mut sum = 0_u64;
        while processor_seconds(own).unwrap() <= begun {
            sum = (0..100_000).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert!(std::hint::black_box(sum) < u64::MAX);
    }
}
