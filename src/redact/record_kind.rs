//! The kind of records that a path leads to.
//!
//! A server may read a path in many ways: `%63oworkers`, `coworkers;x=1`, `coworkers.json` and
//! `team%C5%BF` (`ſ` is an `s`) may lead to the same records as the plain name. The path of a redacted
//! client is therefore plain, so that there is one way to read it; any other is refused.

use super::Redaction;
use super::entity::{self, Entity, PathEntities};
use super::names::Treatment;
use crate::config::RedactMode;

/// The kind of records that a path leads to, which decides what is hidden. Only a plain path has one. A
/// path that names several kinds may lead to each of them: what one of them hides is hidden.
#[derive(Clone, Copy, Debug)]
pub struct RecordKind(pub(super) PathEntities);

/// A path that can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path of a redacted client has other characters than letters, digits, `-` and `_`")]
pub struct UnplainPath;

impl Redaction {
    /// Returns the kind of records that a path leads to.
    ///
    /// # Errors
    ///
    /// A segment has another character than `A`–`Z`, `a`–`z`, `0`–`9`, `-` and `_`.
    pub fn record_kind(&self, path: &str) -> Result<RecordKind, UnplainPath> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte);
        // `OPTIONS *` is about no record.
        if path != "*" && !path.bytes().all(is_plain) {
            return Err(UnplainPath);
        }
        Ok(RecordKind(PathEntities::of_path(path, |segment| self.entity_of_segment(segment))))
    }

    /// Returns what happens to a field of such records: the strictest that one of them wants.
    pub(super) fn treatment(&self, kind: RecordKind, name: &str) -> Treatment {
        let all = kind.0.iter().map(|entity| self.fields.treatment(entity, name));
        all.max_by_key(|treatment| treatment.strictness()).unwrap_or(Treatment::Open)
    }

    /// Says whether a field of such records stays where all texts are hidden.
    pub(super) fn keeps(&self, kind: RecordKind, name: &str) -> bool {
        kind.0.iter().all(|entity| self.fields.keeps(entity, name))
    }

    /// Returns the entity of an object inside of a record, by the name of its field in lower case.
    pub(super) fn entity_of_member(&self, name: &str) -> Entity {
        match entity::of_member(name) {
            entity::UNKNOWN => self.entity_of_segment(name),
            known => known,
        }
    }

    fn entity_of_segment(&self, segment: &str) -> Entity {
        match self.mode {
            RedactMode::All => self.fields.kept_record(segment),
            RedactMode::Table | RedactMode::Off => entity::of_segment(segment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::redaction;
    use super::*;

    #[test]
    fn a_plain_path_has_a_kind_and_no_other_does() {
        let redaction = redaction(RedactMode::Table, false);
        for path in ["/api/spaces/coworkers", "/API//Spaces/CoWorkers/7/", "/coworkers"] {
            let kind = redaction.record_kind(path).unwrap();
            assert_eq!(kind.0.single(), Some(entity::of_segment("coworkers")), "{path}");
        }
        for path in ["/api/spaces/products", "/", "*"] {
            let kind = redaction.record_kind(path).unwrap();
            assert_eq!(kind.0.single(), Some(entity::UNKNOWN), "{path}");
        }
        for segment in [
            "%63oworkers",
            "coworkers%20",
            "coworkers;x=1",
            "coworkers.json",
            "coworkers.",
            "coworkers(5)",
            "coworkers::$data",
            "coworker\u{17f}",
            "team%C5%BF",
            "coworkers\\5",
            "coworkers%2f5",
            "coworkers+",
            "(S(x))/coworkers",
            "../coworkers",
            "~/coworkers",
        ] {
            let path = format!("/api/spaces/{segment}");
            assert_eq!(redaction.record_kind(&path).unwrap_err(), UnplainPath, "{path}");
        }
    }
}
