//! The kinds of records, by the last segment of their path.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tables;

/// The number of an entity; 0 is any other.
pub(super) type Entity = u8;

/// No entity that a table names.
pub(super) const UNKNOWN: Entity = 0;

static BY_SEGMENT: LazyLock<HashMap<&'static str, Entity>> = LazyLock::new(|| {
    let mut entities = HashMap::new();
    for segment in tables::lines().filter_map(|mut words| words.next()) {
        let next = Entity::try_from(entities.len() + 1).expect("the tables name fewer than 255");
        entities.entry(segment).or_insert(next);
    }
    entities
});

/// Returns the entity of a segment, in any case.
pub(super) fn of_segment(segment: &str) -> Entity {
    let entity = |segment: &str| BY_SEGMENT.get(segment).copied();
    if segment.len() > MAX_SEGMENT {
        return UNKNOWN;
    }
    entity(&segment.to_ascii_lowercase()).unwrap_or(UNKNOWN)
}

/// Returns the entity of a record in singular, as the reference names it: `CoworkerDelivery`.
pub(super) fn of_name(name: &str) -> Entity {
    let name = name.to_ascii_lowercase();
    let ies = name.strip_suffix('y').map(|stem| format!("{stem}ies"));
    let plurals = [Some(format!("{name}s")), ies, Some(format!("{name}es")), Some(name)];
    let known = plurals.into_iter().flatten().map(|plural| of_segment(&plural));
    known.into_iter().find(|it| *it != UNKNOWN).unwrap_or(UNKNOWN)
}

/// Returns the entity of a path: the last segment that names one.
pub(super) fn of_path(path: &str) -> Entity {
    let entities = path.rsplit('/').map(of_segment);
    entities.into_iter().find(|it| *it != UNKNOWN).unwrap_or(UNKNOWN)
}

/// No segment is longer, in bytes.
const MAX_SEGMENT: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_name_lead_to_the_same_entity() {
        for (path, name) in [
            ("/api/spaces/coworkers", "Coworker"),
            ("/api/spaces/Coworkers/1400100137", "coworker"),
            ("/api/spaces/coworkerdeliveries/runCommand", "CoworkerDelivery"),
            ("/api/sys/businesses", "Business"),
        ] {
            assert_ne!(of_path(path), UNKNOWN, "{path}");
            assert_eq!(of_path(path), of_name(name), "{path}");
        }
        assert_eq!(of_path("/api/spaces/resources"), UNKNOWN);
    }
}
