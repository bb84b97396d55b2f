//! Whole texts, as a redacted client gets them.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;

mod forms;

pub(super) fn redaction(mode: RedactMode, can_resolve: bool) -> Arc<Redaction> {
    let fields = FieldRules::new(
        &["Coworker.TariffName".to_owned()],
        &["Resource.Name".to_owned(), "Kept".to_owned()],
    );
    let redactor = Redactor::new(TokenVault::new(Clock::system()), fields, &Origin::nexudus());
    redactor.redaction(mode, can_resolve, &TableName::Anonymous)
}

fn rewrite(redaction: &Arc<Redaction>, path: &str, text: &str) -> String {
    let kind = redaction.record_kind(path).unwrap();
    let (mut rewriter, mut out) = (redaction.rewriter(kind, false), vec![]);
    rewriter.write(text.as_bytes(), &mut out).unwrap();
    rewriter.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn redact(path: &str, value: &Value) -> Value {
    let text = rewrite(&redaction(RedactMode::Table, false), path, &value.to_string());
    serde_json::from_str(&text).unwrap()
}

fn is_token(value: &Value, word: &str) -> bool {
    let text = value.as_str().unwrap_or_default();
    let digits =
        text.strip_prefix(&format!("«PII:{word}:")).and_then(|rest| rest.strip_suffix('»'));
    digits.is_some_and(|it| it.len() == 8 && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

#[test]
fn a_record_keeps_its_shape_and_loses_its_person() {
    let record = json!({
        "Id": 1400100137, "UniqueId": "5a9df2e1-7a11-4d94-a1f2-3d6f0a4a1b7c", "FullName": "Ada Lovelace",
        "email": "ada@example.com", "MOBILEPHONE": "+44 7700 900123", "TaxIDNumber": "GB1", "Gender": 2,
        "DateOfBirth": "1815-12-10T00:00:00Z", "Active": true, "OnNewEmail": true, "Notes": "", "Twitter": null,
        "CreatedOn": "2025-03-04T10:11:12Z", "State": "London", "AccessPincode": "1234", "AccessCardId": 77,
        "TariffName": "Hot desk", "BusinessName": "Demo", "UpdatedBy": "[System]", "CreatedBy": "ada@example.com",
        "Sum": 1.10, "CardNumber": 4242, "Records": [{ "FullName": "Ada Lovelace", "State": 3 }],
        "AvatarUrl": "https://files.example.com/a?sig=1", "Own": "https://spaces.nexudus.com/api/x",
    });
    let out = redact("/api/spaces/coworkers", &json!({ "Records": [record] }));
    let out = &out["Records"][0];
    for (name, word) in [
        ("FullName", "NAME"),
        ("email", "EMAIL"),
        ("MOBILEPHONE", "PHONE"),
        ("TaxIDNumber", "FINANCIAL"),
        ("State", "ADDRESS"),
        ("TariffName", "BIO"),
        ("CreatedBy", "EMAIL"),
        ("AvatarUrl", "URL"),
    ] {
        assert!(is_token(&out[name], word), "{name}: {}", out[name]);
    }
    for name in [
        "Id",
        "UniqueId",
        "Active",
        "OnNewEmail",
        "Notes",
        "Twitter",
        "CreatedOn",
        "BusinessName",
        "UpdatedBy",
        "Sum",
        "Own",
    ] {
        assert_eq!(out[name], record[name], "{name}");
    }
    for name in ["Gender", "AccessCardId", "CardNumber"] {
        assert_eq!(out[name], 0, "{name}");
    }
    assert_eq!((&out["DateOfBirth"], &out["AccessPincode"]), (&Value::Null, &Value::Null));
    assert_eq!(out["Records"][0]["FullName"], out["FullName"]);
    assert_eq!(out["Records"][0]["State"], 3);
}

#[test]
fn personal_values_in_other_texts_are_hidden_where_they_stand() {
    let out = redact(
        "/api/spaces/resources",
        &json!({
            "Description": "Ask her (ada@example.com, +44 7700 900123) or see https://other.example/x.",
            "Message": "'ada lovelace' is taken; 'FullName' must differ", "Plain": "Room 12, 2026-11-30 09:30",
            "Errors": [{ "AttemptedValue": "Ada", "Message": "The name \"Ada Lovelace\" isn't free", "PropertyName": "FullName" }],
            "ada@example.com": 1, "OldValue": "{\"Id\":5,\"Name\":\"Ada\",\"Active\":\"true\"}", "NewValue": "Ada",
            "ResultData": "{\"FullName\":\"Ada Lovelace\"}", "Broken": "{\"FullName\":\"Ada\"",
        }),
    );
    let text = out.to_string();
    for marker in ["ada", "Ada", "example", "7700"] {
        assert!(!text.contains(marker), "{marker}: {text}");
    }
    assert_eq!(out["Plain"], "Room 12, 2026-11-30 09:30");
    assert!(out["Message"].as_str().unwrap().ends_with("'FullName' must differ"));
    assert_eq!(out["Errors"][0]["PropertyName"], "FullName");
    assert!(out["OldValue"].as_str().unwrap().starts_with("{\"Id\":5,\"Name\":\"«PII:BIO:"));
    assert!(is_token(&out["NewValue"], "BIO") && is_token(&out["Broken"], "TEXT"));
}

#[test]
fn under_all_only_identifiers_numbers_and_kept_fields_stay() {
    let all = redaction(RedactMode::All, false);
    let text = json!({
        "Id": 5, "UniqueId": "5a9df2e1-7a11-4d94-a1f2-3d6f0a4a1b7c", "TeamIds": "1,2", "Name": "Desk", "Kept": "x",
        "OtherId": "Ada", "CreatedOn": "2025-03-04T10:11:12Z", "N": 1.5, "Active": false, "Gender": 1, "e": "",
        "Notes": { "Id": "Ada" }, "Ada Lovelace": 1, "Data": "{\"Id\":1}", "FullName": "Ada",
    });
    let out: Value = serde_json::from_str(&rewrite(&all, "/api/x/y", &text.to_string())).unwrap();
    for name in ["Id", "UniqueId", "TeamIds", "Kept", "N", "Active", "e"] {
        assert_eq!(out[name], text[name], "{name}");
    }
    assert!(
        is_token(&out["Name"], "TEXT")
            && is_token(&out["OtherId"], "TEXT")
            && is_token(&out["Data"], "TEXT")
    );
    assert!(is_token(&out["FullName"], "NAME") && is_token(&out["Notes"]["Id"], "BIO"));
    assert_eq!((&out["CreatedOn"], &out["Gender"]), (&Value::Null, &json!(0)));
    assert!(!out.to_string().contains("Ada"), "{out}");
}

#[test]
fn a_query_tells_nothing() {
    let table = redaction(RedactMode::Table, false);
    let kind = table.record_kind("/api/spaces/coworkers").unwrap();
    let check = |query: &str| resolve_query(&table, kind, query);
    for query in [
        "",
        "page=1&size=100",
        "Coworker_Id=5",
        "Coworker_Ids=[1,2]",
        "id=[1,2]",
        "from_Coworker_UpdatedOn=2026-01-01",
        "to_Coworker_CreatedOn=2026-01-01T00:00:00Z",
        "Coworker_Active=true",
        "Coworker_CoworkerType=1",
        "orderBy=UpdatedOn&dir=1",
        "Coworker_Business=5",
        "status=Paid",
        "_=1700000000",
        "Booking_Coworker_Id=7",
    ] {
        assert_eq!(check(query), Ok(None), "{query}");
    }
    for query in [
        "Coworker_FullName=Ada",
        "Coworker_Email=a",
        "Coworker_MobilePhone=447700900123",
        "callback=x",
        "$select=Email",
        "$filter=1",
        "q=5",
        "query=Ada",
        "orderBy=Email",
        "orderBy=Coworker.FullName",
        "from_Coworker_DateOfBirth=1815-12-10",
        "Coworker_Custom1=1",
        "Coworker_AccessPincode=1234",
        "Visitor_Coworker_FullName=x",
        "Coworker%5FEmail=a",
        "name=5",
        "Coworker_Name=Ada",
        "%24select=Id",
        "Coworker_Notes=",
        "Coworker_Gender=1",
        "orderBy=Name",
        "page=Ada",
    ] {
        assert!(check(query).is_err(), "{query}");
    }
}

#[test]
fn tokens_are_put_back_in_hidden_fields_alone() {
    let table = redaction(RedactMode::Table, true);
    let text = rewrite(
        &table,
        "/api/spaces/coworkers",
        r#"{"Email":"ada+1@example.com","FullName":"Ada \"A\" L"}"#,
    );
    let out: Value = serde_json::from_str(&text).unwrap();
    let (email, name) = (out["Email"].as_str().unwrap(), out["FullName"].as_str().unwrap());
    let encoded: String = form_urlencoded::byte_serialize(email.as_bytes()).collect();
    let kind = table.record_kind("/api/spaces/coworkers").unwrap();
    let query =
        |query: &str| resolve_query(&table, kind, query).map(|it| it.map(|it| it.to_string()));
    assert_eq!(
        query(&format!("page=1&Coworker_Email={encoded}")).unwrap().unwrap(),
        "page=1&Coworker_Email=ada%2B1%40example.com"
    );
    assert_eq!(query(&format!("Coworker_Reference={encoded}")), Err(ResolveError::Readable));
    assert_eq!(
        query("Coworker_Email=«PII:EMAIL:00000000»"),
        Err(ResolveError::Unknown(UnknownToken))
    );

    let body = |text: &str| {
        let mut resolver = BodyResolver::new(&table, kind);
        resolver.write(text.as_bytes());
        resolver.finish().map(|it| it.map(|it| String::from_utf8(it.to_vec()).unwrap()))
    };
    let given = format!(r#"{{"FullName":"{name}","Id":5.0,"Notes":"for {email}!"}}"#);
    assert_eq!(
        body(&given).unwrap().unwrap(),
        r#"{"FullName":"Ada \"A\" L","Id":5.0,"Notes":"for ada+1@example.com!"}"#
    );
    assert_eq!(body(r#"{"FullName":"Bob","x":[1]}"#), Ok(None));
    assert_eq!(body(&format!(r#"{{"Description":"{name}"}}"#)), Err(ResolveError::Readable));
    assert_eq!(
        body(r#"{"FullName":"«PII:NAME:00000000»"}"#),
        Err(ResolveError::Unknown(UnknownToken))
    );
    assert_eq!(body("FullName=%C2%ABPII%3ANAME%3A00000000%C2%BB"), Err(ResolveError::Unreadable));
    assert_eq!(body("FullName=Bob&x=1"), Ok(None));

    let without = redaction(RedactMode::Table, false);
    let mut resolver = BodyResolver::new(&without, kind);
    resolver.write(given.as_bytes());
    assert_eq!(resolver.finish(), Err(ResolveError::NotAllowed));
}

#[test]
fn a_sentence_is_hidden_where_a_token_was_put_back() {
    let table = redaction(RedactMode::Table, true);
    let kind = table.record_kind("/api/x").unwrap();
    let (mut rewriter, mut out) = (table.rewriter(kind, true), vec![]);
    rewriter.write(br#"{"Message":"Ada Lovelace is taken","Value":{"Id":1}}"#, &mut out).unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    assert!(is_token(&out["Message"], "TEXT"), "{out}");
}

#[test]
fn a_location_leads_nowhere_else_and_tells_nothing() {
    let table = redaction(RedactMode::Table, false);
    assert!(table.allows_location("/api/spaces/coworkers/5"));
    for location in [
        "https://x.example/",
        "//x.example/",
        "/\\x.example/",
        "/\\x",
        "https:/x.example/",
        "/a?b",
        "/a/ada@example.com",
        "/a/ada%40example.com",
        "x",
    ] {
        assert!(!table.allows_location(location), "{location}");
    }
}

const MARKER: &str = "Zyxwvut";

/// A document in which personal fields hold the marker, in any place.
fn document() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "FullName",
        "coworkeremail",
        "NOTES",
        "ToStringText",
        "Custom7",
        "Guessedfirstname",
        "DateOfBirth",
        "AccessPincode",
        "BillToTaxIDNumber",
    ]);
    let open = prop::sample::select(vec![
        "Id",
        "Records",
        "Value",
        "Coworker",
        "Name2",
        "BookingVisitors",
        "Data",
    ]);
    let text = prop_oneof![
        Just(MARKER.to_owned()),
        Just(format!("{MARKER}@example.com")),
        Just(format!("x {MARKER}@b y"))
    ];
    let personal = (key, text.clone()).prop_map(|(key, text)| json!({ key: text }));
    let email = Just(json!({ "Description": format!("to <{MARKER}@example.com>") }));
    let leaf = prop_oneof![personal, email, Just(json!(1)), Just(json!("plain"))];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (open.clone(), inner.clone()).prop_map(|(key, value)| json!({ key: value })),
            inner.clone().prop_map(|value| json!({ "FullName": value })),
            inner.prop_map(|value| json!({ "CustomData": value.to_string() })),
        ]
    })
}

proptest! {
    #[test]
    fn no_marker_survives_in_any_form(value in document(), bits: u32, piece in 1_usize..50, is_all: bool) {
        let mode = if is_all { RedactMode::All } else { RedactMode::Table };
        let redaction = redaction(mode, false);
        let kind = redaction.record_kind("/api/x").unwrap();
        let (mut rewriter, mut out) = (redaction.rewriter(kind, false), vec![]);
        let text: String = value.to_string().chars().enumerate().map(|(at, letter)| {
            let is_escaped = letter.is_ascii_alphabetic() && bits >> (at % 32) & 1 == 1 && !value.to_string().contains('\\');
            let is_name = is_escaped && !"truefalsn".contains(letter);
            if is_name { format!("\\u{:04x}", u32::from(letter)) } else { letter.to_string() }
        }).collect();
        for piece in text.as_bytes().chunks(piece) {
            rewriter.write(piece, &mut out).unwrap();
        }
        rewriter.finish(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        prop_assert!(!out.contains(MARKER), "{text}\n{out}");
        let read: Value = serde_json::from_str(&out).unwrap();
        prop_assert!(!read.to_string().contains(MARKER));
    }
}

#[test]
fn a_path_that_names_several_records_hides_what_each_of_them_hides() {
    let record = json!({ "Records": [{ "TariffName": "Hot desk", "Id": 5 }] });
    for path in ["/api/spaces/coworkers/5/teams", "/api/spaces/teams/9/coworkers"] {
        let out = redact(path, &record);
        assert!(is_token(&out["Records"][0]["TariffName"], "BIO"), "{path}: {out}");
        assert_eq!(out["Records"][0]["Id"], 5);
    }
    assert_eq!(redact("/api/spaces/teams", &record), record);

    let all = redaction(RedactMode::All, false);
    let kept = json!({ "Name": "Desk 4" }).to_string();
    assert_eq!(rewrite(&all, "/api/spaces/resources", &kept), kept);
    assert_ne!(rewrite(&all, "/api/spaces/coworkers/5/resources", &kept), kept);
}

#[test]
fn a_path_to_several_kinds_of_records_shares_no_decision() {
    let redaction = redaction(RedactMode::Table, false);
    let text = r#"[{"TariffName":"Hot desk"}]"#;
    let shows = |path: &str| rewrite(&redaction, path, text).contains("Hot desk");
    for _ in 0..2 {
        assert!(shows("/api/visitors/1/bookingvisitors") && shows("/api/visitors"));
        assert!(!shows("/api/coworkers/1/visitors") && !shows("/api/coworkers"));
    }
}
