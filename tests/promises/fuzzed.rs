//! What the fuzz targets start from, and every input that has ever broken something.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/stage/mod.rs"]
mod stage;

use self::stage::Stage;

#[test]
fn no_bytes_of_a_caller_do_what_a_request_may_not() {
    let stage = Stage::new();
    for (name, bytes) in inputs("request") {
        eprintln!("{}", name.display());
        stage.request(&bytes);
    }
}

#[test]
fn no_bytes_of_an_upstream_reach_a_caller_as_anything_but_its_answer() {
    let stage = Stage::new();
    for (name, bytes) in inputs("answer") {
        eprintln!("{}", name.display());
        stage.answer(&bytes);
    }
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the seeds are there");
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
