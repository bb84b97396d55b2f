//! Responses of the token endpoint, as they were seen or are documented.

use http::HeaderValue;

use super::*;

#[test]
fn tokens_are_read_in_any_casing() {
    let body = r#"{"AccessToken":"a","RefreshToken":"r","ExpiresIn":"60","token_type":"x"}"#;

    let issued = answered(200, body).unwrap();

    let (access, refresh) = (Secret::new("a"), Some(Secret::new("r")));
    assert_eq!(issued, TokenGrant { access, refresh, lifetime: Duration::from_secs(60) });
    assert_eq!(answered(200, r#"{"access_token":"a"}"#).unwrap().refresh, None);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_response() {
    assert!(answered(200, "\u{feff}{\"access_token\":\"a\"}").is_ok());
    let refused = answered(500, "\u{feff}{\"error\":\"invalid_grant\"}");
    assert_eq!(refused.unwrap_err(), TokenError::Refused);
}

#[test]
fn a_life_is_believed_within_bounds() {
    for (said, seconds) in [
        ("604799", 604_799),
        ("\"86400\"", 86_400),
        ("2.0", 2),
        ("0", 1_800),
        ("-5", 1_800),
        ("null", 1_800),
        ("\"soon\"", 1_800),
        ("\"NaN\"", 1_800),
        ("99999999999", 14 * 86_400),
        ("1e300", 14 * 86_400),
    ] {
        let body = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
        assert_eq!(answered(200, &body).unwrap().lifetime.as_secs(), seconds, "{said}");
    }
}

#[test]
fn the_body_decides_before_the_status() {
    for status in [200, 400, 401, 403, 500] {
        let failure = |body| answered(status, body).unwrap_err();
        let description = r#"{"error":"x","error_description":"Two_Factor_Auth_Check"}"#;
        assert_eq!(failure(r#"{"error":"two_factor_auth_check"}"#), TokenError::TotpRequired);
        assert_eq!(failure(description), TokenError::TotpRequired);
        assert_eq!(failure(r#"{"Error":"must_reset_password"}"#), TokenError::PasswordReset);
        assert_eq!(failure(r#"{"error":"INVALID_GRANT"}"#), TokenError::Refused);
        for body in
            [r#"{"error":"unsupported_grant_type"}"#, r#"{"error":"temporarily_unavailable"}"#]
        {
            assert!(matches!(failure(body), TokenError::Transient { .. }), "{status} {body}");
        }
    }
}

#[test]
fn a_status_decides_where_the_body_says_nothing() {
    let page = "  <html>Request blocked</html>";
    for (status, body, expected) in [
        (400, "", "refused"),
        (401, page, "refused"),
        (400, r#"{"error":"other"}"#, "refused"),
        (403, r#"{"message":"no"}"#, "refused"),
        (403, page, "passing"),
        (403, "", "unclear"),
        (404, "", "unavailable"),
        (302, "", "unavailable"),
        (409, "", "passing"),
        (429, page, "passing"),
        (500, page, "unclear"),
        (501, "", "unclear"),
        (520, "", "unclear"),
        (502, page, "unavailable"),
        (503, "", "unavailable"),
        (504, "", "unavailable"),
    ] {
        let kind = match answered(status, body).unwrap_err() {
            TokenError::Refused => "refused",
            TokenError::Ambiguous(_) => "unclear",
            TokenError::Transient { .. } => "passing",
            TokenError::Unavailable { .. } => "unavailable",
            other @ (TokenError::TotpRequired | TokenError::PasswordReset) => {
                panic!("{other:?}")
            }
        };
        assert_eq!(kind, expected, "{status} {body}");
    }
}

#[test]
fn a_success_without_a_usable_token_may_have_spent_what_was_offered() {
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":"é"}"#,
    ] {
        let failure = answered(200, body).unwrap_err();
        assert!(matches!(failure, TokenError::Unavailable { .. }), "{body}: {failure:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        parse_retry_after(&headers)
    };
    assert_eq!(read("3"), Some(Duration::from_secs(3)));
    assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    assert_eq!(read("-1"), None);
    assert_eq!(read("soon"), None);
}

fn answered(status: u16, body: &str) -> Result<TokenGrant, TokenError> {
    let status = StatusCode::from_u16(status).unwrap();
    parse(&TokenResponse { status, retry_after: None, body: body.as_bytes() })
}
