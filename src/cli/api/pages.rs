//! The pages of a list: `page` and `size` ask, `TotalPages` says how many there are.
//!
//! Records keep their text, byte by byte: numbers keep their digits, members their order. A page is
//! in memory at a time, never the list.

use std::collections::BTreeMap;

use http::Method;
use serde_json::value::RawValue;

use crate::cli::local_api::{LocalApi, LocalRequest};
use crate::cli::{CliError, Printer};
use crate::problem::ExitCode;

/// A walk through the pages of one list.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    api: &'a LocalApi,
    target: String,
    /// The number of the next page.
    number: u64,
    /// Whether the pages behind it are walked through too.
    all: bool,
}

/// One page.
#[derive(Debug)]
struct Page<'a> {
    records: Vec<&'a RawValue>,
    total_pages: u64,
    /// The other members of the document.
    envelope: Vec<(String, &'a RawValue)>,
}

impl<'a> Pages<'a> {
    /// Begins at the page that the query names, or at the first.
    pub(super) fn new(api: &'a LocalApi, target: String, all: bool) -> Self {
        let number = query_value(&target, "page").and_then(|number| number.parse().ok());
        Self { api, target, number: number.unwrap_or(1), all }
    }

    /// Prints the records: each on a line, or in one document with the members of the first page
    /// that are about the list and not about a page.
    pub(super) async fn print(mut self, ndjson: bool, print: Printer) -> Result<(), CliError> {
        let (first, mut end) = (self.number, String::new());
        let mut printed = 0_u64;
        loop {
            let body = self.fetch().await.inspect_err(|_| {
                if self.number > first {
                    let number = self.number;
                    print.warning(&format!("the output ends before page {number}"));
                }
            })?;
            let page = Page::parse(&body).ok_or_else(not_a_list)?;
            if self.number == first && !ndjson {
                end = page.end();
            }
            let mut text = String::new();
            for record in &page.records {
                let record = on_one_line(record.get());
                match (ndjson, printed) {
                    (true, _) => text.push_str(&format!("{record}\n")),
                    (false, 0) => text.push_str(&format!("{{\"Records\":[\n{record}")),
                    (false, _) => text.push_str(&format!(",\n{record}")),
                }
                printed += 1;
            }
            if !print.stream(text.as_bytes())? {
                return Ok(());
            }
            if !self.all || page.records.is_empty() || self.number >= page.total_pages {
                break;
            }
            self.number += 1;
        }
        if ndjson {
            return Ok(());
        }
        let begin = if printed == 0 { "{\"Records\":[" } else { "" };
        print.stream(format!("{begin}\n]{end}}}\n").as_bytes()).map(drop)
    }

    async fn fetch(&self) -> Result<Vec<u8>, CliError> {
        let target =
            if self.all { with_page(&self.target, self.number) } else { self.target.clone() };
        let request =
            LocalRequest { method: Method::GET, target, accept: "application/json", body: None };
        let mut response = self.api.send(request).await?;
        if let Some(error) = response.error() {
            return Err(error);
        }
        Ok(response.bytes().await?)
    }
}

impl<'a> Page<'a> {
    /// Reads a page: a document with `Records`, or a plain list, which has no other page.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        if let Ok(records) = serde_json::from_slice(body) {
            return Some(Self { records, total_pages: 1, envelope: vec![] });
        }
        let mut members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
        let records = serde_json::from_str(members.remove("Records")?.get()).ok()?;
        // A number, also one in quotes; what is neither may hide pages, and is no list that we know.
        let total_pages = match members.get("TotalPages").map(|total| total.get().trim_matches('"'))
        {
            None | Some("null") => 1,
            Some(total) => total.parse().ok()?,
        };
        Some(Self { records, total_pages, envelope: members.into_iter().collect() })
    }

    /// Returns the members behind the records in a document of all pages.
    fn end(&self) -> String {
        let about_list = self.envelope.iter().filter(|(name, _)| !PAGE_MEMBERS.contains(&&**name));
        about_list
            .map(|(name, value)| {
                format!(
                    ",\n{}:{}",
                    serde_json::Value::from(name.as_str()),
                    on_one_line(value.get())
                )
            })
            .collect()
    }
}

fn not_a_list() -> CliError {
    let hint = "Leave --all and --ndjson out.";
    CliError::message(ExitCode::Failed, "the response is no list of records", Some(hint))
}

/// Removes line breaks: inside JSON they are blanks between values, never a part of one.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], "")
}

fn query_value<'a>(target: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Returns the target of this page; without a size, of pages that are larger than the 25 records
/// that Nexudus would send.
fn with_page(target: &str, number: u64) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_page =
        |pair: &&str| pair.split('=').next().is_some_and(|name| name.eq_ignore_ascii_case("page"));
    let mut pairs: Vec<_> =
        query.split('&').filter(|pair| !pair.is_empty() && !is_page(pair)).collect();
    let page = format!("page={number}");
    pairs.push(&page);
    if query_value(target, "size").is_none() {
        pairs.push(DEFAULT_SIZE);
    }
    format!("{path}?{}", pairs.join("&"))
}

/// Large enough for few requests, small enough for a page of whole customers in a few seconds.
const DEFAULT_SIZE: &str = "size=100";

/// The members that describe one page.
const PAGE_MEMBERS: &[&str] = &[
    "CurrentPage",
    "CurrentPageSize",
    "FirstItem",
    "HasNextPage",
    "HasPreviousPage",
    "LastItem",
    "PageNumber",
    "PageSize",
    "TotalPages",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_with_the_rest_of_the_query_as_it_was() {
        for (target, asked) in [
            ("/api/x", "/api/x?page=3&size=100"),
            ("/api/x?", "/api/x?page=3&size=100"),
            ("/api/x?size=2&Page=9&a=b%20c", "/api/x?size=2&a=b%20c&page=3"),
            ("/api/x?PageSize=5&SIZE=7", "/api/x?PageSize=5&SIZE=7&page=3"),
        ] {
            assert_eq!(with_page(target, 3), asked);
        }
    }

    #[test]
    fn records_keep_their_text() {
        let body =
            b"\xEF\xBB\xBF{\"TotalPages\":2,\"TotalItems\":3,\"Records\":[{\"B\":1.10,\n\"A\":\
            18446744073709551617}, null],\"PageSize\":2}";

        let page = Page::parse(body).unwrap();

        let records: Vec<_> = page.records.iter().map(|record| on_one_line(record.get())).collect();
        assert_eq!(records, [r#"{"B":1.10,"A":18446744073709551617}"#, "null"]);
        assert_eq!((page.total_pages, page.end().as_str()), (2, ",\n\"TotalItems\":3"));
        assert_eq!(Page::parse(b"[1, 2]").unwrap().records.len(), 2);
        for other in ["{}", "{\"Records\":1}", "1", "", "<html>"] {
            assert!(Page::parse(other.as_bytes()).is_none(), "{other}");
        }
    }
}
