//! Personal values inside of a text: e-mail addresses, telephone numbers, addresses of other hosts.

use std::ops::Range;

use super::category::Category;
use super::entity;
use super::names::{self, Treatment};
use super::{Redaction, phone};

/// Writes the text with tokens in it to `out`, and says whether there are any. In a message of
/// Nexudus, what stands in quotation marks may be what was sent.
pub(super) fn scrub(redaction: &Redaction, text: &str, is_message: bool, out: &mut String) -> bool {
    let mut spans = find(redaction, text);
    if is_message {
        spans.extend(quotations(redaction, text).into_iter().map(|it| (it, Category::Text)));
    }
    if spans.is_empty() {
        return false;
    }
    spans.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
    let mut done = 0;
    for (span, category) in spans {
        // Those that overlap are inside one that was replaced, or continue it.
        let start = span.start.max(done);
        if span.end <= start {
            continue;
        }
        out.push_str(&text[done..start]);
        redaction.write_token(category, &text[start..span.end], out);
        done = span.end;
    }
    out.push_str(&text[done..]);
    true
}

/// Says whether there is anything personal in a text.
pub(super) fn is_changed(redaction: &Redaction, text: &str) -> bool {
    !find(redaction, text).is_empty()
}

/// Says whether the whole of a text is one e-mail address.
pub(super) fn is_email(text: &str) -> bool {
    let text = text.trim();
    !text.contains(char::is_whitespace) && emails(text).len() == 1
}

fn find(redaction: &Redaction, text: &str) -> Vec<(Range<usize>, Category)> {
    let mut spans: Vec<_> =
        urls(redaction, text).into_iter().map(|it| (it, Category::Url)).collect();
    spans.extend(emails(text).into_iter().map(|it| (it, Category::Email)));
    spans.extend(phone::find(text).into_iter().map(|it| (it, Category::Phone)));
    spans
}

/// Returns the addresses that lead to another host, or carry more than a path.
fn urls(redaction: &Redaction, text: &str) -> Vec<Range<usize>> {
    let mut found = vec![];
    if text.starts_with("//") && text.contains('.') && !text.contains(char::is_whitespace) {
        found.push(0..text.len());
    }
    for (at, _) in text.match_indices("://") {
        let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
        let scheme = text.as_bytes()[..at].iter().rev().take_while(|it| is_scheme(it)).count();
        let start = at - scheme;
        let ends = |letter: char| letter.is_whitespace() || "\"'<>`\\".contains(letter);
        let end = text[at..].find(ends).map_or(text.len(), |length| at + length);
        let url = text[start..end].trim_end_matches(['.', ',', ';', '!', ')', ']']);
        if scheme > 0 && !is_own(redaction, url) {
            found.push(start..start + url.len());
        }
    }
    found
}

/// Says whether an address is a path on the configured host, and nothing else.
fn is_own(redaction: &Redaction, url: &str) -> bool {
    let origin = redaction.origin.to_string();
    let Some((start, path)) = url.split_at_checked(origin.len()) else { return false };
    let is_path = path.is_empty() || path.starts_with('/');
    start.eq_ignore_ascii_case(&origin) && is_path && !path.contains(['?', '#'])
}

/// Returns the e-mail addresses, also those whose `@` is encoded.
fn emails(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = vec![];
    for at in at_signs(text) {
        let local = local_start(text, at.start);
        let end = domain_end(text, at.end);
        let (name, domain) = (&text[local..at.start], &text[at.end..end]);
        let has_letter = |text: &str| text.chars().any(char::is_alphabetic);
        if !name.is_empty() && !domain.is_empty() && (has_letter(name) || has_letter(domain)) {
            found.push(local..end);
        }
    }
    found
}

/// Returns where an `@` stands: itself, in its wide forms, or encoded for an address or for HTML.
fn at_signs(text: &str) -> Vec<Range<usize>> {
    let mut found = vec![];
    for (at, letter) in text.char_indices() {
        let rest = &text.as_bytes()[at..];
        let length = match letter {
            '@' | '\u{ff20}' | '\u{fe6b}' => letter.len_utf8(),
            '%' | '&' => {
                ENCODED_AT.iter().find(|it| starts_with(rest, it)).map_or(0, |it| it.len())
            }
            _ => 0,
        };
        if length > 0 {
            found.push(at..at + length);
        }
    }
    found
}

fn starts_with(text: &[u8], start: &str) -> bool {
    text.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()))
}

const ENCODED_AT: [&str; 6] = ["%2540", "%40", "&#64;", "&#064;", "&#x40;", "&commat;"];

/// Returns where the part before the `@` begins: the letters of RFC 5322, or a text in quotation marks.
fn local_start(text: &str, end: usize) -> usize {
    let before = &text[..end];
    if let Some(open) = before.strip_suffix('"').and_then(|quoted| quoted.rfind('"')) {
        return open;
    }
    let is_local =
        |letter: char| letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.;".contains(letter);
    let start = before
        .rfind(|letter| !is_local(letter))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let local = &before[start..];
    start + local.len() - local.trim_start_matches(|letter: char| !letter.is_alphanumeric()).len()
}

/// Returns where the part behind the `@` ends.
fn domain_end(text: &str, start: usize) -> usize {
    let mut end = start;
    let mut rest = &text[start..];
    if let Some(close) = rest.strip_prefix('[').and_then(|inside| inside.find(']')) {
        return start + close + 2;
    }
    while let Some(letter) = rest.chars().next() {
        let dot = ENCODED_DOT.iter().find(|it| starts_with(rest.as_bytes(), it));
        let length = match (letter.is_alphanumeric() || "-_.".contains(letter), dot) {
            (true, _) => letter.len_utf8(),
            (false, Some(dot)) => dot.len(),
            (false, None) => break,
        };
        end += length;
        rest = &rest[length..];
    }
    start + text[start..end].trim_end_matches(['.', '-', '_']).len()
}

const ENCODED_DOT: [&str; 5] = ["%252e", "%2e", "&#46;", "&#x2e;", "&period;"];

/// Returns what stands in quotation marks, unless it is the name of a field.
fn quotations(redaction: &Redaction, text: &str) -> Vec<Range<usize>> {
    let mut found = vec![];
    for (open, close) in [('\'', '\''), ('"', '"'), ('‘', '’'), ('“', '”'), ('«', '»'), ('`', '`')]
    {
        let mut from = 0;
        while let Some(start) = text[from..].find(open).map(|at| from + at + open.len_utf8()) {
            from = start;
            let before = text[..start - open.len_utf8()].chars().next_back();
            // An apostrophe stands inside of a word.
            if before.is_some_and(char::is_alphanumeric) {
                continue;
            }
            let Some(end) = text[start..]
                .rfind(close)
                .filter(|_| open == '\'')
                .or_else(|| text[start..].find(close))
            else {
                break;
            };
            let end = closing(text, start, close).unwrap_or(start + end);
            let name = names::normalize(&text[start..end]);
            let treatment = redaction.fields.treatment(entity::UNKNOWN, &name);
            if treatment == Treatment::Open && !text[start..end].trim().is_empty() {
                found.push(start..end);
            }
            from = end + close.len_utf8();
            if from >= text.len() {
                break;
            }
        }
    }
    found
}

/// Returns where a quotation ends: at the first mark behind which no word goes on.
fn closing(text: &str, start: usize, close: char) -> Option<usize> {
    let mut marks = text[start..].match_indices(close).map(|(at, _)| start + at);
    marks.find(|at| {
        let behind = text[at + close.len_utf8()..].chars().next();
        !behind.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_every_spelling() {
        for (text, address) in [
            ("Mail ada.lovelace+x@example.com, please", "ada.lovelace+x@example.com"),
            ("<ada@example.co.uk>", "ada@example.co.uk"),
            ("mailto:ada@example.com?subject=x", "ada@example.com"),
            ("'ada@example.com'.", "ada@example.com"),
            ("ada%40example.com", "ada%40example.com"),
            ("ada%40example%2Ecom", "ada%40example%2Ecom"),
            ("ada&#64;example.com", "ada&#64;example.com"),
            ("ada＠example.com", "ada＠example.com"),
            ("josé@exämple.com!", "josé@exämple.com"),
            ("\"ada lovelace\"@example.com", "\"ada lovelace\"@example.com"),
            ("ada@[127.0.0.1] x", "ada@[127.0.0.1]"),
            ("ada@localhost", "ada@localhost"),
        ] {
            let found: Vec<_> = emails(text).into_iter().map(|it| &text[it]).collect();
            assert_eq!(found, [address], "{text}");
        }
        for text in ["@ada", "5 @ 10", "ada@", "50%", "a & b", "10@20", "100% 40"] {
            assert_eq!(emails(text), [], "{text}");
        }
        assert!(is_email(" ada@example.com ") && !is_email("Ada ada@example.com"));
    }
}
