//! The generated pages of `docs/` say what the code says. `UPDATE_DOCS=1` writes them anew.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod errors;

use std::path::Path;

/// Compares a page with what is generated, or replaces it where `UPDATE_DOCS` is set.
fn check(page: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/{page} is not what the code says: UPDATE_DOCS=1 cargo nextest run --test documents"
    );
}
