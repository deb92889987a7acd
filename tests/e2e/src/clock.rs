//! Programs whose wall clock is ahead of this machine's, by libfaketime; the clocks that count durations stay as they are.

use std::path::PathBuf;
use std::time::Duration;

/// What starts a command so that its wall clock is `ahead`; none, with a notice, where that is not possible. The process is
/// the command itself.
pub fn ahead(ahead: Duration) -> Option<Vec<String>> {
    let Some(library) = library() else {
        eprintln!("skipped: libfaketime is missing (apt-get install faketime)");
        return None;
    };

    Some(vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME=+{}s", ahead.as_secs()),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ])
}

/// Below the directory of the machine's architecture, whose name differs.
fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten();

    places
        .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
}
