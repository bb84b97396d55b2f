//! `Max-Forwards`: how many more times an OPTIONS request may be forwarded (RFC 9110 §7.6.2).
//!
//! At zero the proxy responds to the request itself; above zero it forwards the request with one
//! less. RFC 9110 lets a proxy ignore the header with all other methods but TRACE, which is
//! rejected.

use http::Method;
use http::header::MAX_FORWARDS;
use http::request::Parts;

/// The header is not one number: two proxies could count differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedMaxForwards;

/// Returns how many more times this request may be forwarded, if that is limited.
pub(super) fn remaining(head: &Parts) -> Result<Option<u64>, MalformedMaxForwards> {
    if head.method != Method::OPTIONS {
        return Ok(None);
    }
    let mut values = head.headers.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if !is_number || values.next().is_some() {
        return Err(MalformedMaxForwards);
    }
    // RFC 9110 lets a proxy lower a number that is larger than it can count.
    let digit = |byte: &u8| u64::from(byte - b'0');
    Ok(Some(
        digits.iter().fold(0, |all, byte| u64::saturating_mul(all, 10).saturating_add(digit(byte))),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_number_of_an_options_request_counts() {
        for (values, found) in [
            (&[][..], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["007"], Ok(Some(7))),
            (&["99999999999999999999999"], Ok(Some(u64::MAX))),
            (&[""], Err(MalformedMaxForwards)),
            (&["-1"], Err(MalformedMaxForwards)),
            (&["+1"], Err(MalformedMaxForwards)),
            (&["1.0"], Err(MalformedMaxForwards)),
            (&["0, 1"], Err(MalformedMaxForwards)),
            (&["1", "1"], Err(MalformedMaxForwards)),
        ] {
            assert_eq!(remaining(&head("OPTIONS", values)), found, "{values:?}");
            assert_eq!(remaining(&head("GET", values)), Ok(None), "{values:?}");
        }
    }

    fn head(method: &str, values: &[&str]) -> Parts {
        let request = http::Request::builder().method(method);
        let request = values.iter().fold(request, |it, value| it.header(MAX_FORWARDS, *value));
        request.body(()).unwrap().into_parts().0
    }
}
