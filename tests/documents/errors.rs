//! `docs/errors.md`: every code of a response and every exit code, from the catalogue.

use std::fmt::Write as _;

use nexudus_proxy::problem::{ExitCode, ProblemKind};

#[test]
fn the_page_of_errors_is_the_catalogue() {
    crate::check("errors.md", &page());
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut rows: Vec<String> = vec![];
    for kind in ProblemKind::ALL {
        let Some(status) = kind.status() else { continue };
        let row = format!(
            "| `{}` | {} | {} | {} | {} |",
            kind.code(),
            status.as_u16(),
            kind.title(),
            kind.hint().unwrap_or(IN_PARTS).replace('|', "\\|"),
            kind.exit_code().number(),
        );
        // Kinds that differ only in their token of RFC 9209 are one row.
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    page.push_str(&rows.join("\n"));
    page.push_str(EXIT_CODES);
    for code in ExitCode::ALL {
        writeln!(page, "| {} | {} |", code.number(), code.meaning()).unwrap();
    }
    page
}

const HEAD: &str = "\
<!-- Generated from src/problem/ by tests/documents/errors.rs: UPDATE_DOCS=1 cargo nextest run --test documents -->

# Errors

Run `nexudus-proxy doctor` first: it checks everything that a request needs, and says how to repair
what fails.

## Responses

A response that the daemon itself writes is `application/problem+json` (RFC 9457) with a stable
`code`, a sentence (`detail`) and a `hint`, and has a `Proxy-Status` header (RFC 9209). A response
that came from Nexudus is never relabelled. Scripts go by `code`; titles and sentences may change.

The last column is the exit code of a command of `nexudus-proxy` that meets the problem. The column
before it says what to do in general; the `hint` of a response may know more about the case at hand.

| code | status | title | what to do | exit code |
|---|---|---|---|---|
";

/// The text in the hint column where each problem has a hint of its own.
const IN_PARTS: &str =
    "Each thing that is wrong is listed with a hint of its own; nothing has changed.";

const EXIT_CODES: &str = "

## Exit codes

| exit code | meaning |
|---|---|
";
