//! The documents keep their promises: links lead somewhere, shell blocks work as printed, generated
//! pages equal the code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod configuration;
#[cfg(target_os = "linux")]
mod deployment;
mod errors;
mod grafana;
mod links;
mod markdown;
#[cfg(target_os = "linux")]
mod reader;
mod shell_blocks;
mod workflows;

/// Compares a page of `docs/` with what is generated, or replaces it where `UPDATE_DOCS` is set.
fn check(page: &str, generated: &str) {
    let path = markdown::root().join("docs").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/{page} is not what the code says: UPDATE_DOCS=1 cargo test --test documents"
    );
}
