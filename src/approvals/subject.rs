//! The record that a call is about: what to ask Nexudus for, so that a person reads a name beside a
//! number.

use std::fmt;

use serde_json::Value as Json;

use crate::config::COMMAND_SEGMENT;
use crate::json::JsonMembers;

/// The records of one kind that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind in the singular: `coworker`; of a whole collection its own name.
    kind: String,
    /// The path of their collection: `/api/spaces/coworkers`.
    collection: String,
    /// Their numbers, in the order in which they stand in the call; none: the whole collection of an
    /// owner.
    ids: Vec<u64>,
    /// The records that own the collection, the nearest first: coworker 5 of `coworkers/5/teams`.
    owners: Vec<RecordOwner>,
    /// The command that is run on them.
    command: Option<String>,
}

/// A record whose number stands inside of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordOwner {
    kind: String,
    path: String,
    id: u64,
}

/// The paths of records whose names are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLookups {
    /// The records that a call is about.
    pub records: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// The records that own them, the nearest first.
    pub owners: Vec<String>,
}

/// Why it is not clear which records a call is about: it names them in two places, or not as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnclearSubject;

impl Subject {
    /// Finds what a call is about: `…/coworkers/5`, a command with `Ids`, or a write with `Id`. Which
    /// of two names Nexudus takes is unknown, so that a call with two is about neither.
    ///
    /// # Errors
    ///
    /// [`UnclearSubject`]: the call names its records twice, or not as numbers.
    pub fn of_call(target: &str, body: &[u8]) -> Result<Option<Self>, UnclearSubject> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.trim_end_matches('/');
        // Only a plain path is read as one: another is shown as it is.
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        if !path.starts_with("/api/") || !path.bytes().all(is_plain) {
            return Ok(None);
        }
        let mut segments: Vec<&str> = path.split('/').collect();
        let is_command =
            segments.pop_if(|last| last.eq_ignore_ascii_case(COMMAND_SEGMENT)).is_some();
        let in_path = segments.last().and_then(|last| last.parse().ok());
        segments.pop_if(|_| in_path.is_some());
        if segments.len() < MIN_SEGMENTS {
            return Ok(None);
        }
        let owners = RecordOwner::all_in(&segments)?;
        let named_in_query = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is_id(&name));
        let members = members(body).ok_or(UnclearSubject)?;
        let ids = match (in_path, ids_of(&members)?) {
            _ if named_in_query => return Err(UnclearSubject),
            (Some(id), Some(others)) if others != [id] => return Err(UnclearSubject),
            (Some(id), _) => vec![id],
            (None, Some(ids)) => ids,
            (None, None) if owners.is_empty() => return Ok(None),
            (None, None) => vec![],
        };
        let command = is_command.then(|| command_of(&members)).flatten();
        let name = segments.last().copied().unwrap_or_default();
        let kind = if ids.is_empty() { name.to_ascii_lowercase() } else { singular(name) };
        Ok(Some(Self { kind, collection: segments.join("/"), ids, owners, command }))
    }

    /// Returns the command that is run on them.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Returns the numbers of the records, and of those that own them.
    pub fn all_ids(self) -> Vec<u64> {
        self.ids.into_iter().chain(self.owners.into_iter().map(|owner| owner.id)).collect()
    }

    /// Returns the paths to ask for names.
    pub fn lookups(&self) -> NameLookups {
        let records = self.ids.iter().take(MAX_LOOKUPS);
        NameLookups {
            records: records.map(|id| format!("{}/{id}", self.collection)).collect(),
            more: self.ids.len().saturating_sub(MAX_LOOKUPS),
            owners: self.owners.iter().map(|owner| owner.path.clone()).collect(),
        }
    }

    /// Returns the name in a record of Nexudus.
    pub fn name_in(record: &[u8]) -> Option<String> {
        let record: Json = serde_json::from_slice(record).ok()?;
        let text = |name: &&str| record.get(name)?.as_str().filter(|text| !text.trim().is_empty());
        let name: String = NAMES.iter().find_map(text)?.chars().take(MAX_NAME_LETTERS).collect();
        Some(name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.ids.iter().take(MAX_LOOKUPS).map(u64::to_string).collect();
        let space = if ids.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.kind, ids.join(", "))?;
        match self.ids.len().saturating_sub(MAX_LOOKUPS) {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        self.owners.iter().try_for_each(|owner| write!(f, " of {} {}", owner.kind, owner.id))
    }
}

impl RecordOwner {
    /// Returns the records whose numbers stand between the segments of a collection's path.
    fn all_in(segments: &[&str]) -> Result<Vec<Self>, UnclearSubject> {
        let mut owners = vec![];
        for (at, segment) in segments.iter().enumerate() {
            let Ok(id) = segment.parse() else { continue };
            let kind = segments[at - 1];
            let is_collection = at >= MIN_SEGMENTS && kind.parse::<u64>().is_err();
            if !is_collection || at + 1 == segments.len() || owners.len() == MAX_OWNERS {
                return Err(UnclearSubject);
            }
            let path = segments[..=at].join("/");
            owners.insert(0, Self { kind: singular(kind), path, id });
        }
        Ok(owners)
    }
}

/// Returns the members of a JSON object, each of them; `None` for a body that is none, and not empty.
fn members(body: &[u8]) -> Option<Vec<(String, Json)>> {
    if body.is_empty() {
        return Some(vec![]);
    }
    serde_json::from_slice::<JsonMembers>(body).ok().map(|members| members.0)
}

/// Returns the numbers of the records that a body names, if it names any.
fn ids_of(members: &[(String, Json)]) -> Result<Option<Vec<u64>>, UnclearSubject> {
    let mut named = members.iter().filter(|(name, _)| is_id(name));
    let Some((_, value)) = named.next() else { return Ok(None) };
    if named.next().is_some() {
        return Err(UnclearSubject);
    }
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let ids: Option<Vec<u64>> = items.iter().map(Json::as_u64).collect();
    ids.filter(|ids| !ids.is_empty()).map(Some).ok_or(UnclearSubject)
}

/// Says whether a member or a field names records; Nexudus compares names without regard to case.
fn is_id(name: &str) -> bool {
    let name = name.trim().trim_end_matches("[]");
    name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("ids")
}

/// Returns the key of a command, if one member names it.
fn command_of(members: &[(String, Json)]) -> Option<String> {
    let mut named = members.iter().filter(|(name, _)| name.eq_ignore_ascii_case("key"));
    let (_, key) = named.next()?;
    named.next().is_none().then(|| key.as_str().map(str::to_owned)).flatten()
}

/// Returns the singular of the name of a collection, as far as English is regular.
fn singular(plural: &str) -> String {
    let plural = plural.to_ascii_lowercase();
    if let Some(stem) = plural.strip_suffix("ies") {
        return format!("{stem}y");
    }
    let is_es = ["sses", "xes", "ches", "shes"].iter().any(|end| plural.ends_with(end));
    let stem = plural.strip_suffix(if is_es { "es" } else { "s" });
    stem.unwrap_or(&plural).to_owned()
}

/// The members of a record that hold its name, the best first.
const NAMES: [&str; 8] = [
    "FullName",
    "Name",
    "ToStringText",
    "Title",
    "Subject",
    "InvoiceNumber",
    "Description",
    "Email",
];

/// Most names that are looked up for one call: a command may be about a hundred records.
const MAX_LOOKUPS: usize = 3;

/// Fewest segments of the path of a collection, the empty one before the first slash included:
/// `/api/spaces/coworkers`.
const MIN_SEGMENTS: usize = 4;

/// Most records in a path that own what follows. The API has one at most.
const MAX_OWNERS: usize = 2;

/// Longest name that is shown.
const MAX_NAME_LETTERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_about_the_records_that_it_names() {
        for (target, body, said) in [
            ("/api/spaces/coworkers/1400100137", "", Some("coworker 1400100137")),
            ("/api/spaces/coworkers/5?x=1", "", Some("coworker 5")),
            (
                "/api/spaces/coworkers/runcommand",
                r#"{"Key":"COWORKER_DELETE","Ids":[1,2,3,4,5]}"#,
                Some("coworker 1, 2, 3 and 2 more"),
            ),
            (
                "/api/billing/coworkerinvoices/RunCommand/",
                r#"{"IDS":[7]}"#,
                Some("coworkerinvoice 7"),
            ),
            ("/api/spaces/businesses", r#"{"Id":9,"Name":"x"}"#, Some("business 9")),
            ("/api/sys/currencies/3", "", Some("currency 3")),
            ("/api/spaces/coworkers/5", r#"{"Id":5,"Name":"x"}"#, Some("coworker 5")),
            ("/api/spaces/coworkers/5/teams", "", Some("teams of coworker 5")),
            ("/api/spaces/coworkers/5/teams/9", "", Some("team 9 of coworker 5")),
            ("/api/spaces/coworkers/5/teams", r#"{"Id":9}"#, Some("team 9 of coworker 5")),
            (
                "/api/spaces/businesses/2/coworkers/5/teams/runcommand",
                r#"{"Ids":[9]}"#,
                Some("team 9 of coworker 5 of business 2"),
            ),
            ("/api/spaces/coworkers/5/runcommand", r#"{"Key":"X"}"#, Some("coworker 5")),
            ("/api/spaces/coworkers", "", None),
            ("/api/spaces/coworkers/../x/5", "", None),
            ("/api/x/5", "", None),
            ("/api/spaces/co%77orkers/5", "", None),
        ] {
            let subject = Subject::of_call(target, body.as_bytes()).unwrap();
            assert_eq!(subject.map(|it| it.to_string()).as_deref(), said, "{target} {body}");
        }
    }

    #[test]
    fn a_call_that_names_records_twice_or_oddly_is_about_none() {
        for (target, body) in [
            ("/api/spaces/coworkers", r#"{"Id":1,"id":2}"#),
            ("/api/spaces/coworkers/runcommand", r#"{"Ids":[1,"2","3"]}"#),
            ("/api/spaces/coworkers/runcommand", r#"{"Ids":[66],"Ids":[1]}"#),
            ("/api/spaces/coworkers/runcommand", r#"{"Ids":[]}"#),
            ("/api/spaces/coworkers/runcommand", r#"{"Ids":[1],"Id":2}"#),
            ("/api/spaces/coworkers/runcommand?Ids=77", r#"{"Ids":[1]}"#),
            ("/api/spaces/coworkers/runcommand?%69ds[]=77", r#"{"Ids":[1]}"#),
            ("/api/spaces/coworkers/1", r#"{"Id":66}"#),
            ("/api/spaces/coworkers/1", r#"{"Id":1.0}"#),
            ("/api/spaces/coworkers/1", "Id=66"),
            ("/api/spaces/coworkers/1", r#"[{"Id":66}]"#),
            ("/api/spaces/coworkers/1?id=66", ""),
            ("/api/spaces/coworkers/1", "\u{feff}{\"Id\":66}"),
            ("/api/spaces/coworkers/5/6", ""),
            ("/api/spaces/coworkers/5/6/teams", ""),
            ("/api/spaces/5/teams", ""),
            ("/api/spaces/coworkers/5/runcommand", r#"{"Ids":[7]}"#),
            ("/api/spaces/a/1/b/2/c/3/d", ""),
        ] {
            let subject = Subject::of_call(target, body.as_bytes());
            assert_eq!(subject, Err(UnclearSubject), "{target} {body}");
        }
    }

    #[test]
    fn the_records_that_own_others_are_asked_for_too() {
        let subject = Subject::of_call("/api/spaces/coworkers/5/teams/9", b"").unwrap().unwrap();
        let lookups = subject.lookups();
        assert_eq!(lookups.records, ["/api/spaces/coworkers/5/teams/9"]);
        assert_eq!(lookups.owners, ["/api/spaces/coworkers/5"]);
        assert_eq!(subject.all_ids(), [9, 5]);
    }

    #[test]
    fn a_name_is_the_best_that_a_record_has() {
        for (record, name) in [
            (r#"{"Email":"a@b","FullName":"Ada Lovelace"}"#, Some("Ada Lovelace")),
            (r#"{"FullName":" ","Name":"Desk 4"}"#, Some("Desk 4")),
            (r#"{"Id":4}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(Subject::name_in(record.as_bytes()).as_deref(), name, "{record}");
        }
    }
}
