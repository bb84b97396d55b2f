//! What a server could take a path for.
//!
//! Rules judge every plausible reading of a path; the original bytes are forwarded. Nexudus runs on
//! ASP.NET behind IIS: case does not count, `\` separates, `;` and `::` begin what is cut off,
//! trailing dots and spaces vanish, percent-encoding may be undone more than once, and letters
//! beyond ASCII may become their nearest neighbour in it. Which of these happen depends on what the
//! request passes, so that none of them is taken for granted: a rule that forbids holds if one
//! reading matches, a rule that allows only if all do.

use std::borrow::Cow;

use crate::config::fold;

/// The readings of one path.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    /// The path itself, where it can be read in one way only.
    plain: Option<&'a str>,
    /// Folded, without empty segments where dots are resolved.
    odd: Vec<String>,
    is_ambiguous: bool,
}

impl<'a> Readings<'a> {
    /// Reads a path. Costs no allocation where there is one reading, as with nearly all.
    pub(super) fn of(path: &'a str) -> Self {
        match is_plain(path.as_bytes()) {
            true => Self { plain: Some(path), odd: vec![], is_ambiguous: false },
            false => odd(path),
        }
    }

    /// Says whether a reading is such.
    pub(super) fn any(&self, mut is_such: impl FnMut(&str) -> bool) -> bool {
        self.iter().any(&mut is_such)
    }

    /// Says whether every reading is such.
    pub(super) fn all(&self, mut is_such: impl FnMut(&str) -> bool) -> bool {
        self.iter().all(&mut is_such)
    }

    /// Says whether the path holds what no tool has reason to write: dot segments, encoded
    /// separators, control characters, bytes that are not UTF-8.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.plain.into_iter().chain(self.odd.iter().map(String::as_str))
    }
}

/// Says whether nothing in the path can be read in two ways; case and empty segments do not count.
fn is_plain(path: &[u8]) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~,@!$&'()*+=.".contains(&byte);
    let ends_in_dot = || {
        let next = path.iter().skip(1).chain(std::iter::once(&b'/'));
        path.iter().zip(next).any(|(byte, next)| *byte == b'.' && *next == b'/')
    };
    path.iter().all(|byte| letter(*byte)) && !ends_in_dot()
}

fn odd<'a>(path: &str) -> Readings<'a> {
    let mut readings = Readings { plain: None, odd: vec![], is_ambiguous: false };
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..=ROUNDS {
        readings.add_decoded(&bytes);
        let next = decoded_once(&bytes);
        if next == bytes {
            return readings;
        }
        bytes = next;
    }
    // Somebody has wrapped it more often than any server unwraps.
    readings.is_ambiguous = true;
    readings
}

impl Readings<'_> {
    fn add_decoded(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let is_broken = matches!(text, Cow::Owned(_));
        self.is_ambiguous |= is_broken
            || text.contains('\\')
            || text.chars().any(char::is_control)
            || bytes.windows(3).any(|three| ENCODED_SEPARATORS.contains(&fold_three(three)));
        self.add_text(&text);
        if is_broken {
            self.add_text(&String::from_utf8_lossy(&shortest_forms(bytes)));
        }
        if text.chars().any(|letter| nearest(letter) != letter) {
            self.is_ambiguous = true;
            self.add_text(&text.chars().map(nearest).collect::<String>());
        }
    }

    fn add_text(&mut self, text: &str) {
        self.add_separated(text);
        if text.contains('\\') {
            self.add_separated(&text.replace('\\', "/"));
        }
    }

    /// What follows an undone `?` may have become the query; what follows `;` and its like is cut
    /// off each segment, or off the path, or is not.
    fn add_separated(&mut self, text: &str) {
        self.add_cut(text);
        if let Some(at) = text.find(['?', '#', '\0']) {
            self.add_cut(&text[..at]);
        }
    }

    fn add_cut(&mut self, text: &str) {
        self.add_resolved(text);
        let cut =
            |text: &str| text.find([';', '?', '#', '\0']).into_iter().chain(text.find("::")).min();
        if let Some(at) = cut(text) {
            self.add_resolved(&text[..at]);
            let segments = text.split('/').map(|segment| match cut(segment) {
                Some(end) => &segment[..end],
                None => segment,
            });
            self.add_resolved(&segments.collect::<Vec<_>>().join("/"));
        }
    }

    fn add_resolved(&mut self, text: &str) {
        let has_dots = text.split('/').any(|segment| matches!(segment.trim(), "." | ".."));
        self.add_trimmed(text);
        if has_dots {
            self.is_ambiguous = true;
            let mut segments: Vec<&str> = vec![];
            for segment in text.split('/') {
                match segment.trim() {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    _ => segments.push(segment),
                }
            }
            self.add_trimmed(&segments.join("/"));
        }
    }

    fn add_trimmed(&mut self, text: &str) {
        self.add(text);
        let vanishes =
            |letter: char| letter == '.' || letter.is_whitespace() || letter.is_control();
        if text.split('/').any(|segment| segment.ends_with(vanishes)) {
            let segments = text.split('/').map(|segment| segment.trim_end_matches(vanishes));
            self.add(&segments.collect::<Vec<_>>().join("/"));
        }
    }

    fn add(&mut self, text: &str) {
        let folded = fold(text);
        if !self.odd.contains(&folded) {
            self.odd.push(folded);
        }
    }
}

/// Undoes one layer of percent-encoding, that of IIS (`%u0041`) included.
fn decoded_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let is_wide = after.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'u'));
        let digits = if is_wide { after.get(1..5) } else { after.get(..2) };
        let code = digits.filter(|_| byte == b'%').and_then(hexadecimal);
        let letter = code.filter(|_| is_wide).and_then(char::from_u32);
        rest = match (letter, code.and_then(|code| u8::try_from(code).ok())) {
            (Some(letter), _) => {
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                &after[5..]
            }
            (None, Some(decoded)) if !is_wide => {
                out.push(decoded);
                &after[2..]
            }
            (None, _) => {
                out.push(byte);
                after
            }
        };
    }
    out
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let all_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// Undoes UTF-8 that is longer than it may be: `C0 AF` was a slash to old servers.
fn shortest_forms(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match after.first() {
            Some(next) if matches!(byte, 0xc0 | 0xc1) && next & 0xc0 == 0x80 => {
                out.push((byte & 1) << 6 | next & 0x3f);
                &after[1..]
            }
            Some(_) | None => {
                out.push(byte);
                after
            }
        };
    }
    out
}

/// Returns the ASCII letter that Windows turns this one into where it must choose one.
fn nearest(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => {
            u32::from(letter).checked_sub(0xfee0).and_then(char::from_u32).unwrap_or(letter)
        }
        '\u{2044}' | '\u{2215}' => '/',
        '\u{2216}' => '\\',
        '\u{2024}' => '.',
        _ => letter,
    }
}

fn fold_three(three: &[u8]) -> [u8; 3] {
    [three[0], three[1], three[2].to_ascii_lowercase()]
}

/// Also behind another layer of encoding: every round is looked at.
const ENCODED_SEPARATORS: [[u8; 3]; 2] = [*b"%2f", *b"%5c"];

/// A proxy, a web server and a framework may each decode once; one more for good measure.
const ROUNDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_path_has_one_reading() {
        for path in ["/", "/api/spaces/coworkers/1", "/a.b/c.json", "/API/x_y~z-1", "//a//b/"] {
            let readings = Readings::of(path);
            assert!(readings.odd.is_empty() && !readings.is_ambiguous(), "{path}");
            assert!(readings.all(|reading| reading == path));
        }
    }

    #[test]
    fn every_spelling_of_a_path_has_it_among_its_readings() {
        for path in SPELLINGS {
            let readings = Readings::of(path);
            let is_it = |reading: &str| {
                let segments = reading.split('/').filter(|segment| !segment.is_empty());
                segments.map(str::to_ascii_lowercase).eq(["api", "token"])
            };
            assert!(readings.any(is_it), "{path}: {readings:?}");
        }
    }

    #[test]
    fn what_no_tool_has_reason_to_write_is_ambiguous() {
        for path in [
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%252fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%7f",
            "/a%ff",
            "/a%c0%af",
            "/a%u2215b",
            "/%ef%bc%8e",
            "/..;/a",
            "/%252525252561",
        ] {
            assert!(Readings::of(path).is_ambiguous(), "{path}");
        }
        for path in ["/a%20b", "/a;b", "/caf%C3%A9", "/a%zz", "/a:b", "/a.", "/a%3Fb", "/100%25"] {
            assert!(!Readings::of(path).is_ambiguous(), "{path}");
        }
    }

    #[test]
    fn other_paths_stay_other() {
        for path in ["/api/tokens", "/api/t%6fkens", "/api/x/token", "/api%20token", "/%61pitoken"]
        {
            let is_it = |reading: &str| reading.trim_end_matches('/') == "/api/token";
            assert!(!Readings::of(path).any(is_it), "{path}");
        }
    }

    const SPELLINGS: [&str; 31] = [
        "/api/token",
        "/API/Token",
        "/api/token/",
        "//api//token",
        "/api/%74oken",
        "/api/%2574oken",
        "/api/%252574oken",
        "/api\\token",
        "/api%5ctoken",
        "/api%2ftoken",
        "/api/token;x=1",
        "/api;v=2/token",
        "/api/token;/x",
        "/api/token.",
        "/api/token...",
        "/api/token%20",
        "/api/token%09",
        "/api/token%00.json",
        "/api/token%3fa=b",
        "/api/token%23a",
        "/api;a=b/token%3fa",
        "/api/./token",
        "/api/x/../token",
        "/x/..%2fapi/token",
        "/x/..;/api/token",
        "/api/token::$data",
        "/api/%u0074oken",
        "/api/x/%2e%2e/token",
        "/api%c0%aftoken",
        "/api/%ef%bd%94oken",
        "/api/to%e2%84%aaen",
    ];
}
