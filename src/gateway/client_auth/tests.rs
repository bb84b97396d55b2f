//! Where a key is taken from, and where it is refused.

use super::*;

#[test]
fn a_key_is_taken_from_where_tools_are_told_to_put_it() {
    for (name, value) in [
        ("nexudus-proxy-key", "nxp_key"),
        ("nexudus-proxy-key", " nxp_key "),
        ("nexudus_proxy_key", "nxp_key"),
        ("nexudus-proxy_key", "nxp_key"),
        ("authorization", "Bearer nxp_key"),
        ("authorization", "bearer  nxp_key"),
        // `me@example.com:nxp_key` and `:nxp_key`
        ("authorization", "Basic bWVAZXhhbXBsZS5jb206bnhwX2tleQ=="),
        ("authorization", "BASIC Om54cF9rZXk"),
        ("proxy-authorization", "Basic bWVAZXhhbXBsZS5jb206bnhwX2tleQ=="),
        ("proxy-authorization", "Bearer nxp_key"),
    ] {
        assert_eq!(found(name, value), Ok(Some("nxp_key".to_owned())), "{name}: {value}");
    }
    // The header holds a key, whatever its value looks like.
    for value in ["x", "", "NXP_KEY", "nxp_key, nxp_key"] {
        assert_eq!(found("nexudus-proxy-key", value), Ok(Some(value.to_owned())));
    }
}

#[test]
fn a_key_in_any_other_place_or_form_is_refused() {
    let (upper, encoded) = (KEY.to_uppercase(), KEY.replacen('_', "%5F", 1));
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    for value in unaccepted_forms() {
        for (name, place) in
            [("authorization", "Authorization"), ("proxy-authorization", "Proxy-Authorization")]
        {
            assert_eq!(
                found(name, &value).unwrap_err().to_string(),
                format!("the client key in {place} is written in a form that is not accepted"),
                "{value}"
            );
        }
    }
    for (name, place) in [
        ("cookie", "Cookie"),
        ("x-api-key", "X-Api-Key"),
        ("referer", "Referer"),
        ("user-agent", "User-Agent"),
        ("proxy_authorization", "another header"),
        ("x", "another header"),
    ] {
        for value in [KEY, &upper, &encoded, &format!("a={KEY}; b"), &basic(&format!("me:{KEY}"))] {
            assert_eq!(
                found(name, value).unwrap_err().to_string(),
                format!("a client key stands in {place}, where keys are not accepted"),
                "{value}"
            );
        }
    }
    let name = KEY.to_owned();
    assert_eq!(found(&name, "x"), Err(Error::Misplaced(KeyLocation::AnotherHeader)));
}

/// The forms of a key, whole or in part, in which neither `Authorization` nor `Proxy-Authorization`
/// takes it.
fn unaccepted_forms() -> Vec<String> {
    let (upper, encoded) = (KEY.to_uppercase(), KEY.replacen('_', "%5F", 1));
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    vec![
        KEY.to_owned(),
        upper.clone(),
        format!("Token {KEY}"),
        format!("Bearer \"{KEY}\""),
        format!("Bearer '{KEY}'"),
        format!("Bearer {upper}"),
        format!("Bearer {encoded}"),
        format!("Bearer x {KEY}"),
        format!("Bearer: {KEY}"),
        format!("Digest username={KEY}"),
        format!("Digest username=\"{KEY}\", realm=\"x\""),
        // Not even the whole of one.
        "nxp_x".to_owned(),
        "NXP_x".to_owned(),
        "Token nxp_x".to_owned(),
        "Bearer NXP_X".to_owned(),
        "Bearer \"nxp_x\"".to_owned(),
        "Bearer %6exp_x".to_owned(),
        "Digest username=nxp_x".to_owned(),
        basic(KEY),
        basic(&format!("{KEY}:")),
        basic(&format!("{KEY}:x")),
        basic(&format!("{KEY}:{KEY}")),
        basic(&format!("me:x:{KEY}")),
        basic(&format!("me:{upper}")),
        basic(&format!("me: {KEY}")),
        basic(&format!("me:\"{KEY}\"")),
        basic(&format!("me:{encoded}")),
        basic("me:x:nxp_x"),
        basic("nxp_x"),
        basic("nxp_x:y"),
        format!("Basic me:{KEY}"),
        basic(&format!("\u{3ff}\u{3fe}:x:{KEY}")).replace('+', "-").replace('/', "_"),
        basic(&format!("me:x:{KEY}")).replacen("Basic ", "Basic !", 1),
    ]
}

#[test]
fn what_only_reminds_of_a_key_is_left_alone() {
    for value in [
        "",
        "Bearer x",
        "Basic",
        "Basic !",
        "Basic bWU6eA==",
        &format!("Bearer abc{KEY}"),
        "Bearer abcnxp_x",
        "Bearer eyJhbGciOi.nxp_JIUzI1NiJ9",
        "Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa-nxp_gJDAiBgkqhkiC9x",
    ] {
        assert_eq!(found("authorization", value), Ok(None), "{value}");
    }
    for value in ["nxp_holdings", "a=nxp_x", &format!("sid=abc{KEY}"), "Basic bnhwX3g6"] {
        assert_eq!(found("cookie", value), Ok(None), "{value}");
    }
    for target in ["/api/spaces/coworkers?q=nxp_holdings", "/", "/api/nxp_/x", "/a?t=abcnxp_x"] {
        assert_eq!(reject_key_in_target(&target.parse().unwrap()), Ok(()), "{target}");
    }
    for (target, place) in [
        (format!("/api/{KEY}"), KeyLocation::Path),
        (format!("/?k={KEY}"), KeyLocation::Query),
        (format!("/a%2F{KEY}?x"), KeyLocation::Path),
    ] {
        let refused = Err(Error::Misplaced(place));
        assert_eq!(reject_key_in_target(&target.parse().unwrap()), refused, "{target}");
    }
}

#[test]
fn a_key_in_basic_is_found_wherever_the_word_is() {
    let pair = BASE64.encode(format!("me:{KEY}"));
    for value in [
        format!(", Basic {pair}"),
        format!("Bearer x, Basic {pair}"),
        format!("Bearer x,basic\t{pair}, Digest y"),
        format!("Basic: {pair}"),
        format!("Basic={pair}"),
        format!("\"Basic {pair}\""),
        format!("Basic Basic {pair}"),
        format!("{}Basic {pair}", "Basic, ".repeat(100)),
    ] {
        for name in ["authorization", "proxy-authorization"] {
            let refused = found(name, &value).unwrap_err();
            assert!(matches!(refused, Error::Malformed(_)), "{name}: {value}: {refused}");
        }
    }
    for value in ["Bearer basic", "Bearer x, Basic bWU6eA==", "Bearer basicbWU6eA", "Basic: x"] {
        assert_eq!(found("authorization", value), Ok(None), "{value}");
    }
}

#[test]
fn a_head_that_costs_too_much_to_decode_is_refused() {
    let head = |fields: usize| {
        let mut request = http::Request::get("/api/x");
        for at in 0..fields {
            request = request.header(format!("x-{at}"), "%25".repeat(400));
        }
        request.body(()).unwrap().into_parts().0
    };
    let look = |head: Parts| {
        let mut left = MAX_DECODED_BYTES;
        head.headers
            .iter()
            .try_for_each(|(name, value)| key_in_header(name, value, &mut left).map(drop))
    };
    assert_eq!(look(head(10)), Ok(()));
    assert!(matches!(look(head(90)), Err(Error::Misplaced(_))));
}

fn found(name: &str, value: &str) -> Result<Option<String>, Error> {
    let name = HeaderName::try_from(name).unwrap();
    let value = HeaderValue::try_from(value).unwrap();
    let mut left = MAX_DECODED_BYTES;
    let key = key_in_header(&name, &value, &mut left)?;
    Ok(key.map(|key| String::from_utf8(key.into_owned()).unwrap()))
}

const KEY: &str = "nxp_abcdefghijklmnopqrstuvwxyz234567abcdef";
