//! The record that a call is about: what to ask Nexudus for, so that a person reads a name beside a
//! number.

use serde_json::Value as Json;

use crate::config::COMMAND_SEGMENT;

/// The records of one kind that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind in the singular: `coworker`.
    pub kind: String,
    /// The path of their collection: `/api/spaces/coworkers`.
    pub collection: String,
    /// Their numbers, in the order in which they stand in the call.
    pub ids: Vec<u64>,
    /// The command that is run on them.
    pub command: Option<String>,
}

impl Subject {
    /// Finds what a call is about: `…/coworkers/5`, a command with `Ids`, or a write with `Id`.
    pub fn of_call(target: &str, body: &[u8]) -> Option<Self> {
        let path = target.split('?').next().unwrap_or_default().trim_end_matches('/');
        // Only a plain path is read as one: another is shown as it is.
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-');
        if !path.starts_with("/api/") || !path.bytes().all(is_plain) {
            return None;
        }
        let (before, last) = path.rsplit_once('/')?;
        let is_command = last.eq_ignore_ascii_case(COMMAND_SEGMENT);
        let (collection, ids) = if let Ok(id) = last.parse() {
            (before, vec![id])
        } else if is_command {
            (before, numbers(body, "ids"))
        } else {
            (path, numbers(body, "id"))
        };
        let command = is_command.then(|| text(body, "key")).flatten();
        let kind = singular(collection.rsplit('/').next()?);
        let is_collection = collection.matches('/').count() >= 3;
        (is_collection && !ids.is_empty()).then(|| Self {
            kind,
            collection: collection.to_owned(),
            ids,
            command,
        })
    }

    /// Returns the paths to ask for names, and how many records are left out.
    pub fn lookups(&self) -> (Vec<String>, usize) {
        let paths = self.ids.iter().take(MAX_LOOKUPS);
        let paths = paths.map(|id| format!("{}/{id}", self.collection)).collect();
        (paths, self.ids.len().saturating_sub(MAX_LOOKUPS))
    }

    /// Returns the name in a record of Nexudus.
    pub fn name_in(record: &[u8]) -> Option<String> {
        let record: Json = serde_json::from_slice(record).ok()?;
        let text = |name: &&str| record.get(name)?.as_str().filter(|text| !text.trim().is_empty());
        let name: String = NAMES.iter().find_map(text)?.chars().take(MAX_NAME_LETTERS).collect();
        Some(name)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.ids.iter().take(MAX_LOOKUPS).map(u64::to_string).collect();
        write!(f, "{} {}", self.kind, ids.join(", "))?;
        match self.ids.len().saturating_sub(MAX_LOOKUPS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Returns the numbers of a member of a JSON object.
fn numbers(body: &[u8], name: &str) -> Vec<u64> {
    match member(body, name) {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_u64).collect(),
        Some(value) => value.as_u64().into_iter().collect(),
        None => vec![],
    }
}

/// Returns the text of a member of a JSON object.
fn text(body: &[u8], name: &str) -> Option<String> {
    Some(member(body, name)?.as_str()?.to_owned())
}

/// Returns the one member of this name, which is compared as Nexudus compares it.
fn member(body: &[u8], name: &str) -> Option<Json> {
    let Ok(Json::Object(members)) = serde_json::from_slice(body) else { return None };
    let mut found = members.into_iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
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
            ("/api/spaces/coworkers", r#"{"Id":1,"id":2}"#, None),
            ("/api/spaces/coworkers", "", None),
            ("/api/spaces/coworkers/../x/5", "", None),
            ("/api/x/5", "", None),
            ("/api/spaces/co%77orkers/5", "", None),
        ] {
            let subject = Subject::of_call(target, body.as_bytes());
            assert_eq!(subject.map(|it| it.to_string()).as_deref(), said, "{target} {body}");
        }
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
