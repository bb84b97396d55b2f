//! Values in other forms, and fields in other places, than a rule names them.

use super::*;

#[test]
fn the_documented_field_is_kept_in_its_collection_alone() {
    let all = redaction(RedactMode::All, false);
    let text = json!({
        "Id": 5, "Name": "Desk", "Description": "Blue", "Coworker": { "Name": "Ada" },
        "Resource": { "Name": "Desk" }, "Records": [{ "Name": "Desk" }],
    });
    let read = |path: &str| -> Value {
        serde_json::from_str(&rewrite(&all, path, &text.to_string())).unwrap()
    };
    for path in ["/api/spaces/resources", "/api/spaces/Resources/5"] {
        let out = read(path);
        assert_eq!((&out["Name"], &out["Records"][0]["Name"]), (&json!("Desk"), &json!("Desk")));
        assert!(is_token(&out["Description"], "TEXT"), "{out}");
        assert!(is_token(&out["Coworker"]["Name"], "TEXT"), "{out}");
    }
    for path in ["/api/spaces/bookings", "/api/spaces/products"] {
        let out = read(path);
        assert!(is_token(&out["Name"], "TEXT") && is_token(&out["Records"][0]["Name"], "TEXT"));
        assert_eq!(out["Resource"]["Name"], "Desk");
    }
}

#[test]
fn joined_fields_are_hidden_as_in_their_records() {
    let record = json!({
        "CoworkerPosition": "CEO", "CoworkerReferenceNumber": "X-1", "Coworker_Tag": "vip",
        "CoworkerTariffName": "Hot desk", "PayingMember": { "Position": "CEO" },
        "CoworkerContractCoworker": { "Tag": "vip" }, "Position": "left",
    });
    let out = redact("/api/spaces/bookings", &record);
    for name in
        ["CoworkerPosition", "CoworkerReferenceNumber", "Coworker_Tag", "CoworkerTariffName"]
    {
        assert!(is_token(&out[name], "BIO"), "{name}: {}", out[name]);
    }
    assert!(is_token(&out["PayingMember"]["Position"], "BIO"), "{out}");
    assert!(is_token(&out["CoworkerContractCoworker"]["Tag"], "BIO"), "{out}");
    assert_eq!(out["Position"], "left");
}

#[test]
fn a_query_tells_nothing_about_joined_fields() {
    let table = redaction(RedactMode::Table, false);
    let kind = table.record_kind("/api/spaces/bookings").unwrap();
    for query in [
        "Coworker_ReferenceNumber=12345",
        "Booking_Coworker_ReferenceNumber=12345",
        "Coworker_TariffName=",
        "orderBy=Coworker_Position",
        "orderBy=Coworker.Position",
        "orderBy=Description",
    ] {
        assert!(resolve_query(&table, kind, query).is_err(), "{query}");
    }
    for query in ["orderBy=UpdatedOn", "orderBy=Coworker_CreatedOn", "Coworker_Id=5"] {
        assert_eq!(resolve_query(&table, kind, query), Ok(None), "{query}");
    }
}

#[test]
fn a_string_that_is_odd_on_purpose_ends() {
    for (unit, name) in [("a://", "D"), ("\"a ", "Message"), ("a@b ", "D")] {
        let out = redact("/api/x", &json!({ name: unit.repeat(31_000) }));
        assert!(!out[name].as_str().unwrap().contains(&unit.repeat(3)), "{unit}");
    }
}

#[test]
fn what_a_reader_sees_is_hidden_however_it_is_written() {
    let record = json!({
        "A": "//files.example/x?sig=1", "B": "files.example/x?sig=1", "C": "020&nbsp;7946&nbsp;0958",
        "D": "ada&#0064;x.test", "E": "ada<wbr>@x.test", "F": "０２０ ７９４６ ０９５８",
        "G": "+44%207700%20900123", "H": "7946 0958", "Plain": "and/or", "J": "tel:+44%207700%20900123",
    });
    let out = redact("/api/spaces/resources", &record);
    for (name, word) in [
        ("A", "URL"),
        ("B", "URL"),
        ("C", "PHONE"),
        ("D", "EMAIL"),
        ("E", "EMAIL"),
        ("F", "PHONE"),
        ("G", "PHONE"),
        ("H", "PHONE"),
    ] {
        assert!(is_token(&out[name], word), "{name}: {}", out[name]);
    }
    assert!(is_token(&json!(out["J"].as_str().unwrap().trim_start_matches("tel:")), "PHONE"));
    assert_eq!(out["Plain"], "and/or");
}
