//! Addresses inside of texts that lead to another host, or carry more than a path.
//!
//! Programs read more than `https://host`: a browser takes `\` for `/`, and after `https:` any number
//! of them, also none (WHATWG URL, "special authority ignore slashes state"). Without a scheme, two of
//! them begin the name of a host. So every such spelling is an address here, and only the one spelling
//! of our own origin is ours.

use super::category::Category;
use super::work::Work;

/// Finds the addresses in a text; `origin` is our own, as it stands in a text.
pub(super) fn find(text: &str, origin: &str, work: &mut Work) {
    let mut from = 0;
    while let Some(at) = work.next_byte(text, from, |byte| matches!(byte, b':' | b'/' | b'\\')) {
        let is_colon = text.as_bytes()[at] == b':';
        let slashes = at + usize::from(is_colon);
        let host = work.forward(text, slashes, is_slash);
        let candidate = Candidate { done: from, slashes, host };
        // The search goes on behind the address: another one inside of it is a part of it.
        from = if is_colon {
            candidate.behind_scheme(text, origin, work)
        } else {
            candidate.without_scheme(text, slashes, work)
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

/// The part of a text that may be an address, around its slashes.
struct Candidate {
    /// Nothing before belongs to it.
    done: usize,
    /// The start of its slashes, behind the colon if there is one.
    slashes: usize,
    /// The start of what follows them.
    host: usize,
}

impl Candidate {
    /// Looks at what stands around a colon, and returns where the search goes on.
    fn behind_scheme(&self, text: &str, origin: &str, work: &mut Work) -> usize {
        let colon = self.slashes - 1;
        let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+.-".contains(letter);
        let start = work.backward(text, colon, is_scheme).max(self.done);
        let scheme = &text[start..colon];
        let is_special = is_special(scheme);
        let is_usual = !scheme.is_empty() && text[self.slashes..].starts_with("//");
        if !is_special && !is_usual {
            return self.without_scheme(text, colon, work);
        }
        // `http:` in a sentence has a blank behind it.
        if self.slashes == self.host && !is_host(&text[self.host..]) {
            return self.host;
        }
        let (url, end) = self.url(text, start, work);
        if !is_own(url, origin) {
            work.add(start..start + url.len(), Category::Url);
        }
        end
    }

    /// Looks at slashes that may begin the name of a host, and returns where the search goes on.
    fn without_scheme(&self, text: &str, start: usize, work: &mut Work) -> usize {
        let before = text[..start].chars().next_back();
        let is_path = |letter: char| letter.is_alphanumeric() || "/\\._-~%".contains(letter);
        let has_host = self.host - self.slashes >= 2 && is_host(&text[self.host..]);
        if !has_host || before.is_some_and(is_path) {
            return self.host;
        }
        let (url, end) = self.url(text, start, work);
        work.add(start..start + url.len(), Category::Url);
        end
    }

    /// Returns the address, and where it ends with the marks of its sentence.
    fn url<'a>(&self, text: &'a str, start: usize, work: &mut Work) -> (&'a str, usize) {
        let is_inside = |letter| is_inside(letter) || letter == '\\';
        let end = work.forward(text, self.host, is_inside);
        let url = text[start..end].trim_end_matches(['.', ',', ';', '!', ')', ']', '\\']);
        work.spend(url.len());
        (url, end)
    }
}

fn is_slash(letter: char) -> bool {
    matches!(letter, '/' | '\\')
}

fn is_inside(letter: char) -> bool {
    !letter.is_whitespace() && !"\"'<>`\\".contains(letter)
}

/// Says whether an address is a path on the configured host, and nothing else.
fn is_own(url: &str, origin: &str) -> bool {
    let Some((start, path)) = url.split_at_checked(origin.len()) else { return false };
    let is_path = path.is_empty() || path.starts_with('/');
    let has_more = path.contains(['?', '#', '\\']) || path.contains(":/");
    start.eq_ignore_ascii_case(origin) && is_path && !has_more
}

/// Says whether browsers read an address of this scheme with any slashes. A letter of an escape may stand
/// in front: `\nhttps:`.
fn is_special(scheme: &str) -> bool {
    let ends = |end: &str| {
        let start = scheme.len().checked_sub(end.len());
        start.is_some_and(|start| scheme[start..].eq_ignore_ascii_case(end))
    };
    ends("http") || ends("https") || SPECIAL.iter().any(|it| scheme.eq_ignore_ascii_case(it))
}

/// Says whether a text begins with what can be the name of a host: no comment and no empty segment.
fn is_host(rest: &str) -> bool {
    rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '[')
}

/// The schemes beside HTTP's that browsers read with any slashes (WHATWG URL, "special scheme").
const SPECIAL: [&str; 4] = ["ws", "wss", "ftp", "file"];

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
            ("at //intranet now", "//intranet"),
            ("a//https://files.example", "https://files.example"),
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
            "http: no, and https: neither",
            r"C:\Users\ada",
            r"a\nb \d",
            "12:30/13:30",
            "",
        ] {
            assert_eq!(urls(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn addresses_are_found_as_browsers_spell_them() {
        for (text, url) in [
            ("https:/files.example/x?sig=1", "https:/files.example/x?sig=1"),
            (r"https:\\files.example\x?sig=1", r"https:\\files.example\x?sig=1"),
            (r"(HTTPS:\/files.example)", r"HTTPS:\/files.example"),
            ("https:files.example/x", "https:files.example/x"),
            ("https:///files.example/x", "https:///files.example/x"),
            ("https:/spaces.nexudus.com/x", "https:/spaces.nexudus.com/x"),
            (r"https:\\spaces.nexudus.com", r"https:\\spaces.nexudus.com"),
            (r"https:\/\/files.example\/x", r"https:\/\/files.example\/x"),
            (r"\\files.example\x", r"\\files.example\x"),
            (r"see /\files.example/x", r"/\files.example/x"),
            (r#"{\"a\":\"https:\/\/files.example\"}"#, r"https:\/\/files.example"),
            ("https://spaces.nexudus.com/https:/x.y", "https://spaces.nexudus.com/https:/x.y"),
            (
                r"https://spaces.nexudus.com\@files.example",
                r"https://spaces.nexudus.com\@files.example",
            ),
        ] {
            assert_eq!(urls(text), [url], "{text}");
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
