//! Random documents, compared with another parser.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::rewrite_in;

const MARKER: &str = "Lovelace";

fn document() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z@ \\\\\"é😀\n]{0,12}",
        Just(MARKER.to_owned()),
        Just("{\"x\":".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key =
            prop_oneof!["[a-zé\"\\\\]{0,5}", Just("secret".to_owned()), Just("kept".to_owned())];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key, inner.clone()), 0..5)
                .prop_map(|it| Value::Object(it.into_iter().collect::<Map<_, _>>())),
            inner.prop_map(|it| Value::from(it.to_string())),
        ]
    })
}

/// Writes each letter of every string as an escape, where `bits` say so.
fn escape(json: &str, bits: u32) -> String {
    let (mut out, mut is_string, mut is_escaped) = (String::new(), false, false);
    for (nth, letter) in json.chars().enumerate() {
        let is_mark = letter == '"' && !is_escaped;
        is_string ^= is_mark;
        let is_plain = is_string && !is_mark && !is_escaped && letter.is_ascii_alphabetic();
        is_escaped = letter == '\\' && !is_escaped;
        if is_plain && bits >> (nth % 32) & 1 == 1 {
            out.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

/// Puts the value into members that are hidden.
fn hide(value: Value) -> Value {
    serde_json::json!([{ "secret": value, "secret2": { "x": [value] } }])
}

fn holds_string(value: &Value, found: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(all) => all.iter().any(|it| holds_string(it, found)),
        Value::Object(all) => all.values().any(|it| holds_string(it, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

proptest! {
    #[test]
    fn the_result_is_json_and_pieces_do_not_matter(value in document(), bits: u32, piece in 1_usize..40) {
        let text = escape(&value.to_string(), bits);
        let whole = rewrite_in(text.as_bytes(), usize::MAX).unwrap();
        prop_assert_eq!(&rewrite_in(text.as_bytes(), piece).unwrap(), &whole);
        let read: Value = serde_json::from_str(&whole).unwrap();
        prop_assert_eq!(read.is_object(), value.is_object());
        let again = rewrite_in(whole.as_bytes(), piece).unwrap();
        prop_assert_eq!(again, whole);
    }

    #[test]
    fn no_string_survives_in_a_hidden_member(value in document(), bits: u32, piece in 1_usize..40) {
        let text = escape(&hide(value).to_string(), bits);
        let out = rewrite_in(text.as_bytes(), piece).unwrap();
        let read: Value = serde_json::from_str(&out).unwrap();
        // The members named `kept` are the only ones that the rules leave.
        let is_left = |text: &str| text != "«hidden»";
        if !text.contains("kept") && !text.contains("\\u") {
            prop_assert!(!holds_string(&read, &is_left), "{}", out);
        }
    }

    #[test]
    fn the_fuzz_target_holds_for_documents_and_their_damage(
        value in document(), bits: u32, piece: u8, at: prop::sample::Index, byte: u8,
    ) {
        let mut text = escape(&value.to_string(), bits).into_bytes();
        text.insert(0, piece);
        crate::fuzzed::check(&text);
        let at = at.index(text.len());
        text[at] = byte;
        crate::fuzzed::check(&text);
    }

    #[test]
    fn random_bytes_are_refused_or_understood_as_another_parser_does(
        text in "[\\[\\]{}:,\" \\\\a0-9.eE+-]{0,24}",
        piece in 1_usize..8,
    ) {
        let ours = rewrite_in(text.as_bytes(), piece);
        let theirs = serde_json::from_str::<Value>(&text);
        let is_known = theirs.is_ok() || text.trim().is_empty();
        // Numbers that no float holds are JSON all the same.
        let is_large = theirs.is_err_and(|error| error.to_string().contains("out of range"));
        prop_assert!(ours.is_ok() == is_known || is_large, "{} {:?}", text, ours);
    }
}
