//! Addresses inside of texts that lead to another host, or carry more than a path.

use super::category::Category;
use super::work::Work;

/// Finds the addresses in a text; `origin` is our own, as it stands in a text.
pub(super) fn find(text: &str, origin: &str, work: &mut Work) {
    let mut from = 0;
    while let Some(at) = work.next_byte(text, from, |byte| byte == b'/') {
        from = match text.as_bytes().get(at + 1) {
            // The search goes on behind the address: another one inside of it is a part of it.
            Some(b'/') => address(text, from, at, origin, work),
            Some(_) | None => at + 1,
        };
    }
}

/// Finds addresses that begin with the name of a host, and carry more than a path:
/// `files.example/x?sig=1`.
pub(super) fn find_bare(text: &str, work: &mut Work) {
    let mut from = 0;
    while let Some(query) = work.next_byte(text, from, |byte| matches!(byte, b'?' | b'#')) {
        // Not before the last query, so that no two walks have a letter in common.
        let word = work.backward(text, query, is_inside).max(from);
        let end = work.forward(text, query, is_inside);
        let start = word + host_offset(&text[word..query]);
        let url = text[start..end].trim_end_matches(['.', ',', ';', '!', ')', ']']);
        work.spend(url.len());
        if is_bare(&text[start..query]) && query < start + url.len() {
            work.add(start..start + url.len(), Category::Url);
        }
        from = end.max(query + 1);
    }
}

/// Returns where a host may begin in a word: behind a bracket or the name of an attribute.
fn host_offset(word: &str) -> usize {
    word.split('/')
        .next()
        .and_then(|host| host.rfind(['(', '[', '=', ',', ';', '|', ':']))
        .map_or(0, |at| at + 1)
}

fn is_bare(url: &str) -> bool {
    let Some((host, _)) = url.split_once('/') else { return false };
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
    };
    let is_top = |top: &str| top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
    host.rsplit_once('.').is_some_and(|(rest, top)| is_top(top) && rest.split('.').all(is_label))
}

/// Looks at the address around `//`, and returns where it ends; nothing before `done` belongs to it.
fn address(text: &str, done: usize, slashes: usize, origin: &str, work: &mut Work) -> usize {
    let scheme_end = slashes.checked_sub(1).filter(|at| text.as_bytes()[*at] == b':');
    let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+.-".contains(letter);
    let start = scheme_end.map_or(slashes, |end| work.backward(text, end, is_scheme)).max(done);
    let end = work.forward(text, slashes, is_inside);
    let url = text[start..end].trim_end_matches(['.', ',', ';', '!', ')', ']']);
    work.spend(url.len());
    let is_hidden = if scheme_end.is_some_and(|end| start < end) {
        !is_own(url, origin)
    } else {
        let before = text[..slashes].chars().next_back();
        let is_path = |letter: char| letter.is_alphanumeric() || "/\\._-~%".contains(letter);
        !before.is_some_and(is_path) && has_host(&text[slashes + 2..end])
    };
    if is_hidden {
        work.add(start..start + url.len(), Category::Url);
    }
    end.max(slashes + 2)
}

fn is_inside(letter: char) -> bool {
    !letter.is_whitespace() && !"\"'<>`\\".contains(letter)
}

/// Says whether an address is a path on the configured host, and nothing else.
fn is_own(url: &str, origin: &str) -> bool {
    let Some((start, path)) = url.split_at_checked(origin.len()) else { return false };
    let is_path = path.is_empty() || path.starts_with('/');
    let has_more = path.contains(['?', '#']) || path.contains("://");
    start.eq_ignore_ascii_case(origin) && is_path && !has_more
}

/// Says whether the name of a host stands behind `//`: no comment and no empty segment.
fn has_host(rest: &str) -> bool {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !host.is_empty() && (host.contains(['.', ':', '[']) || rest.contains('?'))
}

#[cfg(test)]
mod tests {
    use super::super::work::tests::assert_linear;
    use super::*;

    const ORIGIN: &str = "https://spaces.nexudus.com";

    fn urls(text: &str) -> Vec<&str> {
        let mut work = Work::new();
        find(text, ORIGIN, &mut work);
        work.take_found().into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn addresses_of_other_hosts_are_found() {
        for (text, url) in [
            ("see https://other.example/x.", "https://other.example/x"),
            ("(ftp://other.example)", "ftp://other.example"),
            (
                "https://spaces.nexudus.com.other.example/",
                "https://spaces.nexudus.com.other.example/",
            ),
            ("HTTPS://spaces.nexudus.com/x?y", "HTTPS://spaces.nexudus.com/x?y"),
            (
                "https://spaces.nexudus.com/https://x.y/z",
                "https://spaces.nexudus.com/https://x.y/z",
            ),
            ("//files.example/x?sig=1", "//files.example/x?sig=1"),
            ("src=//files.example/x", "//files.example/x"),
            ("<a href=\"//files.example/x?sig=1\">", "//files.example/x?sig=1"),
            ("a (//[::1]/x)", "//[::1]/x"),
            ("see //intranet/x?sig=1 now", "//intranet/x?sig=1"),
            ("://files.example/", "://files.example/"),
        ] {
            assert_eq!(urls(text), [url], "{text}");
        }
        for text in [
            "https://spaces.nexudus.com",
            "https://spaces.nexudus.com/api//x, and/or",
            "// a comment.",
            "/en//x.y",
            "a//b.c",
            "//",
            "",
        ] {
            assert_eq!(urls(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn addresses_without_a_scheme_are_found() {
        let bare = |text: &'static str| {
            let mut work = Work::new();
            find_bare(text, &mut work);
            work.take_found().into_iter().map(|(span, _)| &text[span]).collect::<Vec<_>>()
        };
        for (text, url) in [
            ("see files.example/x?sig=1.", "files.example/x?sig=1"),
            ("(www.files.example/a/b#key)", "www.files.example/a/b#key"),
            ("href=files.example/x?sig=1>", "files.example/x?sig=1"),
        ] {
            assert_eq!(bare(text), [url], "{text}");
        }
        for text in
            ["Ready? Go.", "a.b/c", "/en/x.y/z?a=1", "1.5/2?", "and/or?", "what?x.y/z", "?", ""]
        {
            assert_eq!(bare(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        assert_linear(|text, work| find(text, ORIGIN, work));
        assert_linear(find_bare);
    }
}
