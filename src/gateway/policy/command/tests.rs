//! Which command is found in a request, however it is written.

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

#[test]
fn the_key_is_found_however_json_writes_it() {
    for body in [
        r#"{"Ids":[1],"Key":"COWORKER_DELETE","Parameters":[]}"#,
        r#"{"key":"COWORKER_DELETE"}"#,
        r#" { "KEY" : " COWORKER_DELETE " } "#,
        r#"{"\u004bey":"COWORKER\u005fDELETE"}"#,
        r#"{"\u212aey":"COWORKER_DELETE"}"#,
        r#"{"Nested":{"Key":"OTHER"},"List":[{"Key":"OTHER"}],"Key":"COWORKER_DELETE"}"#,
        r#"{"Ids":[1],"Message":"Key","kEy":"COWORKER_DELETE"}"#,
    ] {
        assert_eq!(found(JSON, body), Ok(vec!["COWORKER_DELETE".to_owned()]), "{body}");
    }
    for body in ["{}", r#"{"Ids":[1]}"#, r#"{"Key":null}"#, r#"{"Keys":"A","a":{"Key":"B"}}"#] {
        assert_eq!(found(JSON, body), Ok(vec![]), "{body}");
    }
}

#[test]
fn a_body_in_which_servers_may_find_different_keys_is_not_read() {
    let utf16: Vec<u8> = r#"{"Key":"A"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let too_long = || ReplayBody::Streamed(None);
    for body in [
        // Twice, in any case.
        r#"{"Key":"A","Key":"A"}"#,
        r#"{"Key":"A","kEY":"B"}"#,
        r#"{"Key":null,"\u004bEY":"B"}"#,
        r#"{"Key":"A","Key ":"B"}"#,
        // Not one object with a text.
        "[]",
        r#"[{"Key":"A"}]"#,
        r#""A""#,
        r#"{"Key":5}"#,
        r#"{"Key":["A"]}"#,
        r#"{"Key":{"Key":"A"}}"#,
        r#"{"Key":"A"}{"Key":"B"}"#,
        r#"{"Key":"A"} x"#,
        // What lenient parsers take, and others do not.
        "",
        "{'Key':'A'}",
        "{Key:\"A\"}",
        r#"{"Key":"A",}"#,
        r#"{"Key":"A"/* x */}"#,
        "\u{feff}{\"Key\":\"A\"}",
        // Keys that something may take for others.
        "{\"Key\":\"COWORKER\u{a0}DELETE\"}",
        r#"{"Key":"DELET\u00c9"}"#,
        r#"{"Key":"A\u0000B"}"#,
        "Key=A",
        "<Key>A</Key>",
    ] {
        assert!(found(JSON, body).is_err(), "{body}");
    }
    for body in
        [&utf16[..], b"\xff\xfe{", b"{\"Key\":\"A\xff\"}", b"{\"x\":\"\xff\",\"Key\":\"A\"}"]
    {
        assert!(found(JSON, body.to_vec()).is_err(), "{body:?}");
    }
    assert!(keys(&head("/x", JSON), &too_long()).is_err());
}

#[test]
fn a_body_that_is_announced_as_something_else_is_not_read() {
    let read = |fields: &[(&str, &str)]| {
        let mut request = Request::post("/api/x/runcommand");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        keys(&head, &whole(r#"{"Key":"A"}"#)).is_ok()
    };
    let kind = "content-type";
    for value in [
        "application/json",
        "APPLICATION/JSON; charset=UTF-8",
        "text/json",
        "application/vnd.api+json",
    ] {
        assert!(read(&[(kind, value)]), "{value}");
    }
    assert!(read(&[]));
    for fields in [
        &[(kind, "application/x-www-form-urlencoded")][..],
        &[(kind, "multipart/form-data; boundary=x")],
        &[(kind, "text/plain")],
        &[(kind, "text/xml")],
        &[(kind, "application/json; charset=utf-16")],
        &[(kind, "application/json; charset=\"utf-7\"")],
        &[(kind, "application/json"), (kind, "text/xml")],
        &[(kind, "application/json"), ("content-encoding", "gzip")],
        &[(kind, "application/json"), ("content-encoding", "identity")],
        &[(kind, "")],
    ] {
        assert!(!read(fields), "{fields:?}");
    }
}

#[test]
fn a_key_in_the_query_counts_under_every_decoding() {
    let keys =
        |query: &str| keys(&head(&format!("/api/x/runcommand?{query}"), None), &ReplayBody::Empty);
    for query in [
        "Key=COWORKER_DELETE",
        "a=b&kEY=coworker_delete",
        "a;key=COWORKER_DELETE",
        "%4bey=COWORKER%5fDELETE",
        "%254bey=COWORKER%255fDELETE",
        "+Key=+COWORKER_DELETE+",
        "command.Key=COWORKER_DELETE",
        "command%5BKey%5D=COWORKER_DELETE",
        "%u004bey=COWORKER_DELETE",
    ] {
        let found = keys(query).unwrap();
        assert!(found.contains(&"coworker_delete".to_owned()), "{query}: {found:?}");
    }
    for query in ["", "Keys=A", "q=Key", "Ids=1&Id=2", "monkey=1"] {
        assert_eq!(keys(query), Ok(vec![]), "{query}");
    }
    for query in ["Key=COWORKER%C2%A0DELETE", "Key=DELET%C3%89", "Key=A%00B", "K%C3%A8y=A%ff"] {
        assert!(keys(query).is_err(), "{query}");
    }
    assert!(keys(&"%&".repeat(8 << 10)).is_err());
    let both = Request::post("/x?Key=A").body(()).unwrap().into_parts().0;
    assert_eq!(super::keys(&both, &whole(r#"{"Key":"B"}"#)).unwrap(), ["a", "B"]);
}

/// One letter as JSON may write it.
fn written(letter: char) -> impl Strategy<Value = String> {
    let code = u32::from(letter);
    prop_oneof![
        3 => Just(letter.to_string()),
        1 => Just(letter.to_ascii_uppercase().to_string()),
        1 => Just(letter.to_ascii_lowercase().to_string()),
        1 => Just(format!("\\u{code:04x}")),
        1 => Just(format!("\\u{code:04X}")),
    ]
}

proptest! {
    #[test]
    fn no_way_of_writing_json_hides_a_key(
        name in "Key".chars().map(written).collect::<Vec<_>>(),
        key in "COWORKER_DELETE".chars().map(written).collect::<Vec<_>>(),
        before in prop::sample::select(vec!["", "\"Ids\":[1],", "\"a\":{\"Key\":\"X\"},", "\"k\":\"Key\", "]),
        blank in "[ \t\r\n]{0,3}",
    ) {
        let (name, key) = (name.concat(), key.concat());
        let body = format!("{blank}{{{before}{blank}\"{name}\"{blank}:{blank}\"{key}\"}}{blank}");
        let found = found(JSON, body.clone()).unwrap();
        prop_assert_eq!(found.len(), 1);
        prop_assert!(found[0].eq_ignore_ascii_case("COWORKER_DELETE"), "{}", body);
    }

    #[test]
    fn no_bytes_make_reading_fail(body in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = found(JSON, body);
    }
}

const JSON: Option<&str> = Some("application/json");

fn found(kind: Option<&str>, body: impl Into<Bytes>) -> Result<Vec<String>, &'static str> {
    keys(&head("/api/spaces/coworkers/runcommand", kind), &whole(body))
}

fn head(target: &str, kind: Option<&str>) -> Parts {
    let request = Request::post(target);
    let request = kind.into_iter().fold(request, |it, kind| it.header("content-type", kind));
    request.body(()).unwrap().into_parts().0
}

fn whole(body: impl Into<Bytes>) -> ReplayBody {
    let permit = std::sync::Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    ReplayBody::Buffered(body.into(), permit)
}
