//! Texts that no server should send.

use json_redactor::{Error, Rewriter};

use super::{Hiding, refusal, rewrite, rewrite_in};

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "Id,Email\n1,a",
        "<html>",
        "{\"a\":1}{",
        "[1,]",
        "{\"a\":1,}",
        "{,}",
        "[,]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "]",
        "nul ",
        "tru1 ",
        "01 ",
        "[1}",
        "{\"a\":1]",
        "callback({})",
        "[\"a\tb\"]",
        "{\"a\tb\":1}",
        "[\"\\x\"]",
        "[1]]",
        "// x\n[]",
        "[Infinity]",
        "\u{a0}[]",
    ] {
        assert_eq!(refusal(text.as_bytes()), Error::Syntax, "{text}");
    }
    for text in ["[", "{\"a\":", "\"a", "[\"a\\\"", "{\"a\":{}", "[[]"] {
        assert_eq!(refusal(text.as_bytes()), Error::Incomplete, "{text}");
    }
    assert_eq!(refusal(b"[\"\xff\"]"), Error::Encoding);
    // In UTF-32: a zero, and behind it what is no character.
    assert_eq!(refusal(b"\0\0\0\0\0\0\",\"x\x06"), Error::Syntax);
    assert_eq!(refusal(b"[\"\xc3\"]"), Error::Encoding);
}

#[test]
fn what_was_passed_on_before_an_error_is_understood() {
    let text = br#"{"secret":"Ada","a":"b","secret":"Ad"#;
    for piece in [1, 5, 100] {
        let (error, out) = rewrite_in(text, piece).unwrap_err();
        assert_eq!(
            (error, out.as_str()),
            (Error::Incomplete, r#"{"secret":"«hidden»","a":"b","secret":"#)
        );
    }
    let mut rewriter = Rewriter::new(Hiding);
    assert_eq!(rewriter.write(b"[x, 1]", &mut vec![]), Err(Error::Syntax));
    assert_eq!(rewriter.write(b"[]", &mut vec![]), Err(Error::Syntax));
    assert_eq!(rewriter.finish(&mut vec![]), Err(Error::Syntax));
}

#[test]
fn ten_thousand_levels_need_no_stack() {
    let deep = |levels: usize| {
        format!(
            "{}\"secret\":\"Ada\"{}",
            "{\"a\":[{\"b\":".repeat(levels) + "{",
            "}".to_owned() + &"}]}".repeat(levels)
        )
    };
    assert!(!rewrite(&deep(10_000)).contains("Ada"));
    assert_eq!(refusal("[".repeat(70_000).as_bytes()), Error::TooDeep);
}

#[test]
fn a_long_string_is_rewritten_in_parts() {
    for filler in ["word ", "<b>", "QUJD", "é, ", "\\n\\u00e9"] {
        let long = filler.repeat((400 << 10) / filler.len());
        for at in [0, 64 << 10, 127 << 10, (128 << 10) + 3, 300 << 10] {
            let at = at / filler.len() * filler.len();
            let (before, after) = long.split_at(at);
            let text = format!("[\"{before} ada@example.com {after}\"]");
            let out = rewrite_in(text.as_bytes(), 5000).unwrap();
            let read: Vec<String> = serde_json::from_str(&out).unwrap();
            let expected: Vec<String> = serde_json::from_str(&text.replace('@', "#")).unwrap();
            assert_eq!(read, expected, "{filler} {at}");
        }
    }
}

#[test]
fn a_long_string_that_is_hidden_or_json_becomes_null() {
    let long = "x".repeat(300 << 10);
    let json =
        serde_json::json!({ "a": format!("{{\"secret\":\"{long}\"}}"), "kept": long, "n": 1 });
    let text = format!("{{\"secret\":\"{long}\",\"rest\":{json}}}");
    let out = rewrite_in(text.as_bytes(), 3000).unwrap();
    let expected =
        format!("{{\"secret\":null,\"rest\":{{\"a\":null,\"kept\":\"{long}\",\"n\":1}}}}");
    assert!(out == expected);
    let key = format!("{{\"{long}\":1}}");
    assert_eq!(rewrite_in(key.as_bytes(), 3000).unwrap_err().0, Error::TooLong);
    let number = "1".repeat(2000);
    assert_eq!(rewrite_in(number.as_bytes(), 100).unwrap_err().0, Error::TooLong);
}

#[test]
fn the_state_stays_below_a_mebibyte() {
    let long = "\\u00e9@ ".repeat(100_000);
    let texts = [
        "[".repeat(65_536),
        format!("[\"{long}\"]"),
        format!("{{\"secret\":\"{long}\"}}"),
        format!("{}\"{long}\"", "[".repeat(65_536)),
        (0..50_000).map(|it| format!("{{\"key{it}\":")).collect(),
    ];
    for text in texts {
        let (mut rewriter, mut out) = (Rewriter::new(Hiding), vec![]);
        for piece in text.as_bytes().chunks(8 << 10) {
            rewriter.write(piece, &mut out).unwrap();
            out.clear();
            let bytes = rewriter.state_bytes();
            assert!(bytes <= 1 << 20, "{bytes}: {}", &text[..20]);
        }
    }
}
