//! The seeds of the fuzz targets, and every input that has ever broken something.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

#[path = "../../fuzz/policy/mod.rs"]
mod policy;
#[path = "../../fuzz/stage/mod.rs"]
pub mod stage;

use self::policy::Judge;
use self::stage::Stage;

#[test]
fn no_bytes_of_a_caller_do_what_a_request_may_not() {
    let stage = Stage::new();
    replay("request", |bytes| stage.request(bytes));
}

#[test]
fn no_bytes_of_an_upstream_reach_a_caller_as_anything_but_its_answer() {
    let stage = Stage::new();
    replay("answer", |bytes| stage.answer(bytes));
}

#[test]
fn no_head_that_is_let_through_can_be_read_as_what_is_forbidden() {
    let judge = Judge::new();
    replay("policy", |bytes| judge.judge(bytes));
}

/// The same for forbidden paths, with pieces in them that a server may undo.
#[test]
fn no_spelling_of_what_is_forbidden_is_let_through() {
    let judge = Judge::new();
    let sender = prop::sample::select(vec!["full", "read", "key", "free", "named"]);
    let method = prop::sample::select(vec!["GET", "POST", "DELETE"]);
    let path = prop::sample::select(PATHS);
    let piece = prop::sample::select(PIECES);
    let pieces = prop::collection::vec((any::<prop::sample::Index>(), piece), 0..5);
    proptest!(ProptestConfig { cases: 2_000, ..ProptestConfig::default() }, |((sender, method, path, pieces) in (sender, method, path, pieces))| {
        let mut path = path.to_owned();
        for (index, piece) in pieces {
            path.insert_str(1 + index.index(path.len()), piece);
        }
        judge.judge(format!("{sender} {method} {path}").as_bytes());
    });
}

/// Pieces that mean something to some server.
const PIECES: &[&str] = &[
    "/",
    "//",
    "/./",
    "/x/../",
    ".",
    "..",
    "\\",
    "%2f",
    "%5C",
    "%252f",
    "%2e",
    ";a",
    "%3b",
    "::$DATA",
    ":$I30",
    "%20",
    "%00",
    "%3f",
    "%23",
    "%25",
    "25",
    "74",
    "%u002f",
    "%c0%af",
    "~/",
    "/~/",
    ".json",
    "(1)",
    "(S(x))",
    "/(S(x))",
    "/(S(x))/",
    "%2f(S(x))/",
    "/%28s%28x%29%29/",
    "/(A(a)F(f))/",
    "/(S(/(S(x))x))/",
    "/(lit3py55t21z5v55vlm25s55)/",
    "%C3%A9",
    "%E9",
    "%CC%81",
    "%C2%AD",
    "%E2%80%8B",
    "%E2%88%95",
    "%EF%BC%8F",
    "%EF%BC%85",
    "%E2%80%A4",
    "?_method=DELETE&",
];

/// Paths that a rule of some sender is about.
const PATHS: &[&str] = &[
    "/api/token",
    "/api/sys/users/5",
    "/api/sys/refreshtokens",
    "/api/auth/me",
    "/api/$batch",
    "/api/crm/secrets/1",
    "/api/billing/invoices/1",
    "/api/spaces/invoices/1",
    "/api/spaces/coworkers/runcommand",
    "/x/token/refresh",
];

#[expect(clippy::print_stderr, reason = "an assertion does not know which input it is about")]
fn replay(target: &str, play: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the seeds are there");
    for path in paths {
        eprintln!("{}", path.display());
        play(&fs::read(path).unwrap());
    }
}
