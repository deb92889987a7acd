//! What a bench is, and what it finds.

use std::io;

use e2e::lab::Lacking;

use crate::figure::Figure;

/// A bench by its name. Its figures are called by that name too: `NAME`, or `NAME_` and more.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Result<Findings, NotMeasured>,
}

/// What one run of a bench found.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// How it was measured, and what the words mean: paragraphs of Markdown.
    pub(crate) words: String,
    pub(crate) rows: Vec<Row>,
}

/// One figure, with what it is held against.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figure: Figure,
    /// None without a budget.
    pub(crate) budget: Option<Budget>,
}

/// What a figure must hold (DESIGN 11).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Budget {
    /// The most that p50 and p99 may be, in the figure's unit.
    Within { p50: f64, p99: Option<f64> },
    /// The most that p50 may be of the floor.
    AtMostOfFloor(f64),
    /// The least that p50 must be of the floor.
    AtLeastOfFloor(f64),
}

impl Budget {
    pub(crate) fn is_held_by(self, figure: &Figure) -> bool {
        match self {
            Self::Within { p50, p99 } => figure.p50 <= p50 && p99.is_none_or(|most| figure.p99 <= most),
            Self::AtMostOfFloor(most) => figure.ratio <= most,
            Self::AtLeastOfFloor(least) => figure.ratio >= least,
        }
    }
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMeasured {
    /// What was to be measured did not do what it does.
    #[error("not measured: {0}")]
    Broken(String),
    /// What was measured cannot be written down.
    #[error("the figures cannot be written down")]
    File(#[from] io::Error),
    /// This machine or this user cannot do it.
    #[error(transparent)]
    Lacking(#[from] Lacking),
    /// Too little was measured to be called a figure.
    #[error("{found} of {wanted} repetitions: {}", .reasons.join("; "))]
    TooFew {
        found: usize,
        wanted: usize,
        reasons: Vec<String>,
    },
    /// What stands in the docs is not what this program writes.
    #[error("{0} is not as this program writes it")]
    Unreadable(&'static str),
}
