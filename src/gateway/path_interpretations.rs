//! What a server could take a path for.
//!
//! Rules judge every plausible reading of a path; the original bytes are forwarded. Nexudus runs on
//! ASP.NET behind IIS: case does not count, `\` separates, `;` and `::` begin what is cut off,
//! trailing dots and spaces vanish, percent-encoding may be undone more than once, a segment
//! `(S(…))` is taken out, and letters beyond ASCII may become their nearest neighbour in it. Which of
//! these happen, and in which order, depends on what the request passes, so that none of them is taken
//! for granted: each is tried on what each of the others leaves. A rule that forbids holds if one
//! reading matches, a rule that allows only if all do. `docs/nexudus-api.md` has the list.

mod best_fit;
mod cookieless;
mod percent;

use std::borrow::Cow;

use crate::config::normalize_case;

/// The readings of one path.
#[derive(Debug)]
pub(super) struct PathInterpretations<'a> {
    /// The path itself, where it can be read in one way only.
    plain: Option<&'a str>,
    /// Folded.
    variants: Vec<String>,
    /// The same with OData's keys as segments: for rules that forbid, since none allows by them.
    odata_variants: Vec<String>,
    is_ambiguous: bool,
    is_over_limit: bool,
    work: usize,
}

impl<'a> PathInterpretations<'a> {
    /// Reads a path. Costs no allocation where there is one reading, as with nearly all.
    pub(super) fn new(path: &'a str) -> Self {
        let plain = is_plain(path.as_bytes()).then_some(path);
        let mut readings = Self {
            plain,
            variants: vec![],
            odata_variants: vec![],
            is_ambiguous: false,
            is_over_limit: false,
            work: 0,
        };
        if plain.is_none() {
            readings.explore(path);
        }
        readings
    }

    /// Says whether a reading is such.
    pub(super) fn any(&self, mut is_such: impl FnMut(&str) -> bool) -> bool {
        self.iter().chain(self.odata_variants.iter().map(String::as_str)).any(&mut is_such)
    }

    /// Says whether every reading is such.
    pub(super) fn all(&self, mut is_such: impl FnMut(&str) -> bool) -> bool {
        self.iter().all(&mut is_such)
    }

    /// Says whether the path holds what no tool has reason to write: dot segments, encoded
    /// separators, control characters, bytes that are not UTF-8, cookieless segments, letters in
    /// disguise.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Says whether the path has more readings than are looked at: then nothing is known of it.
    pub(super) fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.plain.into_iter().chain(self.variants.iter().map(String::as_str))
    }
}

/// Says whether nothing in the path can be read in two ways; case and empty segments do not count.
fn is_plain(path: &[u8]) -> bool {
    let ends_oddly = || {
        let next = path.iter().skip(1).chain(std::iter::once(&b'/'));
        path.iter().zip(next).any(|(byte, next)| matches!(byte, b'.' | b'~') && *next == b'/')
    };
    let mut can_end_oddly = false;
    for byte in path {
        match PLAIN_BYTES[usize::from(*byte)] {
            PlainByte::Always => {}
            PlainByte::InsideSegments => can_end_oddly = true,
            PlainByte::Never => return false,
        }
    }
    !can_end_oddly || !ends_oddly()
}

/// Where a byte can be read in one way only.
#[derive(Clone, Copy)]
enum PlainByte {
    Always,
    InsideSegments,
    Never,
}

/// Every request's path is looked at byte by byte: a table costs least.
static PLAIN_BYTES: [PlainByte; 256] = {
    let mut table = [PlainByte::Never; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'.' | b'~' => PlainByte::InsideSegments,
            b'/' | b'-' | b'_' | b',' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'=' => {
                PlainByte::Always
            }
            letter if letter.is_ascii_alphanumeric() => PlainByte::Always,
            _ => PlainByte::Never,
        };
        byte += 1;
    }
    table
};

impl PathInterpretations<'_> {
    /// Tries each step on the path, and on what each step leaves, until nothing new comes of it.
    fn explore(&mut self, path: &str) {
        let mut bytes = path.as_bytes().to_vec();
        for _ in 0..=MAX_DECODING_ROUNDS {
            self.add_decoded(&bytes);
            let next = percent::decode_once(&bytes);
            if next == bytes {
                break;
            }
            bytes = next;
        }
        // Wrapped more often than any server unwraps.
        self.is_over_limit |= percent::decode_once(&bytes) != bytes;
        let mut at = 0;
        while let Some(text) = self.variants.get(at).filter(|_| !self.is_over_limit).cloned() {
            self.expand(&text);
            at += 1;
        }
        self.is_ambiguous |= self.is_over_limit;
        self.odata_variants =
            self.variants.iter().filter_map(|it| cookieless::with_keys_as_segments(it)).collect();
    }

    fn expand(&mut self, text: &str) {
        // Before the work, since it may be most of all.
        self.charge(walk_cost(text));
        if self.is_over_limit {
            return;
        }
        self.is_ambiguous |= text.contains('\\') || text.chars().any(char::is_control);
        self.decode_percent(text);
        if text.contains('\\') {
            self.add(&text.replace('\\', "/"));
        }
        self.cut_suffixes(text);
        self.resolve_dot_segments(text);
        self.trim_segments(text);
        self.remove_cookieless(text);
        if !text.is_ascii() && !self.is_over_limit {
            self.is_ambiguous = self.is_ambiguous || best_fit::has_confusables(text);
            self.add(&best_fit::without_accents(text));
            self.add(&best_fit::to_code_page(text));
        }
    }

    fn decode_percent(&mut self, text: &str) {
        if text.contains('%') {
            self.is_ambiguous |= ENCODED_SEPARATORS.iter().any(|code| text.contains(code));
            self.add_decoded(&percent::decode_once(text.as_bytes()));
        }
    }

    fn add_decoded(&mut self, bytes: &[u8]) {
        let (text, others) = percent::decode_text(bytes);
        self.is_ambiguous |= matches!(text, Cow::Owned(_));
        self.add(&text);
        others.iter().for_each(|text| self.add(text));
    }

    /// What follows an undone `?` may have become the query; what follows `;` and its like is cut
    /// off each segment, or off the path.
    fn cut_suffixes(&mut self, text: &str) {
        if let Some(at) = text.find(['?', '#', '\0']) {
            self.add(&text[..at]);
        }
        let end = |text: &str| {
            let streams = ["::", ":$"].into_iter().filter_map(|mark| text.find(mark));
            text.find([';', '?', '#', '\0']).into_iter().chain(streams).min()
        };
        if let Some(at) = end(text) {
            self.add(&text[..at]);
            self.add_segments(text, |segment| &segment[..end(segment).unwrap_or(segment.len())]);
        }
    }

    fn resolve_dot_segments(&mut self, text: &str) {
        let mut segments: Vec<&str> = vec![];
        for segment in text.split('/') {
            match segment.trim() {
                "" => {}
                "." => self.is_ambiguous = true,
                ".." => {
                    self.is_ambiguous = true;
                    segments.pop();
                }
                _ => segments.push(segment),
            }
        }
        self.add(&segments.join("/"));
    }

    fn trim_segments(&mut self, text: &str) {
        let vanishes =
            |letter: char| letter == '.' || letter.is_whitespace() || letter.is_control();
        if text.split('/').any(|segment| segment.ends_with(vanishes)) {
            self.add_segments(text, |segment| segment.trim_end_matches(vanishes));
        }
        // The root of an application.
        if text.split('/').any(|segment| segment == "~") {
            self.add_segments(text, |segment| if segment == "~" { "" } else { segment });
        }
    }

    /// Takes out each cookieless segment by itself: a server may take one, or one after another.
    fn remove_cookieless(&mut self, text: &str) {
        for range in cookieless::segments(text) {
            self.is_ambiguous = true;
            if self.is_over_limit {
                return;
            }
            self.add(&[&text[..range.start], &text[range.end..]].concat());
        }
    }

    fn add_segments(&mut self, text: &str, of: impl Fn(&str) -> &str) {
        if !self.is_over_limit {
            self.add(&text.split('/').map(of).collect::<Vec<_>>().join("/"));
        }
    }

    fn add(&mut self, text: &str) {
        // Also what is known already: the work is what is bounded.
        self.charge(text.len());
        if self.is_over_limit {
            return;
        }
        // Every step may look for the slash that a path begins with.
        let slash = if text.starts_with('/') { "" } else { "/" };
        let folded = normalize_case(&[slash, text].concat());
        if !self.variants.contains(&folded) {
            self.variants.push(folded);
        }
        self.is_over_limit = self.variants.len() > MAX_INTERPRETATIONS;
    }

    fn charge(&mut self, cost: usize) {
        self.work += cost;
        self.is_over_limit |= self.work > MAX_WORK;
    }
}

/// Returns the words that the name of a field in a form or a query can be read as, or `None` if that
/// takes more work than is `left`.
pub(super) fn name_variants(name: &[u8], left: &mut usize) -> Option<Vec<String>> {
    let mut words = vec![];
    spend(left, VARIANT_COST + name.len())?;
    let mut bytes = name.to_vec();
    bytes.iter_mut().filter(|byte| **byte == b'+').for_each(|byte| *byte = b' ');
    for _ in 0..=MAX_DECODING_ROUNDS {
        let (text, others) = percent::decode_text(&bytes);
        for text in others.into_iter().chain([text.into_owned()]) {
            if !text.is_ascii() {
                spend(left, VARIANT_COST + walk_cost(&text))?;
            }
            let text = normalize_case(&text);
            if !text.is_ascii() {
                words.extend([best_fit::without_accents(&text), best_fit::to_code_page(&text)]);
            }
            words.push(text);
        }
        let next = percent::decode_once(&bytes);
        if next == bytes {
            break;
        }
        bytes = next;
        spend(left, VARIANT_COST + bytes.len())?;
    }
    Some(words)
}

/// Takes the cost of some work from what is `left`; `None` if it is more.
fn spend(left: &mut usize, cost: usize) -> Option<()> {
    *left = left.checked_sub(cost)?;
    #[cfg(test)]
    WORK.set(WORK.get() + cost);
    Some(())
}

/// What it costs to take every step on a text, in bytes of a plain one: segments are looked at one by
/// one, and letters beyond ASCII are decomposed several times.
fn walk_cost(text: &str) -> usize {
    let cost = |letter| match letter {
        '/' => 8,
        letter if letter.is_ascii() => 1,
        letter => 16 * best_fit::max_decomposition(letter),
    };
    text.chars().map(cost).sum()
}

#[cfg(test)]
thread_local! {
    static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Forgets what was spent.
#[cfg(test)]
pub(super) fn reset_work() {
    WORK.set(0);
}

/// Returns what was spent on names since.
#[cfg(test)]
pub(super) fn work() -> usize {
    WORK.get()
}

/// What a word costs beside its letters: its allocations.
const VARIANT_COST: usize = 32;

/// Also behind another layer of encoding: every round is looked at.
const ENCODED_SEPARATORS: [&str; 2] = ["%2f", "%5c"];

/// A proxy, a web server and a framework may each decode once; one more for good measure.
const MAX_DECODING_ROUNDS: usize = 4;

/// Spellings that somebody has a use for have fewer than ten; each costs a walk over its length for
/// each step and each rule.
const MAX_INTERPRETATIONS: usize = 192;

/// The bytes of all that is tried for one path, and what the steps on it cost (`walk_cost`): a few
/// milliseconds.
const MAX_WORK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_path_has_one_reading() {
        for path in ["/", "/api/spaces/coworkers/1", "/a.b/c.json", "/API/x_y~z-1", "//a//b/"] {
            let readings = PathInterpretations::new(path);
            assert!(readings.variants.is_empty() && !readings.is_ambiguous(), "{path}");
            assert!(readings.all(|reading| reading == path));
        }
    }

    #[test]
    fn every_spelling_of_a_path_has_it_among_its_readings() {
        for path in SPELLINGS {
            assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
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
            "/a/(S(x))/b",
            "/a/%28s%28x%29%29/b",
            "/(A(a)F(f))",
            "/pro/(S(x))tected",
            "/us%E8rs",
            "/%E2%93%A4sers",
            "/us%E2%80%8Bers",
            "/us%C2%ADers",
            "/us%EF%BB%BFers",
            "/us%EF%B8%8Fers",
            "/%EF%BD%95sers",
            "/x%C2%B2",
            "/%F0%9D%90%AEsers",
            "/a%E2%88%95b",
            "/a%E2%81%84b",
            "/a%EF%BC%8Fb",
            "/a%E2%88%96b",
            "/a%E2%80%A4b",
            "/a%CD%BEb",
        ] {
            assert!(PathInterpretations::new(path).is_ambiguous(), "{path}");
        }
        for path in [
            "/a%20b",
            "/a;b",
            "/caf%C3%A9",
            "/cafe%CC%81",
            "/O%E2%80%99Brien",
            "/%CE%B1%CE%B8%CE%AE%CE%BD%CE%B1",
            "/%E6%9D%B1%E4%BA%AC",
            "/a%zz",
            "/a:b",
            "/a.",
            "/a%3Fb",
            "/100%25",
            "/Coworkers(5)",
            "/Coworkers('x')/(draft)/f(a(b))",
            "/~a/b~",
        ] {
            assert!(!PathInterpretations::new(path).is_ambiguous(), "{path}");
        }
    }

    #[test]
    fn what_dot_net_takes_out_of_a_path_is_taken_out_in_every_order() {
        for path in COOKIELESS {
            assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
        }
        for path in ["/api/(token)", "/api(S(x))/token", "/api/(S(x)/token", "/api/(SS(x))/token"] {
            assert!(!is_token(path), "{path}: {:?}", PathInterpretations::new(path));
        }
    }

    #[test]
    fn letters_beyond_ascii_are_their_nearest_neighbours_in_it() {
        for path in NEIGHBOURS {
            assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
        }
        for path in ["/api/%E6%9D%B1token", "/api/tok%D0%B6n", "/api/tok%C3%A9%C3%A9n"] {
            assert!(!is_token(path), "{path}: {:?}", PathInterpretations::new(path));
        }
    }

    #[test]
    fn a_path_with_more_readings_than_are_looked_at_is_known_for_it() {
        let odd = |piece: &str, times| format!("/{}", piece.repeat(times));
        for path in [
            odd("(S(a))/(F(b))/(A(c))/x;y/", 3),
            odd("(S(x))/", 2_000),
            "/%252525252561".to_owned(),
            odd("%25", 1) + &"25".repeat(8_000) + "41",
        ] {
            let readings = PathInterpretations::new(&path);
            assert!(readings.is_over_limit() && readings.is_ambiguous(), "{path:.60}");
            assert!(
                readings.variants.len() <= MAX_INTERPRETATIONS + 1 && readings.work <= 2 * MAX_WORK
            );
        }
        for path in [odd("a%20b;c/", 100), odd("caf%C3%A9/", 50), odd("x(5)/", 200)] {
            assert!(!PathInterpretations::new(&path).is_over_limit(), "{path:.60}");
        }
    }

    #[test]
    fn an_odd_path_costs_no_more_than_a_few_walks_over_it() {
        for piece in ["%ef%b7%ba", "a./", "a;b/", "%c3%a8/", "%ef%b7%ba/", "%ff", "%e3%8c%80"] {
            let path = format!("/{}", piece.repeat((16 << 10) / piece.len()));
            best_fit::DECOMPOSED.set(0);
            let readings = PathInterpretations::new(&path);
            assert!(readings.is_over_limit() && readings.is_ambiguous(), "{piece}");
            let kept: usize = readings.variants.iter().map(String::len).sum();
            assert!(kept <= MAX_WORK, "{piece}: {kept}");
            let decomposed = best_fit::DECOMPOSED.get();
            assert!(decomposed <= 16 << 10, "{piece}: {decomposed}");
        }
        // Honest ones of some hundred bytes.
        for path in ["caf%C3%A9%20", "%E6%9D%B1%E4%BA%AC", "%D0%B6/", "O%E2%80%99Brien/"] {
            let path = format!("/api/{}", path.repeat(600 / path.len()));
            assert!(
                !PathInterpretations::new(&path).is_over_limit(),
                "{path}: {}",
                PathInterpretations::new(&path).work
            );
        }
    }

    #[test]
    fn a_key_of_odata_is_a_segment_for_rules_that_forbid() {
        let readings = PathInterpretations::new("/api/Coworkers(5)");
        let is = |wanted: &'static str| move |reading: &str| reading == wanted;
        assert!(readings.any(is("/api/coworkers/5")));
        assert!(readings.all(is("/api/coworkers(5)")));
    }

    fn is_token(path: &str) -> bool {
        PathInterpretations::new(path).any(|reading| {
            let segments = reading.split('/').filter(|segment| !segment.is_empty());
            segments.map(str::to_ascii_lowercase).eq(["api", "token"])
        })
    }

    #[test]
    fn other_paths_stay_other() {
        for path in ["/api/tokens", "/api/t%6fkens", "/api/x/token", "/api%20token", "/%61pitoken"]
        {
            let is_it = |reading: &str| reading.trim_end_matches('/') == "/api/token";
            assert!(!PathInterpretations::new(path).any(is_it), "{path}");
        }
    }

    const COOKIELESS: [&str; 23] = [
        "/(S(x))/api/token",
        "/api/(S(x))/token",
        "/api/token/(S(x))/",
        "/api/token/(S(x))",
        "/api/(s(x))/token",
        "/api/(S())/token",
        "/api/(A(a)F(f)S(s))/token",
        "/api/(S(a.b%20c))/token",
        "/api/%28S%28x%29%29/token",
        "/api/%2528S(x))/token",
        "/api/%252528S(x))/token",
        "/api%2f(S(x))%2ftoken",
        "/api\\(S(x))\\token",
        "/api/(S(x))/(F(y))/token",
        "/(S(x))/api/(S(x))/token",
        "/api/(S(/(S(x))y))/token",
        "/api/to/(S(x))ken",
        "/api/(S(x));a/token",
        "/api/(S(x))./token",
        "/api/x/../(S(x))/%74oken",
        "/api/(S(..))/token",
        "/api/(lit3py55t21z5v55vlm25s55)/token",
        "/~/api/token",
    ];

    const NEIGHBOURS: [&str; 24] = [
        "/api/tok%C3%A8n",
        "/api/tok%E8n",
        "/api/toke%CC%81n",
        "/%C3%A1pi/t%C3%B8ken",
        "/%E2%93%90pi/token",
        "/ap%E2%93%98/token",
        "/%F0%9D%90%9Api/token",
        "/api/to%E2%80%8Bken",
        "/api/to%C2%ADken",
        "/api/to%EF%BB%BFken",
        "/api/to%EF%B8%8Fken",
        "/api/to%E2%81%A0ken",
        "/api%E2%88%95token",
        "/api%EF%BC%8Ftoken",
        "/api%E2%81%84token",
        "/api%E2%88%96token",
        "/api/token%E2%80%A4",
        "/api/x/%E2%80%A4%E2%80%A4/token",
        "/api/%EF%BC%8574oken",
        "/api/%CF%84%CF%89ken",
        "/api/%E2%81%BD/../token",
        "/api/token%E3%80%80",
        "/%C3%A6pi/token",
        "/api/%EF%BC%88S(x))/token",
    ];

    const SPELLINGS: [&str; 33] = [
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
        "/api/token:$i30:$INDEX_ALLOCATION",
        "/api%e0%80%aftoken",
    ];
}
