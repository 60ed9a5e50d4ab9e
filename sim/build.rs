//! Gives the program the commit that it is built from. Outside a git checkout there is none.

use std::path::Path;
use std::process::Command;

/// What git says, if it is there and knows.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The file decides whether this is looked at again: one that does not exist would always do so.
fn watch(file: &str) {
    if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|p| Path::new(p).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=VIVARIUM_COMMIT");
    if std::env::var_os("VIVARIUM_COMMIT").is_some() {
        return;
    }
    // A commit is noted in the log of HEAD, as is every checkout.
    watch("HEAD");
    watch("logs/HEAD");
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=VIVARIUM_COMMIT={commit}");
    }
}
