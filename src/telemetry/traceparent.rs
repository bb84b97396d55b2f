//! The trace of a client (W3C Trace Context): only its id, so that our log lines join theirs.

use http::{HeaderMap, HeaderName};

/// Returns the trace id of a well-formed `traceparent`, 32 lower-case hexadecimal digits.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        part.len() == length && part.bytes().all(digit)
    };
    let is_known = version == "00";
    let is_whole = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        // A later version may have more parts.
        && (!is_known || parts.next().is_none());
    let has_ids = [trace, parent].iter().all(|id| id.bytes().any(|byte| byte != b'0'));
    (is_whole && has_ids).then_some(trace)
}

/// A name that is not parsed again for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_well_formed_traceparent_is_found() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        for good in [
            format!("00-{trace}-b7ad6b7169203331-01"),
            format!("01-{trace}-b7ad6b7169203331-01-later"),
        ] {
            assert_eq!(trace_id(&headers(&good)), Some(trace), "{good}");
        }
        for bad in [
            format!("00-{trace}-b7ad6b7169203331-01-later"),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            "secret".to_owned(),
            String::new(),
        ] {
            assert_eq!(trace_id(&headers(&bad)), None, "{bad}");
        }
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("traceparent"), value.parse().unwrap())])
    }
}
