//! E-mail addresses inside of texts.

use super::category::Category;
use super::work::Work;

/// Finds the e-mail addresses in a text.
pub(super) fn find(text: &str, work: &mut Work) {
    let mut from = 0;
    while let Some(at) = work.next_byte(text, from, |byte| byte == b'@') {
        let start = local_start(text, at, work);
        let end = domain_end(text, at + 1, work);
        let (name, domain) = (&text[start..at], &text[at + 1..end]);
        work.spend(name.len() + domain.len());
        let has_letter = |text: &str| text.chars().any(char::is_alphabetic);
        if !name.is_empty() && !domain.is_empty() && (has_letter(name) || has_letter(domain)) {
            work.add(start..end, Category::Email);
        }
        from = at + 1;
    }
}

/// Says whether the whole of a text is one e-mail address.
pub(super) fn is_email(text: &str) -> bool {
    let (text, mut work) = (text.trim(), Work::new());
    if text.len() > MAX_EMAIL || text.contains(char::is_whitespace) {
        return false;
    }
    find(text, &mut work);
    work.take_found().len() == 1
}

/// Returns where the part before the `@` begins: the letters of RFC 5322, or a text in quotation marks.
fn local_start(text: &str, end: usize, work: &mut Work) -> usize {
    if let Some(close) = end.checked_sub(1).filter(|at| text.as_bytes()[*at] == b'"') {
        // Each walk ends at the mark before, so that no two have a letter in common.
        let inside = work.backward(text, close, |letter| letter != '"');
        if let Some(open) = inside.checked_sub(1) {
            return open;
        }
    }
    let is_local =
        |letter: char| letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.;".contains(letter);
    let start = work.backward(text, end, is_local);
    work.forward(text, start, |letter| letter != '@' && !letter.is_alphanumeric()).min(end)
}

/// Returns where the part behind the `@` ends.
fn domain_end(text: &str, start: usize, work: &mut Work) -> usize {
    let rest = &text[start..];
    if rest.starts_with('[') {
        let length = rest.bytes().take(MAX_LITERAL).position(|byte| byte == b']');
        work.spend(MAX_LITERAL);
        if let Some(length) = length {
            return start + length + 1;
        }
    }
    let end = work.forward(text, start, |it| it.is_alphanumeric() || "-_.".contains(it));
    start + text[start..end].trim_end_matches(['.', '-', '_']).len()
}

/// Longest address of a host in brackets, in bytes: `[IPv6:` and 39 characters, and room.
const MAX_LITERAL: usize = 64;

/// Longest text that is one address, in bytes; RFC 5321 has 254.
const MAX_EMAIL: usize = 512;

#[cfg(test)]
mod tests {
    use super::super::work::tests::assert_linear;
    use super::*;

    #[test]
    fn addresses_are_found_in_every_form() {
        for (text, address) in [
            ("Mail ada.lovelace+x@example.com, please", "ada.lovelace+x@example.com"),
            ("<ada@example.co.uk>", "ada@example.co.uk"),
            ("mailto:ada@example.com?subject=x", "ada@example.com"),
            ("'ada@example.com'.", "ada@example.com"),
            ("josé@exämple.com!", "josé@exämple.com"),
            ("\"ada lovelace\"@example.com", "\"ada lovelace\"@example.com"),
            ("ada@[127.0.0.1] x", "ada@[127.0.0.1]"),
            ("ada@localhost", "ada@localhost"),
        ] {
            let mut work = Work::new();
            find(text, &mut work);
            let found: Vec<_> = work.take_found().into_iter().map(|(it, _)| &text[it]).collect();
            assert_eq!(found, [address], "{text}");
        }
        for text in ["@ada", "5 @ 10", "ada@", "50%", "a & b", "10@20", "100% 40", "", "\"@", "@[x"]
        {
            let mut work = Work::new();
            find(text, &mut work);
            assert_eq!(work.take_found(), [], "{text}");
        }
        assert!(is_email(" ada@example.com ") && !is_email("Ada ada@example.com"));
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        assert_linear(find);
    }
}
