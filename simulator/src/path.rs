//! Paths and queries as Nexudus reads them: without case, with raw brackets.

/// Splits a request target into its path and its query. An absolute target loses its origin.
pub(crate) fn split(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphabetic()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

/// Returns whether a path begins with a prefix, without case.
pub(crate) fn starts_with(path: &str, prefix: &str) -> bool {
    path.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Decodes `a=b&c=d` as forms and queries are written: `+` is a space.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Returns the first value with this name, without case.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let decoded = match first {
            b'+' => b' ',
            b'%' => {
                let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(byte) => {
                        rest = &tail[2..];
                        byte
                    }
                    None => b'%',
                }
            }
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let pairs = pairs("username=ada%40example.test&password=a+b%2Bc%zz&totp=");

        assert_eq!(value(&pairs, "Username"), Some("ada@example.test"));
        assert_eq!(value(&pairs, "password"), Some("a b+c%zz"));
        assert_eq!(value(&pairs, "totp"), Some(""));
    }

    #[test]
    fn targets_are_split_at_the_first_question_mark() {
        assert_eq!(
            split("/api/billing/charges/?id=[1,2]?"),
            ("/api/billing/charges/", "id=[1,2]?")
        );
        assert_eq!(split("https://localhost:1/api"), ("/api", ""));
    }
}
