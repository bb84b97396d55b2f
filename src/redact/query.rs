//! Which fields of a query tell nothing about a personal value.
//!
//! A client that may filter or sort by a field can find out its values, one letter at a time. So a query
//! of a redacted client has paging, identifiers, dates and enumerations, and nothing else.

use form_urlencoded::parse;

use super::category::Category;
use super::dates::{is_date, is_ids};
use super::names::{self, MAX_NAME, Treatment};
use super::{RecordKind, Redaction};

/// Why a query is refused. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A filter by something else than identifiers, dates and enumerations.
    #[error("the query of a redacted client may filter by ids, dates and enumerations only")]
    Filter,
    /// Sorted by something else than identifiers and dates.
    #[error("the response to a redacted client may be sorted by ids and dates only")]
    Sort,
}

/// Checks each field of a query.
pub(super) fn check(
    redaction: &Redaction,
    kind: RecordKind,
    query: &str,
) -> Result<(), QueryError> {
    parse(query.as_bytes())
        .try_for_each(|(name, value)| check_field(redaction, kind, &name, &value))
}

/// Returns the fields of a query, or of a form: a value that a redacted client might not send becomes a
/// token, and one that no token may stand for becomes empty.
pub fn redact_query(redaction: &Redaction, path: &str, query: &str) -> Vec<(String, String)> {
    // A path that can be read in more than one way shows no value.
    let kind = redaction.record_kind(path).ok();
    let token = |text: &str| {
        let mut token = String::new();
        redaction.write_token(Category::Text, text, &mut token);
        token
    };
    let fields = parse(query.as_bytes()).map(|(name, value)| {
        let is_name = name.len() <= MAX_NAME
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]$".contains(&byte));
        let shown = match kind {
            Some(kind) if check_field(redaction, kind, &name, &value).is_ok() => value.into_owned(),
            Some(kind) if !drops(redaction, kind, &name) => token(&value),
            Some(_) | None => String::new(),
        };
        (if is_name { name.into_owned() } else { token(&name) }, shown)
    });
    fields.collect()
}

/// Says whether no token may stand for the value of a field: passwords, codes, keys.
fn drops(redaction: &Redaction, kind: RecordKind, name: &str) -> bool {
    let last = name.rsplit(['_', '.', '[']).next().unwrap_or_default();
    [name, last]
        .iter()
        .any(|name| redaction.treatment(kind, &names::normalize(name)) == Treatment::Drop)
}

/// Checks one field, decoded.
pub(super) fn check_field(
    redaction: &Redaction,
    kind: RecordKind,
    name: &str,
    value: &str,
) -> Result<(), QueryError> {
    let name = name.to_ascii_lowercase();
    let value = value.trim();
    if name.is_empty() && value.is_empty() {
        return Ok(());
    }
    if name.len() > MAX_NAME
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(QueryError::Filter);
    }
    match name.as_str() {
        "page" | "size" | "pagenumber" | "pagesize" | "skip" | "take" | "limit" | "offset"
        | "_" => {
            let is_number = !value.is_empty() && value.len() <= 15 && is_digits(value);
            return if is_number { Ok(()) } else { Err(QueryError::Filter) };
        }
        "dir" | "direction" | "sortdirection" => {
            let value = value.to_ascii_lowercase();
            let is_known =
                matches!(&*value, "0" | "1" | "asc" | "desc" | "ascending" | "descending");
            return if is_known { Ok(()) } else { Err(QueryError::Sort) };
        }
        "orderby" | "sort" | "sortby" => return check_sort(redaction, kind, value),
        _ => {}
    }
    let is_range = name.starts_with("from_") || name.starts_with("to_");
    let field = name.trim_start_matches("from_").trim_start_matches("to_");
    if is_hidden(redaction, kind, field) {
        return Err(QueryError::Filter);
    }
    let ends = |ends: &[&str]| ends.iter().any(|end| field.ends_with(end));
    let is_id = ends(&["id", "ids", "guid"]) && is_ids(value);
    let is_time = (is_range || ends(DATE_ENDS)) && is_date(value);
    let is_join = field.contains('_');
    let is_bool =
        is_join && (value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"));
    let is_number = is_join && value.len() <= 10 && is_digits(value.trim_start_matches('-'));
    let is_word = || value.len() <= 32 && value.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_enum = ends(&["status", "type"]) && (is_digits(value) || is_word());
    let is_harmless = value.is_empty() || is_id || is_time || is_bool || is_number || is_enum;
    if is_harmless { Ok(()) } else { Err(QueryError::Filter) }
}

/// Says whether some part of a field's name is that of a personal field.
pub(super) fn is_hidden(redaction: &Redaction, kind: RecordKind, field: &str) -> bool {
    let hides = |name: &str| redaction.treatment(kind, name) != Treatment::Open;
    let joined = field.replace('_', "");
    let last = field.rsplit('_').next().unwrap_or_default();
    let without_first = field.split_once('_').map(|(_, rest)| rest.replace('_', ""));
    hides(&joined) || hides(last) || without_first.is_some_and(|name| hides(&name))
}

fn check_sort(redaction: &Redaction, kind: RecordKind, value: &str) -> Result<(), QueryError> {
    let name = value.to_ascii_lowercase().replace('.', "_");
    let is_name = name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    // `Description` and `Position` end in `on` too.
    let is_dated = ends(&["id", "ids"]) || (ends(DATE_ENDS) && !ends(&["ion", "reason", "person"]));
    let is_harmless = is_name && is_dated && !is_hidden(redaction, kind, &name);
    if is_harmless || value.is_empty() { Ok(()) } else { Err(QueryError::Sort) }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How the names of times end: `UpdatedOn`, `FromTime`, `StartDate`.
const DATE_ENDS: &[&str] = &["on", "date", "time", "fromtime", "totime"];
