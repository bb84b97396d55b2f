//! The kinds of records, by the last segment of their path.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tables;
use crate::config::COMMAND_SEGMENT;

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
    let known = plurals(name).into_iter().map(|plural| of_segment(&plural));
    known.into_iter().find(|it| *it != UNKNOWN).unwrap_or(UNKNOWN)
}

/// Returns the segments that may be meant by the name of a record, in lower case.
pub(super) fn plurals(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let ies = name.strip_suffix('y').map(|stem| format!("{stem}ies"));
    let plurals = [Some(format!("{name}s")), ies, Some(format!("{name}es")), Some(name)];
    plurals.into_iter().flatten().collect()
}

/// Returns the names that a record of this segment may have in front of a joined field.
pub(super) fn names(segment: &str) -> Vec<String> {
    let name = |end: &str, other: &str| Some(format!("{}{other}", segment.strip_suffix(end)?));
    let mut names = vec![segment.to_owned()];
    names.extend([name("ies", "y"), name("es", ""), name("s", "")].into_iter().flatten());
    if segment == "coworkers" {
        names.extend(PERSONS.iter().map(|name| (*name).to_owned()));
    }
    names
}

/// The names that coworkers have where their records are joined.
const PERSONS: [&str; 14] = [
    "payingmember",
    "member",
    "owner",
    "responsible",
    "host",
    "reviewer",
    "customer",
    "attendee",
    "contact",
    "guest",
    "tenant",
    "person",
    "assignee",
    "organizer",
];

/// Returns the entity of an object inside of a record, by the name of its field in lower case: the
/// name ends in that of a record, as `CoworkerContractCoworker`.
pub(super) fn of_member(name: &str) -> Entity {
    let exact = of_name(name);
    if exact != UNKNOWN {
        return exact;
    }
    let ending = BY_NAME.iter().find(|(record, _)| name.ends_with(record.as_str()));
    ending.map_or(UNKNOWN, |(_, entity)| *entity)
}

/// The entities by the names of their records, the longest first.
static BY_NAME: LazyLock<Vec<(String, Entity)>> = LazyLock::new(|| {
    let of_segment = |(segment, entity): (&&str, &Entity)| {
        names(segment).into_iter().map(|name| (name, *entity)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = BY_SEGMENT.iter().flat_map(of_segment).collect();
    all.sort_by_key(|(name, entity)| (std::cmp::Reverse(name.len()), *entity));
    all
});

/// Returns how many entities the tables name; their numbers come first.
pub(super) fn count() -> usize {
    BY_SEGMENT.len()
}

/// The entities that a path names, at least one. Which of them the records of its response are is for
/// Nexudus to say: `coworkers/5/teams` may be teams, or a coworker with teams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathEntities([u64; 4]);

impl PathEntities {
    /// Returns the entities of a path: of each segment that names one, and [`UNKNOWN`] where a later
    /// segment names another or the path names none.
    pub(super) fn of_path(path: &str, of_segment: impl Fn(&str) -> Entity) -> Self {
        let mut all = Self([0; 4]);
        for segment in path.split('/') {
            match of_segment(segment) {
                UNKNOWN if all.is_empty() || !is_name(segment) => {}
                entity => all.insert(entity),
            }
        }
        if all.is_empty() {
            all.insert(UNKNOWN);
        }
        all
    }

    /// Returns the entity, if the path names one alone.
    pub(super) fn single(self) -> Option<Entity> {
        let mut all = self.iter();
        all.next().filter(|_| all.next().is_none())
    }

    /// Returns each entity once.
    pub(super) fn iter(self) -> impl Iterator<Item = Entity> {
        (0..=Entity::MAX).filter(move |entity| {
            let (word, bit) = place(*entity);
            self.0[word] & bit != 0
        })
    }

    fn insert(&mut self, entity: Entity) {
        let (word, bit) = place(entity);
        self.0[word] |= bit;
    }

    fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }
}

fn place(entity: Entity) -> (usize, u64) {
    (usize::from(entity / 64), 1 << (entity % 64))
}

/// Says whether a segment may name records: no identifier, and no command on them.
fn is_name(segment: &str) -> bool {
    let is_id = segment.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        || uuid::Uuid::try_parse(segment).is_ok();
    !is_id && !segment.eq_ignore_ascii_case(COMMAND_SEGMENT)
}

/// Stands for the entities of a path that names several, where one number is wanted. No record has it.
pub(super) const SEVERAL: Entity = Entity::MAX - 1;

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
            assert_ne!(of_path(path), [UNKNOWN], "{path}");
            assert_eq!(of_path(path), [of_name(name)], "{path}");
        }
        assert_eq!(of_path("/api/spaces/resources"), [UNKNOWN]);
    }

    fn of_path(path: &str) -> Vec<Entity> {
        PathEntities::of_path(path, of_segment).iter().collect()
    }

    #[test]
    fn a_path_that_names_several_records_may_lead_to_each() {
        let (coworkers, teams) = (of_segment("coworkers"), of_segment("teams"));
        for (path, expected) in [
            ("/api/spaces/coworkers/5/teams", vec![coworkers, teams]),
            ("/api/spaces/teams/7/coworkers/5", vec![coworkers, teams]),
            ("/api/spaces/coworkers/5/desks", vec![UNKNOWN, coworkers]),
            ("/api/spaces/coworkers/00000000-0000-4000-8000-000000000001", vec![coworkers]),
            ("/api/spaces/coworkers/coworkers/", vec![coworkers]),
        ] {
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(of_path(path), expected, "{path}");
            let single = PathEntities::of_path(path, of_segment).single();
            assert_eq!(single.is_some(), expected.len() == 1, "{path}");
        }
    }

    #[test]
    fn an_object_inside_of_a_record_is_one_of_its_own() {
        for (name, record) in [
            ("coworker", "Coworker"),
            ("coworkercontractcoworker", "Coworker"),
            ("coworkercontract", "CoworkerContract"),
            ("payingmember", "Coworker"),
            ("bookingvisitors", "BookingVisitor"),
            ("invitedvisitor", "Visitor"),
        ] {
            assert_eq!(of_member(name), of_name(record), "{name}");
        }
        for name in ["records", "value", "resource", "data", ""] {
            assert_eq!(of_member(name), UNKNOWN, "{name}");
        }
    }
}
