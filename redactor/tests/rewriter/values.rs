//! What becomes of each kind of value.

use super::rewrite;

#[test]
fn what_no_rule_is_about_keeps_its_bytes() {
    for text in [
        r#" { "a" : 1.10e+5 , "b":[ ] , "c":{ }, "d":[true,false,null,"é\u00e9\/"]} "#,
        "[]",
        "0",
        " \"x\"\n",
        r#"{"a":1,"a":2,"":{"":""}}"#,
        "",
        " \n",
    ] {
        assert_eq!(rewrite(text), text);
    }
}

#[test]
fn a_hidden_member_loses_strings_and_numbers_at_any_depth() {
    let text = r#"{"secret":"a","secret1":12.5,"secret2":[ "a",{"b":"c","n":-1}],"secret3":true,"x":1,
        "secret4":null,"x2":"y"}"#;
    let expected = r#"{"secret":"«hidden»","secret1":0,"secret2":[ "«hidden»",{"b":"«hidden»","n":0}],"secret3":true,"x":1,
        "secret4":null,"x2":"y"}"#;
    assert_eq!(rewrite(text), expected);
    assert_eq!(
        rewrite(r#"{"dropped":["a",5,{"kept":"b"}]}"#),
        r#"{"dropped":[null,0,{"kept":"b"}]}"#
    );
}

#[test]
fn a_key_is_known_in_every_spelling_and_every_time() {
    let text = r#"{"\u0073ecret":"a","SECRET":"b","secret":"c","secret":"d","s\u0065cret" :1}"#;
    let expected = r#"{"\u0073ecret":"«hidden»","SECRET":"«hidden»","secret":"«hidden»","secret":"«hidden»","s\u0065cret" :0}"#;
    assert_eq!(rewrite(text), expected);
}

#[test]
fn a_string_is_read_without_its_escapes() {
    assert_eq!(rewrite(r#"["a\u0040b","a@b","\ud83d\ude00@"]"#), r##"["a#b","a#b","😀#"]"##);
    assert_eq!(rewrite(r#"{"a@b":{"@":"x"}}"#), r#"{"key":{"key":"x"}}"#);
    assert_eq!(rewrite(r#"{"kept":"a@b"}"#), r#"{"kept":"a@b"}"#);
}

#[test]
fn json_in_a_string_is_rewritten_as_json() {
    let text = r#"{"x":"{\"secret\":\"a\",\"n\":[1]}","data":" [\"a@b\"] ","y":"\"a@b\""}"#;
    let expected =
        r#"{"x":"{\"secret\":\"«hidden»\",\"n\":[1]}","data":" [\"a#b\"] ","y":"\"a#b\""}"#;
    assert_eq!(rewrite(text), expected);

    let twice = serde_json::json!({ "x": r#"{"y":"{\"secret\":\"Ada\"}"}"# }).to_string();
    let inner = r#"{\"secret\":\"«hidden»\"}"#;
    let outer = format!("{{\"y\":{}}}", serde_json::json!(inner.replace("\\\"", "\"")));
    assert_eq!(rewrite(&twice), serde_json::json!({ "x": outer }).to_string());
}

#[test]
fn json_in_a_string_that_is_not_understood_is_hidden() {
    for broken in
        [r#"{"secret":"Ada""#, r#"{"secret":"Ada"} x"#, r#"[{"secret":"Ada"]"#, r#"["Ada""#]
    {
        let text = serde_json::json!([broken]).to_string();
        assert_eq!(rewrite(&text), r#"["«opaque»"]"#, "{broken}");
    }
    // A word in brackets is no JSON, nor is a quotation.
    for plain in ["[System]", "\"Ada\" and \"Bob\""] {
        let text = serde_json::json!([plain]).to_string();
        assert_eq!(rewrite(&text), text);
    }
    let mut deep = r#"{"secret":"Ada"}"#.to_owned();
    for _ in 0..6 {
        deep = serde_json::json!([deep]).to_string();
    }
    assert!(!rewrite(&deep).contains("Ada"));
}

#[test]
fn texts_in_other_encodings_become_utf_8() {
    let text = r#"{"secret":"Ada","é":"😀"}"#;
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_mark = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in [utf_16, with_mark] {
        for piece in [1, 2, 3, 1000] {
            let out = super::rewrite_in(&bytes, piece).unwrap();
            assert_eq!(out, r#"{"secret":"«hidden»","é":"😀"}"#);
        }
    }
}
