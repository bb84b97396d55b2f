//! Hands the commit, its date, the target and the features to `--version`. The commit is `unknown`
//! outside git, as in a package of crates.io.
//!
//! The date is the commit's, never today's: two builds of one commit are the same, bit by bit.

#![allow(clippy::print_stdout, reason = "cargo reads what a build script prints")]

use std::path::Path;
use std::process::Command;

fn main() {
    // Any line of this kind switches off the default: a rebuild after each change of any file.
    println!("cargo::rerun-if-changed=build.rs");
    let is_ours = Path::new(".git").exists();
    let git = |arguments: &[&str]| if is_ours { git(arguments) } else { None };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let date = git(&["show", "--no-patch", "--format=%cs", "HEAD"]);
    let unknown = || "unknown".to_owned();
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.unwrap_or_else(unknown));
    println!("cargo::rustc-env=BUILD_COMMIT_DATE={}", date.unwrap_or_else(unknown));
    println!("cargo::rustc-env=BUILD_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=BUILD_FEATURES={}", features());
    watch("HEAD", &git);
    // A commit changes the branch's file. A build for development need not begin anew for it: it may
    // name the commit that it was first built from.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
            watch(&branch, &git);
        }
        watch("packed-refs", &git);
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Returns the features that are on, by name. `default` only stands for others.
fn features() -> String {
    let on = std::env::vars().filter_map(|(name, _)| {
        let feature = name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-");
        (feature != "default").then_some(feature)
    });
    let mut on: Vec<_> = on.collect();
    on.sort();
    on.join(" ")
}

/// Runs the build script again when a file of git changes. One that is not there would always count as
/// changed.
fn watch(name: &str, git: &impl Fn(&[&str]) -> Option<String>) {
    if let Some(path) =
        git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists())
    {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
