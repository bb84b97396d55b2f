//! The table of kinds is whole.

use super::*;

#[test]
fn kinds_of_one_code_exit_alike() {
    for kind in ProblemKind::ALL {
        let first = ProblemKind::from_code(kind.code()).unwrap();
        assert_eq!(first.exit_code(), kind.exit_code(), "{kind:?}");
    }
}

#[test]
fn a_response_says_what_to_do() {
    for kind in ProblemKind::ALL.iter().filter(|kind| kind.status().is_some()) {
        let is_told_in_parts = *kind == ProblemKind::ConfigInvalid;
        assert!(kind.hint().is_some() || is_told_in_parts, "{kind:?}");
    }
}
