//! The workspace as cargo and the file system see it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::source::Source;

/// Everything the checks read, read once.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
    pub(crate) files: Vec<RustFile>,
    /// Every directory, relative to the root.
    pub(crate) directories: Vec<PathBuf>,
}

/// A member of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root of the workspace.
    pub(crate) directory: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether only tests, examples and benches of the package see it.
    pub(crate) is_dev: bool,
}

/// A Rust file of the workspace.
#[derive(Debug)]
pub(crate) struct RustFile {
    /// Relative to the root of the workspace.
    pub(crate) path: PathBuf,
    /// The member whose directory it is in.
    pub(crate) package: Option<String>,
    /// Whether nothing but tests is in it.
    pub(crate) is_test: bool,
    pub(crate) source: Source,
}

impl Workspace {
    /// Reads the workspace around the current directory.
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let metadata = metadata()?;
        let root = PathBuf::from(text(&metadata, "workspace_root"));
        let packages: Vec<Package> = list(&metadata, "packages")
            .map(|value| package(value, &root))
            .collect();
        let (files, directories) = walk(&root)?;

        Ok(Self {
            files: read(&root, files, &packages)?,
            root,
            packages,
            directories,
        })
    }
}

fn metadata() -> Result<Value, Box<dyn Error>> {
    let output = Command::new("cargo")
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|cause| format!("cannot run cargo: {cause}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }

    Ok(serde_json::from_slice(&output.stdout)?)
}

fn package(value: &Value, root: &Path) -> Package {
    let manifest = PathBuf::from(text(value, "manifest_path"));
    let directory = manifest.parent().unwrap_or(root);

    Package {
        name: text(value, "name").to_owned(),
        directory: directory.strip_prefix(root).unwrap_or(directory).to_owned(),
        dependencies: list(value, "dependencies")
            .map(|dependency| Dependency {
                name: text(dependency, "name").to_owned(),
                is_dev: dependency["kind"].as_str() == Some("dev"),
            })
            .collect(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// All Rust files and all directories below `root`, relative to it, sorted. Hidden directories and cargo's output are
/// left out.
fn walk(root: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Box<dyn Error>> {
    let mut files = BTreeSet::new();
    let mut directories = BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let relative = path.strip_prefix(root)?.to_owned();
            let is_directory = entry.file_type()?.is_dir();
            if is_directory && is_ours(&path) {
                directories.insert(relative);
                pending.push(path);
            } else if !is_directory && path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(relative);
            }
        }
    }

    Ok((files.into_iter().collect(), directories.into_iter().collect()))
}

/// Cargo marks its output directory as a cache.
fn is_ours(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    let is_hidden = name.to_string_lossy().starts_with('.');

    !is_hidden && !directory.join("CACHEDIR.TAG").exists()
}

fn read(root: &Path, paths: Vec<PathBuf>, packages: &[Package]) -> Result<Vec<RustFile>, Box<dyn Error>> {
    let mut files = Vec::new();
    for path in paths {
        let text =
            fs::read_to_string(root.join(&path)).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let owner = owner_of(&path, packages);
        files.push(RustFile {
            is_test: owner.is_some_and(|package| is_test_target(&path, package)),
            package: owner.map(|package| package.name.clone()),
            source: Source::scan(&text),
            path,
        });
    }
    mark_test_modules(&mut files);

    Ok(files)
}

fn owner_of<'a>(path: &Path, packages: &'a [Package]) -> Option<&'a Package> {
    packages
        .iter()
        .filter(|package| path.starts_with(&package.directory))
        .max_by_key(|package| package.directory.components().count())
}

/// Whether `path` belongs to an integration test or a bench of `package`.
fn is_test_target(path: &Path, package: &Package) -> bool {
    ["tests", "benches"]
        .iter()
        .any(|folder| path.starts_with(package.directory.join(folder)))
}

/// Marks the files that a `#[cfg(test)] mod name;` names, with everything below them.
fn mark_test_modules(files: &mut [RustFile]) {
    let roots: Vec<PathBuf> = files
        .iter()
        .flat_map(|file| {
            let folder = folder_of_modules(&file.path);
            file.source
                .test_files()
                .map(move |name| folder.join(name))
                .collect::<Vec<_>>()
        })
        .collect();
    for file in files {
        let is_below = |root: &PathBuf| file.path.starts_with(root) || file.path == root.with_extension("rs");
        file.is_test |= roots.iter().any(is_below);
    }
}

/// Where the modules live that the file at `path` declares.
fn folder_of_modules(path: &Path) -> PathBuf {
    let is_root = path
        .file_stem()
        .is_some_and(|stem| stem == "lib" || stem == "main" || stem == "mod");
    match is_root {
        true => path.parent().unwrap_or(path).to_owned(),
        false => path.with_extension(""),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Workspaces for tests of the checks.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    pub(crate) fn package(name: &str, directory: &str, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            directory: PathBuf::from(directory),
            dependencies: dependencies
                .iter()
                .map(|(name, is_dev)| Dependency {
                    name: (*name).to_owned(),
                    is_dev: *is_dev,
                })
                .collect(),
        }
    }

    /// A directory that is removed at the end of the test.
    pub(crate) struct Scratch {
        root: PathBuf,
    }

    impl Scratch {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("xtask-{}-{number}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self { root }
        }

        pub(crate) fn path(&self, path: &str) -> PathBuf {
            self.root.join(path)
        }

        /// Writes a file, and the directories it is in, and returns its full path.
        pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        /// A workspace with this root and no Rust files.
        pub(crate) fn workspace(&self, packages: Vec<Package>) -> Workspace {
            Workspace {
                root: self.root.clone(),
                packages,
                files: Vec::new(),
                directories: Vec::new(),
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    pub(crate) fn file(package: &str, path: &str, text: &str) -> RustFile {
        RustFile {
            path: PathBuf::from(path),
            package: Some(package.to_owned()),
            is_test: false,
            source: Source::scan(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Scratch, file, package};
    use super::*;

    #[test]
    fn a_file_belongs_to_the_innermost_package() {
        let packages = [
            package("outer", "agent", &[]),
            package("inner", "agent/core", &[]),
        ];

        let owner = owner_of(Path::new("agent/core/src/lib.rs"), &packages);
        assert_eq!(owner.map(|package| package.name.as_str()), Some("inner"));
        assert!(owner_of(Path::new("docs/example.rs"), &packages).is_none());
    }

    #[test]
    fn the_room_for_tests_is_not_itself_a_test() {
        let sim = package("sim", "tests/sim", &[]);

        assert!(!is_test_target(Path::new("tests/sim/src/lib.rs"), &sim));
        assert!(is_test_target(Path::new("tests/sim/tests/paths.rs"), &sim));
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_found() {
        let mut files = [
            file("a", "a/src/lib.rs", "#[cfg(test)]\nmod model;\nmod lease;\n"),
            file("a", "a/src/lease.rs", "#[cfg(test)]\nmod tests;\n"),
            file("a", "a/src/lease/tests.rs", ""),
            file("a", "a/src/model.rs", ""),
            file("a", "a/src/model/steps.rs", ""),
        ];
        mark_test_modules(&mut files);

        let marked: Vec<bool> = files.iter().map(|file| file.is_test).collect();
        assert_eq!(marked, [false, false, true, true, true]);
    }

    #[test]
    fn hidden_directories_and_output_are_not_walked() {
        let scratch = Scratch::new();
        for path in [
            "a/src/lib.rs",
            ".hidden/lib.rs",
            "out/debug/lib.rs",
            "a/notes.txt",
        ] {
            scratch.write(path, "");
        }
        scratch.write("out/CACHEDIR.TAG", "");

        let (files, directories) = walk(&scratch.path("")).unwrap();
        assert_eq!(files, [PathBuf::from("a/src/lib.rs")]);
        assert_eq!(directories, [PathBuf::from("a"), PathBuf::from("a/src")]);
    }

    #[test]
    fn this_very_workspace_can_be_read() {
        let workspace = Workspace::load().expect("cargo describes the workspace");

        let own = workspace
            .files
            .iter()
            .find(|file| file.path.ends_with("xtask/src/workspace.rs"));
        assert_eq!(own.and_then(|file| file.package.as_deref()), Some("xtask"));
        assert!(
            workspace
                .files
                .iter()
                .all(|file| !file.path.starts_with("target"))
        );
    }
}
