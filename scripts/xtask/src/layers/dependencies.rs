//! Each direct dependency of each member against the tables.

use super::table::{ROOMS, Room, TEST_AIDS, job, room};
use crate::report::Report;
use crate::workspace::{Dependency, Package};

pub(super) fn check(packages: &[Package], report: &mut Report) {
    for package in packages {
        match room(&package.name) {
            Some(room) => check_package(package, room, report),
            None => report.fault(format!(
                "{}: no such room in the table of layers (scripts/xtask/src/layers/table.rs)",
                package.name
            )),
        }
    }
    for room in ROOMS {
        if !packages.iter().any(|package| package.name == room.package) {
            report.fault(format!(
                "{}: in the table of layers, but not in the workspace",
                room.package
            ));
        }
    }
}

fn check_package(package: &Package, room: &Room, report: &mut Report) {
    if package.directory != std::path::Path::new(room.directory) {
        report.fault(format!("{}: belongs in {}", package.name, room.directory));
    }
    for dependency in &package.dependencies {
        if let Some(fault) = fault(room, dependency) {
            report.fault(fault);
        }
    }
}

fn fault(room: &Room, dependency: &Dependency) -> Option<String> {
    let (user, used) = (room.package, dependency.name.as_str());
    if super::table::room(used).is_some() {
        return (!room.uses.contains(&used)).then(|| format!("{user}: may not depend on {used}"));
    }
    if dependency.is_dev && TEST_AIDS.contains(&used) {
        return None;
    }
    let Some(job) = job(used) else {
        return Some(format!("{user}: {used} has no job in the table of layers"));
    };

    (!job.admits(user)).then(|| format!("{user}: may not use {used} ({})", job.job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::package;

    fn faults(name: &str, directory: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let mut packages: Vec<Package> = ROOMS
            .iter()
            .map(|room| package(room.package, room.directory, &[]))
            .collect();
        packages.retain(|package| package.name != name);
        packages.push(package(name, directory, dependencies));
        let mut report = Report::default();
        check(&packages, &mut report);

        report.faults().to_vec()
    }

    #[test]
    fn what_the_table_allows_is_no_fault() {
        let allowed = [
            ("protocol", false),
            ("agent-core", false),
            ("tokio", false),
            ("tempfile", true),
        ];

        assert_eq!(faults("agent-shell", "agent/shell", &allowed), [""; 0]);
    }

    #[test]
    fn a_layer_that_looks_up_is_caught() {
        assert_eq!(
            faults("protocol", "protocol", &[("control-core", false)]),
            ["protocol: may not depend on control-core"]
        );
    }

    #[test]
    fn a_layer_that_looks_up_in_its_tests_is_caught_too() {
        assert_eq!(
            faults("control-routing", "control/routing", &[("control-api", true)]),
            ["control-routing: may not depend on control-api"]
        );
    }

    #[test]
    fn a_crate_in_the_wrong_room_is_caught() {
        assert_eq!(
            faults("control-core", "control/core", &[("tokio", false)]),
            ["control-core: may not use tokio (runs the shells)"]
        );
        assert_eq!(
            faults("control-shell", "control/shell", &[("rusqlite", true)]),
            ["control-shell: may not use rusqlite (the embedded engine)"]
        );
    }

    #[test]
    fn test_aids_are_for_tests() {
        assert_eq!(
            faults(
                "protocol",
                "protocol",
                &[("serde_json", true), ("serde_json", false)]
            ),
            ["protocol: may not use serde_json (JSON, at the edges)"]
        );
    }

    #[test]
    fn a_crate_without_a_job_is_caught() {
        assert_eq!(
            faults("agent-shell", "agent/shell", &[("reqwest", false)]),
            ["agent-shell: reqwest has no job in the table of layers"]
        );
    }

    #[test]
    fn rooms_and_the_table_agree() {
        let mut report = Report::default();
        check(&[package("stables", "stables", &[])], &mut report);

        assert!(report.faults()[0].starts_with("stables: no such room"));
        assert_eq!(report.faults().len(), 1 + ROOMS.len());
        assert_eq!(
            faults("agent-core", "core", &[]),
            ["agent-core: belongs in agent/core"]
        );
    }
}
