//! Where the programs under test are, and the scratch directories of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The root of the repository.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies in the repository")
}

/// `target/<profile>`, found from the running test so that `--target-dir` is respected.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("a program lies in a directory");
    let dir = if dir.ends_with("deps") {
        dir.parent().expect("deps has a parent")
    } else {
        dir
    };
    dir.to_path_buf()
}

/// `target`.
pub fn target_dir() -> PathBuf {
    profile_dir()
        .parent()
        .expect("a profile lies in the target directory")
        .to_path_buf()
}

/// The `vivarium` program: the one that `VIVARIUM_TESTS_PROGRAM` names, or else built. Built once
/// per test process by cargo, which answers at once when it is fresh: an integration test has no
/// other way to get at a program of another package.
pub fn vivarium() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("VIVARIUM_TESTS_PROGRAM") {
        Some(path) => path.into(),
        None => build("vivarium", "vivarium"),
    })
}

/// The simulator: the one that `VIVARIUM_TESTS_SIMULATOR` names, or else built.
pub fn vivarium_sim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("VIVARIUM_TESTS_SIMULATOR") {
        Some(path) => path.into(),
        None => build("vivarium-sim", "vivarium-sim"),
    })
}

fn build(package: &str, program: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = profile_dir();
    let mut command = Command::new(cargo);
    command
        .current_dir(repository())
        .args(["build", "--quiet", "-p", package, "--bin", program]);
    command.arg("--target-dir").arg(target_dir());
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "cargo can not build {program}");
    let path = profile.join(program);
    assert!(
        path.is_file(),
        "cargo built {program}, but not at {}",
        path.display()
    );
    path
}

/// A fresh scratch directory below `target`.
pub fn scratch(name: &str) -> PathBuf {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let dir = target_dir()
        .join("scratch")
        .join(format!("{name}-{}-{turn}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("target is writable");
    dir
}
