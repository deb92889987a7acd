//! What the code of a room may not do, read from its production lines.
//!
//! The bans of clippy see through imports and re-exports, and are the finer net. These rules hold where clippy has
//! nothing to say: which room spawns, reads the environment or writes SQL.

use super::table::{Kind, Room, room};
use crate::report::Report;
use crate::source::{Literal, find_words, line_of};
use crate::workspace::RustFile;

pub(super) fn check(files: &[RustFile], report: &mut Report) {
    for file in files.iter().filter(|file| !file.is_test) {
        let Some(room) = file.package.as_deref().and_then(room) else {
            report.fault(format!(
                "{}: in no room of the table of layers",
                file.path.display()
            ));
            continue;
        };
        for finding in findings(file, room) {
            report.fault(format!(
                "{}:{}: {}",
                file.path.display(),
                finding.line,
                finding.text
            ));
        }
    }
}

struct Finding {
    line: usize,
    text: String,
}

fn findings(file: &RustFile, room: &Room) -> Vec<Finding> {
    let code = file.source.production();
    let mut found = Vec::new();
    if !matches!(room.kind, Kind::Cli | Kind::Tests | Kind::Tool) {
        found.extend(environment(code));
    }
    if room.kind == Kind::Pure {
        found.extend(impure_modules(code));
        found.extend(words(
            code,
            &["async", ".await"],
            "a pure room has nothing to wait for",
        ));
    }
    if !may_spawn(file, room) {
        found.extend(words(code, SPAWNS, "only shells spawn"));
        found.extend(spawns_on_something(code));
    }
    if !matches!(room.kind, Kind::Store | Kind::Tests | Kind::Tool) {
        let sql = file
            .source
            .production_literals()
            .filter(|literal| is_sql(&literal.text));
        found.extend(sql.map(sql_finding));
    }
    found
}

/// The demo is a world of its own: it runs the underlay and the processes that it shows.
fn may_spawn(file: &RustFile, room: &Room) -> bool {
    let is_demo = file.path.with_extension("").iter().any(|part| {
        part.to_str()
            .is_some_and(|part| part.split('_').any(|word| word == "demo"))
    });

    matches!(room.kind, Kind::Shell | Kind::Tests | Kind::Tool) || (room.kind == Kind::Cli && is_demo)
}

fn words(code: &str, unwanted: &[&str], why: &str) -> Vec<Finding> {
    unwanted
        .iter()
        .flat_map(|word| find_words(code, word).map(move |at| (at, word)))
        .map(|(at, word)| Finding {
            line: line_of(code, at),
            text: format!("`{word}`: {why}"),
        })
        .collect()
}

/// `set.spawn(work)` and the like; `command.spawn()` starts a process and takes nothing.
fn spawns_on_something(code: &str) -> Vec<Finding> {
    find_words(code, ".spawn(")
        .filter(|at| !code[at + ".spawn(".len()..].trim_start().starts_with(')'))
        .map(|at| Finding {
            line: line_of(code, at),
            text: "`.spawn(`: only shells spawn".to_owned(),
        })
        .collect()
}

/// Constants about the machine the program was compiled for are no environment.
fn environment(code: &str) -> Vec<Finding> {
    std_paths(code)
        .into_iter()
        .filter(|(_, path)| path.starts_with("env") && !path.starts_with("env::consts"))
        .map(|(line, _)| Finding {
            line,
            text: "`std::env`: only agent/cli reads the environment".to_owned(),
        })
        .collect()
}

fn impure_modules(code: &str) -> Vec<Finding> {
    std_paths(code)
        .into_iter()
        .filter_map(|(line, path)| {
            let module = path.split("::").next().unwrap_or(&path);
            IMPURE_MODULES.contains(&module).then(|| Finding {
                line,
                text: format!("`std::{module}`: a pure room does no I/O"),
            })
        })
        .collect()
}

/// Every path below `std` that the code names, without the `std::`, with its line. Groups are taken apart:
/// `std::{env, fs::File}` names `env` and `fs::File`.
fn std_paths(code: &str) -> Vec<(usize, String)> {
    find_words(code, "std::")
        .flat_map(|at| {
            let line = line_of(code, at);
            let rest = &code[at + "std::".len()..];
            let paths = match rest.strip_prefix('{') {
                Some(group) => group_members(group),
                None => vec![path_prefix(rest)],
            };
            paths.into_iter().map(move |path| (line, path))
        })
        .collect()
}

fn path_prefix(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || "_:".contains(*letter))
        .collect()
}

/// The members of a `{...}` group whose brace has been read, as far as their paths go.
fn group_members(group: &str) -> Vec<String> {
    let mut members = vec![String::new()];
    let mut depth = 0_usize;
    for letter in group.chars() {
        match letter {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => members.push(String::new()),
            _ if depth == 0 => members.last_mut().expect("it starts with one").push(letter),
            _ => {}
        }
    }
    members.iter().map(|member| path_prefix(member)).collect()
}

fn sql_finding(literal: &Literal) -> Finding {
    let start: String = literal.text.trim_start().chars().take(30).collect();

    Finding {
        line: literal.line,
        text: format!("SQL (`{start}`): only control/store writes SQL"),
    }
}

/// Whether a literal reads like a statement. `SELECT` and `UPDATE` are English words in lower case, and count only as
/// they are written in SQL.
fn is_sql(literal: &str) -> bool {
    let text = literal.trim_start();
    let upper = text.to_uppercase();
    let opens = STATEMENTS.iter().any(|statement| upper.starts_with(statement));
    let selects = text.starts_with("SELECT ");
    let updates = text.starts_with("UPDATE ") && find_words(text, "SET").next().is_some();

    opens || selects || updates
}

/// Whatever follows, these start work beside the caller.
const SPAWNS: &[&str] = &[
    "JoinSet",
    "LocalSet",
    "spawn_blocking",
    "spawn_local",
    "task::spawn",
    "thread::Builder",
    "thread::scope",
    "thread::spawn",
    "tokio::spawn",
];

const IMPURE_MODULES: &[&str] = &["fs", "os", "process", "thread"];

const STATEMENTS: &[&str] = &[
    "ALTER TABLE ",
    "BEGIN IMMEDIATE",
    "CREATE INDEX ",
    "CREATE TABLE ",
    "CREATE UNIQUE INDEX ",
    "DELETE FROM ",
    "DROP TABLE ",
    "INSERT INTO ",
    "INSERT OR IGNORE ",
    "INSERT OR REPLACE ",
    "PRAGMA ",
    "REPLACE INTO ",
    "VACUUM INTO ",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::file;

    fn faults(package: &str, path: &str, code: &str) -> Vec<String> {
        let mut report = Report::default();
        check(&[file(package, path, code)], &mut report);

        report.faults().to_vec()
    }

    #[test]
    fn the_environment_is_read_by_the_command_line_alone() {
        let reads = [
            "fn f() { std::env::var(NAME) }",
            "use std::env;",
            "use std::{collections::{BTreeMap, BTreeSet}, env::args};",
        ];
        for code in reads {
            assert_eq!(
                faults("control-shell", "control/shell/src/lib.rs", code),
                ["control/shell/src/lib.rs:1: `std::env`: only agent/cli reads the environment"],
                "{code}"
            );
            assert_eq!(faults("gabion", "agent/cli/src/main.rs", code), [""; 0]);
        }
    }

    #[test]
    fn compile_time_constants_are_no_environment() {
        let code = "const A: &str = env!(\"CARGO_PKG_VERSION\"); const B: &str = std::env::consts::OS;";

        assert_eq!(faults("protocol", "protocol/src/lib.rs", code), [""; 0]);
    }

    #[test]
    fn what_tests_and_comments_do_is_free() {
        let code = "//! Never uses std::env.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\n";

        assert_eq!(faults("protocol", "protocol/src/lib.rs", code), [""; 0]);
    }

    #[test]
    fn a_pure_room_waits_for_nothing_and_opens_nothing() {
        let code = "use std::fs::File;\nasync fn f() { g().await }\n";

        assert_eq!(
            faults("agent-core", "agent/core/src/lib.rs", code),
            [
                "agent/core/src/lib.rs:1: `std::fs`: a pure room does no I/O",
                "agent/core/src/lib.rs:2: `async`: a pure room has nothing to wait for",
                "agent/core/src/lib.rs:2: `.await`: a pure room has nothing to wait for",
            ]
        );
        assert_eq!(faults("agent-shell", "agent/shell/src/lib.rs", code), [""; 0]);
    }

    #[test]
    fn only_shells_and_the_demo_spawn() {
        for code in [
            "fn f() { tokio::spawn(g()); }",
            "fn f() { set.spawn(g()); }",
            "fn f() { thread::scope(g) }",
        ] {
            assert_eq!(
                faults("control-store", "control/store/src/lib.rs", code).len(),
                1,
                "{code}"
            );
            assert_eq!(faults("gabion", "agent/cli/src/run.rs", code).len(), 1, "{code}");
            assert_eq!(
                faults("gabion", "agent/cli/src/demo/world.rs", code),
                [""; 0],
                "{code}"
            );
            assert_eq!(
                faults("control-shell", "control/shell/src/lib.rs", code),
                [""; 0],
                "{code}"
            );
        }
    }

    #[test]
    fn a_process_is_not_a_task() {
        let code = "fn f() { command.spawn()?; }";

        assert_eq!(faults("gabion", "agent/cli/src/editor.rs", code), [""; 0]);
    }

    #[test]
    fn sql_stays_in_the_store() {
        let code = "const A: &str = \"\n    INSERT INTO rows VALUES (?1)\";\nconst B: &str = \"SELECT 1\";";

        assert_eq!(
            faults("control-store", "control/store/src/sqlite.rs", code),
            [""; 0]
        );
        assert_eq!(
            faults("control-shell", "control/shell/src/lib.rs", code),
            [
                "control/shell/src/lib.rs:1: SQL (`INSERT INTO rows VALUES (?1)`): only control/store writes SQL",
                "control/shell/src/lib.rs:3: SQL (`SELECT 1`): only control/store writes SQL",
            ]
        );
    }

    #[test]
    fn english_is_not_sql() {
        assert!(!is_sql("select a relay from the pool"));
        assert!(!is_sql("UPDATE THE AGENT"));
        assert!(!is_sql("cannot insert into the table"));
        assert!(is_sql("UPDATE nodes SET state = 2"));
        assert!(is_sql("pragma journal_mode = wal"));
    }

    #[test]
    fn a_file_outside_every_room_is_a_fault() {
        assert_eq!(
            faults("stray", "stray/src/lib.rs", ""),
            ["stray/src/lib.rs: in no room of the table of layers"]
        );
    }
}
