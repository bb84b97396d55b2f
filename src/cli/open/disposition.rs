//! The file name in a `Content-Disposition` (RFC 6266), as browsers read it.
//!
//! `filename*` (RFC 8187) counts more than `filename`: an old client gets the second one, without the
//! letters beyond ASCII. A field that is not quite legal still gives what can be read of it.

use http::HeaderValue;
use percent_encoding::percent_decode_str;

/// Returns the name that the field gives. Nothing of it may be trusted as a path.
pub(super) fn file_name(value: &HeaderValue) -> Option<String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let parameters = parameters(&text);
    let find = |wanted: &str| {
        let mut found = parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.clone())
    };
    let extended = find("filename*").and_then(|value| decode_extended(&value));
    extended.or_else(|| find("filename")).filter(|name| !name.is_empty())
}

/// Splits the parameters behind the disposition type. A semicolon in a quoted string splits nothing,
/// and a backslash there stands before a character that is meant.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for char in text.chars() {
        let last = parts.last_mut().expect("there is one from the start");
        match char {
            _ if is_escaped => {
                last.push(char);
                is_escaped = false;
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' if !is_quoted => parts.push(String::new()),
            _ => last.push(char),
        }
    }
    let pairs = parts.iter().skip(1).filter_map(|part| part.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Decodes `UTF-8'en'na%C3%AFve.pdf`; `None` for a charset that RFC 8187 does not name.
fn decode_extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decode_str(encoded);
    if charset.eq_ignore_ascii_case("utf-8") {
        return bytes.decode_utf8().ok().map(Into::into);
    }
    // The charset of the standard before that one; its codes are those of the characters.
    charset.eq_ignore_ascii_case("iso-8859-1").then(|| bytes.map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_as_rfc_6266_has_it() {
        for (value, name) in [
            ("attachment; filename=plain.pdf", Some("plain.pdf")),
            ("attachment; filename=\"a; b.pdf\"; size=3", Some("a; b.pdf")),
            ("attachment; filename=\"a \\\"quoted\\\" name.pdf\"", Some("a \"quoted\" name.pdf")),
            (
                "attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates.pdf",
                Some("€ rates.pdf"),
            ),
            ("inline; filename*=UTF-8'en'na%C3%AFve.pdf; filename=naive.pdf", Some("naïve.pdf")),
            ("attachment; FILENAME*=iso-8859-1''%A3%20rates.pdf", Some("£ rates.pdf")),
            ("attachment; filename*=koi8-r''%C1; filename=a.pdf", Some("a.pdf")),
            ("attachment; filename*=utf-8''%ff; filename=a.pdf", Some("a.pdf")),
            ("attachment; filename = \"spaced.pdf\" ", Some("spaced.pdf")),
            ("attachment; filename=\"never ends", Some("never ends")),
            ("attachment; filename=\"\"", None),
            ("filename=no-type.pdf", None),
            ("attachment", None),
            ("", None),
        ] {
            let field = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            assert_eq!(file_name(&field).as_deref(), name, "{value}");
        }
        let raw = HeaderValue::from_bytes("attachment; filename=\"José.pdf\"".as_bytes()).unwrap();
        assert_eq!(file_name(&raw).as_deref(), Some("José.pdf"), "bytes beyond ASCII");
    }
}
