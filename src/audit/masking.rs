//! Paths without personal values: names, e-mail addresses and the like in a segment become `*`.

/// Returns a path whose segments are words of the API or identifiers; any other is `*`.
pub fn mask_path(path: &str) -> String {
    let segments = path.split('/').map(|segment| if is_plain(segment) { segment } else { "*" });
    segments.collect::<Vec<_>>().join("/")
}

/// Returns the names of the fields of a query; one that is no plain word is `*`.
pub(super) fn query_names(query: &str) -> Vec<String> {
    let fields = query.split('&').filter(|field| !field.is_empty());
    let names = fields.map(|field| field.split('=').next().unwrap_or_default());
    let names = names.map(|name| if is_plain(name) { name } else { "*" });
    names.map(str::to_owned).take(MAX_NAMES).collect()
}

/// Says whether a text is an identifier, or a word as the API has them: letters, digits, `_`, `-` and
/// `.`, and no digit in the first place unless there are only digits. A phone number has marks or is
/// longer than an identifier.
fn is_plain(segment: &str) -> bool {
    let is_number = segment.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return segment.len() <= MAX_NUMBER;
    }
    let is_guid = segment.len() == 36 && uuid::Uuid::try_parse(segment).is_ok();
    let is_mark = |byte: u8| matches!(byte, b'_' | b'-' | b'.');
    let is_word = segment.len() <= MAX_WORD
        && segment.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '.')
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte));
    is_guid || is_word
}

/// Longest identifier: those of Nexudus have ten digits, and a phone number with its country eleven
/// to fifteen.
const MAX_NUMBER: usize = 10;

/// Longest word of a path or a query: `Coworker_RegularTimeZone_FullName` has 33 letters.
const MAX_WORD: usize = 64;

const MAX_NAMES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_words_and_identifiers_alone() {
        for (path, masked) in [
            ("/api/spaces/coworkers/1400100137", "/api/spaces/coworkers/1400100137"),
            ("/.well-known/nexudus-proxy", "/.well-known/nexudus-proxy"),
            (
                "/api/x/00000000-0000-4000-8000-000000000001/runcommand",
                "/api/x/00000000-0000-4000-8000-000000000001/runcommand",
            ),
            ("/api/find/ada@example.com", "/api/find/*"),
            ("/api/find/ada%40example.com/x", "/api/find/*/x"),
            ("/api/find/Ada%20Lovelace", "/api/find/*"),
            ("/api/find/+441632960000", "/api/find/*"),
            ("/api/find/441632960000", "/api/find/*"),
            ("/a b\u{202e}", "/*"),
        ] {
            assert_eq!(mask_path(path), masked);
        }
    }

    #[test]
    fn of_a_query_only_the_names_are_kept() {
        assert_eq!(
            query_names("size=5&Coworker_Email=ada@example.com&ada@example.com&&x"),
            ["size", "Coworker_Email", "*", "x"]
        );
    }
}
