//! How a command ends, as a number for scripts.

/// The exit codes that scripts rely on; the numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// The command line, a configuration file or another input is wrong.
    Usage = 2,
    /// A check did its work and found something.
    Problems = 3,
    /// The controller, or the agent of this host, does not answer.
    Unreachable = 4,
    NotAllowed = 5,
    /// The state of things does not admit it: repeat what was decided already, or wait.
    Conflict = 6,
    TimedOut = 7,
    /// Done for some of what was named, and not for the rest.
    Partial = 8,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        // The discriminants above are the numbers.
        Self::from(exit as u8)
    }
}
