//! Tests that cannot run side by side are in a group: `.config/nextest.toml` names their modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::rust_files;

/// What boots a machine, as a test calls it.
const BOOTS: &[&str] = &["machine()", "installed()", "serving("];

#[test]
fn every_module_that_boots_a_machine_is_in_its_group() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = fs::read_to_string(root.join(".config/nextest.toml")).unwrap();
    let (_, named) = settings.split_once("test(/^(").unwrap();
    let (named, _) = named.split_once(")::/)").unwrap();
    let named: BTreeSet<_> = named.split('|').map(str::to_owned).collect();

    let mut booting = BTreeSet::new();
    for file in rust_files(&root.join("tests/system")) {
        let module = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        if module != "machine" && BOOTS.iter().any(|call| text.contains(call)) {
            booting.insert(module);
        }
    }
    assert_eq!(booting, named);
}
