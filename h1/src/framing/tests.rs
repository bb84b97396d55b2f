//! Lengths as HTTP/2 hands them over.

use super::*;

#[test]
fn a_length_becomes_one_plain_number_or_is_refused() {
    for (values, written) in [
        (&["5"][..], Ok(Some("5"))),
        (&["5", "5"], Ok(Some("5"))),
        (&["5, 5"], Ok(Some("5"))),
        (&["005"], Ok(Some("5"))),
        (&[" 5"], Ok(Some("5"))),
        (&["0", "0"], Ok(Some("0"))),
        (&[], Ok(None)),
        (&["5", "6"], Err(Malformed::ContentLength)),
        (&["x"], Err(Malformed::ContentLength)),
        (&["+5"], Err(Malformed::ContentLength)),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        let found = normalize_content_length(&mut headers).map(|()| {
            let all: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert!(all.len() <= 1, "{all:?}");
            all.first().map(|value| value.to_str().unwrap())
        });
        assert_eq!(found, written, "{values:?}");
    }
}
