//! Where log lines go: to standard error, which journald collects. Results never go there.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt;

use crate::failure::Failure;

/// Starts logging. A service tells what an operator would want to know; a command only what may need a human.
/// `GABION_LOG` outweighs both (`debug`, `gabion=trace,warn`, ...).
pub(crate) fn start(is_service: bool) -> Result<(), Failure> {
    let usual = if is_service { "info" } else { "warn" };
    let wanted = std::env::var("GABION_LOG").unwrap_or_else(|_| usual.to_owned());
    let filter = filter(&wanted).map_err(|error| {
        Failure::usage(format!("GABION_LOG={wanted} cannot be used")).because(error.to_string())
    })?;
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // The journal writes the time itself.
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !std::io::stderr().is_terminal();
    let started = match in_journal {
        true => lines.without_time().try_init(),
        false => lines.try_init(),
    };

    started.map_err(|error| Failure::usage("logging was started already").because(error.to_string()))
}

fn filter(wanted: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_says_nothing_known_is_refused() {
        assert!(filter("info").is_ok() && filter("agent_core=trace,warn").is_ok());
        assert!(filter("agent_core=loud").is_err());
    }
}
