//! What the fuzz targets start from, and every input that has ever broken something.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/stage/mod.rs"]
mod stage;

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
