//! Cargo.lock against a list of security advisories, without the network.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use semver::{Comparator, Op, Prerelease, Version, VersionReq};
use serde_json::Value;
use toml::Table;

use crate::report::Report;
use crate::workspace::Workspace;

/// Compares with the list beside the project.
pub(crate) fn check(workspace: &Workspace) -> Result<Report, Box<dyn Error>> {
    check_against(workspace, &workspace.root.join(LIST))
}

/// Compares with the list at `path`: an object per line with `id`, `package`, `title`, `patched`, `unaffected`,
/// `informational` and `withdrawn`. Without a list there is nothing to compare, which is said and fails nothing.
pub(crate) fn check_against(workspace: &Workspace, path: &Path) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    let list = match fs::read_to_string(path) {
        Ok(list) => list,
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            report.notice(format!("advisories: skipped, there is no {}", path.display()));
            return Ok(report);
        }
        Err(cause) => return Err(format!("{}: {cause}", path.display()).into()),
    };
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let locked = locked(&lock)?;
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let advisory = Advisory::parse(line).map_err(|cause| format!("{}: {cause}", path.display()))?;
        for package in locked.iter().filter(|package| advisory.concerns(package)) {
            advisory.tell(package, &mut report);
        }
    }

    Ok(report)
}

/// A crate from a registry, at the version that is built.
#[derive(Debug)]
struct Locked {
    name: String,
    version: Version,
}

fn locked(lock: &str) -> Result<Vec<Locked>, Box<dyn Error>> {
    let lock: Table = lock.parse()?;
    let packages = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();

    packages
        .filter(|package| package.get("source").is_some())
        .map(|package| {
            let field = |key: &str| package.get(key).and_then(toml::Value::as_str).unwrap_or_default();
            Ok(Locked {
                name: field("name").to_owned(),
                version: Version::parse(field("version"))?,
            })
        })
        .collect()
}

#[derive(Debug)]
struct Advisory {
    id: String,
    package: String,
    title: String,
    /// Versions in any of these are free of it.
    free: Vec<VersionReq>,
    /// `unmaintained` or `notice`: worth knowing, and no hole.
    is_only_news: bool,
    is_withdrawn: bool,
}

impl Advisory {
    fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let value: Value = serde_json::from_str(line)?;
        let text = |key: &str| {
            value[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("no {key}: {line}"))
        };
        let ranges = |key: &str| -> Result<Vec<VersionReq>, Box<dyn Error>> {
            let ranges = value[key].as_array().ok_or_else(|| format!("no {key}: {line}"))?;
            ranges
                .iter()
                .map(|range| Ok(VersionReq::parse(range.as_str().unwrap_or_default())?))
                .collect()
        };

        Ok(Self {
            id: text("id")?,
            package: text("package")?,
            title: text("title")?,
            free: [ranges("patched")?, ranges("unaffected")?].concat(),
            is_only_news: matches!(value["informational"].as_str(), Some("unmaintained" | "notice")),
            is_withdrawn: !value["withdrawn"].is_null(),
        })
    }

    fn concerns(&self, package: &Locked) -> bool {
        let is_free = || self.free.iter().any(|range| covers(range, &package.version));

        !self.is_withdrawn && self.package == package.name && !is_free()
    }

    fn tell(&self, package: &Locked, report: &mut Report) {
        let text = format!(
            "{} {}: {} ({})",
            package.name, package.version, self.title, self.id
        );
        match self.is_only_news {
            true => report.notice(text),
            false => report.fault(text),
        }
    }
}

/// Whether `version` lies in `range` by plain precedence.
///
/// `VersionReq::matches` answers another question, which version cargo should choose, and leaves pre-releases out:
/// 2.0.0-rc.1 does not match `>=1.0.0`, although what 1.0.0 mended stays mended in it.
fn covers(range: &VersionReq, version: &Version) -> bool {
    range
        .comparators
        .iter()
        .all(|comparator| satisfies(comparator, version))
}

fn satisfies(comparator: &Comparator, version: &Version) -> bool {
    let floor = floor(comparator);
    let is_at_least = || version.cmp_precedence(&floor).is_ge();
    let is_below = |ceiling: Version| version.cmp_precedence(&ceiling).is_lt();
    match comparator.op {
        Op::Greater if comparator.patch.is_some() => version.cmp_precedence(&floor).is_gt(),
        Op::Greater => version.cmp_precedence(&next(comparator)).is_ge(),
        Op::GreaterEq => is_at_least(),
        Op::Less => is_below(floor),
        Op::LessEq | Op::Exact if comparator.patch.is_some() => {
            let order = version.cmp_precedence(&floor);
            order.is_eq() || (comparator.op == Op::LessEq && order.is_lt())
        }
        Op::LessEq => is_below(next(comparator)),
        Op::Exact | Op::Wildcard => is_at_least() && is_below(next(comparator)),
        Op::Tilde => {
            is_at_least()
                && is_below(next(&Comparator {
                    patch: None,
                    ..comparator.clone()
                }))
        }
        Op::Caret => is_at_least() && is_below(next_incompatible(comparator)),
        // The enum is open; an operator that is not known frees no version.
        _ => false,
    }
}

fn floor(comparator: &Comparator) -> Version {
    let (minor, patch) = (comparator.minor.unwrap_or(0), comparator.patch.unwrap_or(0));

    Version {
        pre: comparator.pre.clone(),
        ..Version::new(comparator.major, minor, patch)
    }
}

/// The lowest version above everything that starts like `comparator`: 1.3.0-0 for `1.2`, 2.0.0-0 for `1`.
fn next(comparator: &Comparator) -> Version {
    let (major, minor) = (comparator.major, comparator.minor);
    match (minor, comparator.patch) {
        (None, _) => lowest(major + 1, 0, 0),
        (Some(minor), None) => lowest(major, minor + 1, 0),
        (Some(minor), Some(patch)) => lowest(major, minor, patch + 1),
    }
}

/// The lowest version that cargo calls incompatible with `comparator`: the leftmost number that is not zero counts.
fn next_incompatible(comparator: &Comparator) -> Version {
    match (comparator.major, comparator.minor, comparator.patch) {
        (0, Some(0), Some(patch)) => lowest(0, 0, patch + 1),
        (0, Some(minor), _) => lowest(0, minor + 1, 0),
        (major, _, _) => lowest(major + 1, 0, 0),
    }
}

/// The first pre-release of a version, below which nothing of it exists.
fn lowest(major: u64, minor: u64, patch: u64) -> Version {
    let pre = Prerelease::new("0").expect("a number is a valid pre-release");

    Version {
        pre,
        ..Version::new(major, minor, patch)
    }
}

/// Where the list stands when there is one.
const LIST: &str = "../shared/advisories.jsonl";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::Scratch;

    fn is_covered(range: &str, version: &str) -> bool {
        covers(
            &VersionReq::parse(range).unwrap(),
            &Version::parse(version).unwrap(),
        )
    }

    #[test]
    fn bounds_are_exact() {
        assert!(is_covered(">= 0.9.1", "0.9.1"));
        assert!(!is_covered(">= 0.9.1", "0.9.0"));
        assert!(is_covered("> 1.2.3", "1.2.4"));
        assert!(!is_covered("> 1.2.3", "1.2.3"));
        assert!(is_covered("<= 1.2.3", "1.2.3"));
        assert!(!is_covered("< 1.2.3", "1.2.3"));
        assert!(is_covered("= 1.2.3", "1.2.3"));
        assert!(!is_covered("= 1.2.3", "1.2.4"));
        assert!(is_covered(">= 1.2.3, < 2.0.0", "1.9.0"));
        assert!(!is_covered(">= 1.2.3, < 2.0.0", "2.0.0"));
    }

    #[test]
    fn shortened_versions_stand_for_all_that_start_so() {
        assert!(!is_covered("> 1.2", "1.2.9"));
        assert!(is_covered("> 1.2", "1.3.0"));
        assert!(is_covered("<= 1.2", "1.2.9"));
        assert!(!is_covered("<= 1.2", "1.3.0"));
        assert!(is_covered("= 1.2", "1.2.9"));
        assert!(is_covered("1.2.*", "1.2.9"));
        assert!(!is_covered("1.2.*", "1.3.0"));
        assert!(is_covered("~1.2.3", "1.2.9"));
        assert!(!is_covered("~1.2.3", "1.3.0"));
    }

    #[test]
    fn a_caret_ends_at_the_next_incompatible_version() {
        assert!(is_covered("^1.2.3", "1.9.0"));
        assert!(!is_covered("^1.2.3", "2.0.0"));
        assert!(is_covered("^0.2.3", "0.2.9"));
        assert!(!is_covered("^0.2.3", "0.3.0"));
        assert!(is_covered("^0.0.3", "0.0.3"));
        assert!(!is_covered("^0.0.3", "0.0.4"));
        assert!(!is_covered("0.54.2", "0.55.0"));
    }

    #[test]
    fn a_pre_release_stands_before_its_release_and_after_all_that_is_older() {
        assert!(is_covered(">= 1.0.0", "2.0.0-rc.1"));
        assert!(!is_covered(">= 2.0.0", "2.0.0-rc.1"));
        assert!(is_covered(">= 0.3.0-beta.1", "0.3.0-beta.2"));
        assert!(!is_covered(">= 0.3.0-beta.1", "0.3.0-alpha.9"));
        assert!(!is_covered("^1.2.3", "2.0.0-rc.1"));
        assert!(is_covered("< 2.0.0", "2.0.0-rc.1"));
        assert!(is_covered(">= 1.0.0", "1.0.0+spec-1.1.0"));
    }

    #[test]
    fn a_version_below_the_patch_is_a_fault() {
        let workspace = Fixture::new();
        let line = r#"{"id":"RUSTSEC-2026-0001","package":"quinn","title":"hole","patched":[">= 0.11.13"],"unaffected":["< 0.11.0"],"informational":null,"withdrawn":null}"#;

        assert_eq!(
            workspace.judge(line).faults(),
            ["quinn 0.11.12: hole (RUSTSEC-2026-0001)"]
        );
        assert!(workspace.judge(&line.replace("0.11.13", "0.11.12")).is_clean());
        assert!(workspace.judge(&line.replace("< 0.11.0", "< 0.12.0")).is_clean());
        assert!(workspace.judge(&line.replace("quinn", "quiche")).is_clean());
        assert!(
            workspace
                .judge(&line.replace("\"withdrawn\":null", "\"withdrawn\":\"2026-01-01\""))
                .is_clean()
        );
        assert!(
            !workspace
                .judge(&line.replace("\"informational\":null", "\"informational\":\"unsound\""))
                .is_clean()
        );
    }

    #[test]
    fn news_is_told_and_fails_nothing() {
        let line = r#"{"id":"RUSTSEC-2026-0002","package":"quinn","title":"gone","patched":[],"unaffected":[],"informational":"unmaintained","withdrawn":null}"#;
        let report = Fixture::new().judge(line);

        assert!(report.is_clean());
        assert_eq!(report.notices(), ["quinn 0.11.12: gone (RUSTSEC-2026-0002)"]);
    }

    #[test]
    fn a_pre_release_after_the_patch_is_free() {
        let line = r#"{"id":"RUSTSEC-2026-0005","package":"early","title":"hole","patched":[">= 1.0.0"],"unaffected":[],"informational":null,"withdrawn":null}"#;

        assert!(Fixture::new().judge(line).is_clean());
        assert!(
            !Fixture::new()
                .judge(&line.replace(">= 1.0.0", ">= 2.0.0"))
                .is_clean()
        );
    }

    #[test]
    fn our_own_crates_are_not_looked_up() {
        let line = r#"{"id":"RUSTSEC-2026-0003","package":"protocol","title":"other","patched":[],"unaffected":[],"informational":null,"withdrawn":null}"#;

        assert!(Fixture::new().judge(line).is_clean());
    }

    #[test]
    fn a_missing_list_is_said_and_fails_nothing() {
        let fixture = Fixture::new();
        let report = check_against(&fixture.workspace(), &fixture.scratch.path("absent.jsonl")).unwrap();

        assert!(report.is_clean());
        assert!(report.notices()[0].starts_with("advisories: skipped"));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_no_pass() {
        let fixture = Fixture::new();
        let path = fixture
            .scratch
            .write("list.jsonl", "{\"id\":\"RUSTSEC-2026-0004\"}\n");

        assert!(check_against(&fixture.workspace(), &path).is_err());
    }

    struct Fixture {
        scratch: Scratch,
    }

    impl Fixture {
        fn new() -> Self {
            let scratch = Scratch::new();
            scratch.write("Cargo.lock", LOCK);
            Self { scratch }
        }

        fn workspace(&self) -> Workspace {
            self.scratch.workspace(Vec::new())
        }

        fn judge(&self, list: &str) -> Report {
            let path = self.scratch.write("list.jsonl", list);
            check_against(&self.workspace(), &path).unwrap()
        }
    }

    const LOCK: &str = r#"
version = 4

[[package]]
name = "early"
version = "2.0.0-rc.1"
source = "registry"

[[package]]
name = "protocol"
version = "0.1.0"

[[package]]
name = "quinn"
version = "0.11.12"
source = "registry"
"#;
}
