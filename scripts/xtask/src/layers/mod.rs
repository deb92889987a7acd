//! The architecture as tables, and the checks that hold the tree to them.
//!
//! [`table`] is the part to read: which room may use which, which crate has which job, what a pure room must ban. The
//! other files compare the tables with the tree, one aspect each.

mod dependencies;
mod graph;
mod manifests;
mod names;
mod rules;
mod table;

use std::error::Error;

use crate::report::Report;
use crate::workspace::Workspace;

/// Compares the whole workspace with the tables.
pub(crate) fn check(workspace: &Workspace) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    dependencies::check(&workspace.packages, &mut report);
    names::check(workspace, &mut report);
    rules::check(&workspace.files, &mut report);
    manifests::check(workspace, &mut report)?;
    graph::check(workspace, &mut report)?;

    Ok(report)
}
