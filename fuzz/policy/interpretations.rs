//! The readings of a path by servers, written from the list in `docs/nexudus-api.md` alone.
//!
//! Shares nothing with the daemon: every step is tried on the result of every other step, letter by
//! letter and whatever that costs, until there is no new result or [`MAX_PATHS`] are found.

use std::collections::{HashSet, VecDeque};

/// A path as a server routes it: segments in lower case.
pub type Segments = Vec<String>;

/// Returns the interpretations of a path, the nearest [`MAX_PATHS`] if there are more.
pub fn interpretations(path: &str) -> Vec<Segments> {
    let mut queue = VecDeque::from([path.to_owned()]);
    let mut seen = HashSet::from([path.to_owned()]);
    let mut found = vec![];
    while let Some(path) = queue.pop_front() {
        found.push(path.clone());
        let steps = [decoded, slashed, spelt, without_query, without_parameters, resolved, trimmed];
        let next = steps.iter().flat_map(|step| step(&path)).chain(without_cookieless(&path));
        for next in next {
            if seen.len() < MAX_PATHS && seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    let mut all: Vec<Segments> = found.iter().map(|path| segments(path)).collect();
    all.extend(found.iter().map(|path| keyed(path)));
    all
}

/// Says whether segments match a route: `**` stands for any number of segments, `*` at the end of one
/// for any letters. An extension only selects a format.
pub fn is_route(route: &[&str], segments: &[String]) -> bool {
    match (route, segments) {
        ([], []) => true,
        ([], _) => false,
        (["**", rest @ ..], _) => {
            (0..=segments.len()).any(|taken| is_route(rest, &segments[taken..]))
        }
        ([_, ..], []) => false,
        ([word, rest @ ..], [segment, behind @ ..]) => {
            let fits = |text: &str| match word.strip_suffix('*') {
                Some(start) => text.starts_with(start),
                None => text == *word,
            };
            let ends =
                [segment.len(), segment.find('.').unwrap_or(0), segment.rfind('.').unwrap_or(0)];
            ends.iter().any(|end| *end > 0 && fits(&segment[..*end])) && is_route(rest, behind)
        }
    }
}

/// Decodes every `%74` and `%u0074`. Bytes that are not UTF-8 are read as Latin letters, without broken
/// ones, and with overlong forms decoded.
fn decoded(path: &str) -> Vec<String> {
    let mut bytes = vec![];
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        let escape = rest.strip_prefix('%').and_then(escape);
        let (length, decoded) = match escape {
            Some((length, decoded)) => (length + 1, decoded),
            None => (letter.len_utf8(), letter.to_string().into_bytes()),
        };
        bytes.extend(decoded);
        rest = &rest[length..];
    }
    if let Ok(text) = String::from_utf8(bytes.clone()) {
        return vec![text];
    }
    let latin = bytes.iter().map(|byte| char::from(*byte)).collect();
    let whole = String::from_utf8_lossy(&bytes).replace(char::REPLACEMENT_CHARACTER, "");
    let mut short = vec![];
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], 0xc0 | 0xc1) && bytes.get(at + 1).is_some_and(|it| it >> 6 == 2) {
            short.push((bytes[at] & 1) * 64 + bytes[at + 1] % 64);
            at += 2;
        } else {
            short.push(bytes[at]);
            at += 1;
        }
    }
    vec![latin, whole, String::from_utf8_lossy(&short).into_owned()]
}

/// Reads what follows a percent sign: how long it is, and what it stands for.
fn escape(text: &str) -> Option<(usize, Vec<u8>)> {
    let number = |digits: &str| {
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    if let Some(wide) = text.strip_prefix(['u', 'U']) {
        let letter = char::from_u32(number(wide.get(..4)?)?)?;
        return Some((5, letter.to_string().into_bytes()));
    }
    Some((2, vec![u8::try_from(number(text.get(..2)?)?).ok()?]))
}

fn slashed(path: &str) -> Vec<String> {
    vec![path.chars().map(|letter| if letter == '\\' { '/' } else { letter }).collect()]
}

/// Letters that look like ASCII ones are those, and what cannot be seen is not there.
fn spelt(path: &str) -> Vec<String> {
    if path.is_ascii() {
        return vec![];
    }
    let mut out = String::new();
    for letter in path.chars() {
        let like = LIKE.iter().find(|(_, letters)| letters.contains(letter));
        match (like, letter) {
            (Some((ascii, _)), _) => out.push_str(ascii),
            (None, '\u{ff01}'..='\u{ff5e}') => out.extend(shifted(letter, 0xff01, '!')),
            (None, '\u{24b6}'..='\u{24cf}') => out.extend(shifted(letter, 0x24b6, 'a')),
            (None, '\u{24d0}'..='\u{24e9}') => out.extend(shifted(letter, 0x24d0, 'a')),
            (None, '\u{1d41a}'..='\u{1d433}') => out.extend(shifted(letter, 0x1d41a, 'a')),
            (None, '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}') => {}
            (None, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}') => {}
            (None, _) => out.push(letter),
        }
    }
    vec![out]
}

fn shifted(letter: char, from: u32, to: char) -> Option<char> {
    char::from_u32(u32::from(letter) - from + u32::from(to))
}

/// Some of those that Unicode decomposes, that Windows converts, or that have no accent elsewhere.
const LIKE: [(&str, &str); 37] = [
    ("a", "àáâãäåāăąǎªᵃₐÀÁÂÃÄÅĀĂĄαℵ"),
    ("b", "ḃḅḇᵇℬƀ"),
    ("c", "çćĉċčↄⅽℂ"),
    ("d", "ďḋḍđðᵈⅾδ"),
    ("e", "èéêëēĕėęěẽᵉₑℯÈÉÊËε℮"),
    ("f", "ḟᶠℱƒφ"),
    ("g", "ĝğġģǧℊᵍǥγ"),
    ("h", "ĥḣḥḧʰₕℎħһ"),
    ("i", "ìíîïĩīĭįǐⁱᵢℹÌÍÎÏıɨ"),
    ("j", "ĵǰʲⱼ"),
    ("k", "ķǩḱḳᵏₖK"),
    ("l", "ĺļľḷˡₗℓłƚ"),
    ("m", "ḿṁṃᵐₘⅿℳ"),
    ("n", "ñńņňṅṇⁿₙℕ∩"),
    ("o", "òóôõöōŏőǒºᵒₒℴÒÓÔÕÖøωɵ"),
    ("p", "ṕṗᵖₚ℘π₧"),
    ("r", "ŕŗřṙṛʳᵣℛ"),
    ("s", "śŝşšșṡṣˢₛſσς"),
    ("t", "ţťțṫṭᵗₜŧθτ"),
    ("u", "ùúûüũūŭůűųǔᵘᵤÙÚÛÜ"),
    ("v", "ṽṿᵛᵥⅴ√"),
    ("w", "ŵẁẃẅʷ"),
    ("x", "ẋẍˣₓⅹ"),
    ("y", "ýÿŷỳʸÝ"),
    ("z", "źżžẑᶻℤƶ"),
    ("8", "∞⁸₈"),
    ("/", "⁄∕⧸"),
    ("\\", "∖﹨"),
    (".", "․﹒"),
    (":", "∶։︓"),
    (";", ";︔"),
    ("~", "∼"),
    ("(", "⁽₍⌠"),
    (")", "⁾₎⌡"),
    ("%", "٪"),
    ("fi", "ﬁ"),
    ("st", "ﬆ"),
];

fn without_query(path: &str) -> Vec<String> {
    path.split(['?', '#', '\0']).next().map(str::to_owned).into_iter().collect()
}

/// A parameter ends a segment for some, and the path for others; so does a stream of NTFS.
fn without_parameters(path: &str) -> Vec<String> {
    let cut = |text: &str| {
        let text = text.split([';', '?', '#', '\0']).next().unwrap_or_default();
        let text = text.split("::").next().unwrap_or_default();
        text.split(":$").next().unwrap_or_default().to_owned()
    };
    vec![cut(path), path.split('/').map(cut).collect::<Vec<_>>().join("/")]
}

fn resolved(path: &str) -> Vec<String> {
    let mut stack: Vec<&str> = vec![];
    for segment in path.split('/') {
        match segment.trim() {
            "." | "" => {}
            ".." => {
                stack.pop();
            }
            _ => stack.push(segment),
        }
    }
    vec![stack.iter().flat_map(|segment| ["/", segment]).collect()]
}

/// Dots and blanks at the end of a name vanish, and so does the root of an application.
fn trimmed(path: &str) -> Vec<String> {
    let vanishes = |letter: char| letter == '.' || letter.is_whitespace() || letter.is_control();
    let blank = path.split('/').map(|segment| segment.trim_end_matches(vanishes));
    let rooted = path.split('/').filter(|segment| *segment != "~");
    vec![blank.collect::<Vec<_>>().join("/"), rooted.collect::<Vec<_>>().join("/")]
}

/// `/(S(x)F(y))` is taken out, one at a time; so is a session of 24 letters.
fn without_cookieless(path: &str) -> Vec<String> {
    let bytes = path.as_bytes();
    let mut all = vec![];
    for start in 0..bytes.len() {
        if !bytes[start..].starts_with(b"/(") {
            continue;
        }
        let mut at = start + 2;
        let mut values = 0;
        while bytes.get(at).is_some_and(u8::is_ascii_alphabetic) && bytes.get(at + 1) == Some(&b'(')
        {
            let Some(end) = (at..bytes.len()).find(|at| b")/".contains(&bytes[*at])) else { break };
            if bytes[end] == b'/' {
                break;
            }
            values += 1;
            at = end + 1;
        }
        let id =
            (start + 2..).take_while(|at| bytes.get(*at).is_some_and(u8::is_ascii_alphanumeric));
        let end = if id.count() == 24 { start + 26 } else { at };
        if (values > 0 || end != at) && bytes.get(end) == Some(&b')') {
            all.push(path[..start].to_owned() + &path[end + 1..]);
        }
    }
    all
}

fn segments(path: &str) -> Segments {
    let all = path.split('/').filter(|segment| !segment.is_empty());
    all.map(|segment| segment.to_uppercase().to_lowercase()).collect()
}

/// OData: `users(5)` and `users('x')` are `users/5` and `users/x`.
fn keyed(path: &str) -> Segments {
    let mut all = vec![];
    for segment in segments(path) {
        let key = segment.find('(').filter(|at| *at > 0).zip(segment.rfind(')'));
        match key.filter(|(open, close)| open < close && close + 1 == segment.len()) {
            Some((open, close)) => {
                all.push(segment[..open].to_owned());
                all.push(segment[open + 1..close].trim_matches('\'').to_owned());
            }
            None => all.push(segment),
        }
    }
    all.retain(|segment| !segment.is_empty());
    all
}

/// More than the daemon examines, so that this module examines paths that the daemon gives up on.
const MAX_PATHS: usize = 1_000;
