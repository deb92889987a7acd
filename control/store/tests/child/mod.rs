//! A test of this binary, run as a process of its own that may be killed.

use std::env;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Starts the ignored test `entry` of this very binary, under `wrapper` if any, with `input` on its stdin.
///
/// What it prints is found on its stdout, between the lines of the test harness.
pub(crate) fn spawn(wrapper: &[String], entry: &str, input: &str) -> Child {
    let program = env::current_exe().unwrap();
    let mut words = wrapper
        .iter()
        .map(String::as_str)
        .chain([program.to_str().unwrap()]);
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .args([entry, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();

    child
}
