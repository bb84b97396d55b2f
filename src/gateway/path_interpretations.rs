//! Every path that a server could read a path as.
//!
//! Rules check all plausible interpretations of a path; the original bytes are forwarded. Nexudus
//! runs on ASP.NET behind IIS: case does not count, `\` separates segments, `;` and `::` cut off
//! the rest, trailing dots and spaces vanish, percent-encoding may be decoded more than once, a
//! segment `(S(…))` is removed, and letters beyond ASCII may become the most similar ones in it.
//! Which of these steps happen, and in which order, depends on the servers that the request passes.
//! Therefore each step is tried on the results of all others. A deny rule holds if one
//! interpretation matches, an allow rule only if all do. `docs/nexudus-api.md` lists the steps.

mod best_fit;
mod cookieless;
mod percent;

use std::borrow::Cow;

use crate::config::normalize_case;

/// The interpretations of one path.
#[derive(Debug)]
pub(super) struct PathInterpretations<'a> {
    /// The path itself, if it has only one interpretation.
    plain: Option<&'a str>,
    /// All interpretations otherwise, in lower case.
    variants: Vec<String>,
    /// The variants with keys of OData as segments: for deny rules only.
    odata_variants: Vec<String>,
    is_ambiguous: bool,
    is_over_limit: bool,
    work: usize,
}

impl<'a> PathInterpretations<'a> {
    /// Interprets a path. Allocates nothing for a path with one interpretation, as nearly all have.
    pub(super) fn new(path: &'a str) -> Self {
        let plain = is_plain(path.as_bytes()).then_some(path);
        let mut interpretations = Self {
            plain,
            variants: vec![],
            odata_variants: vec![],
            is_ambiguous: false,
            is_over_limit: false,
            work: 0,
        };
        if plain.is_none() {
            interpretations.explore(path);
        }
        interpretations
    }

    /// Says whether any interpretation matches.
    pub(super) fn any(&self, mut matches: impl FnMut(&str) -> bool) -> bool {
        self.iter().chain(self.odata_variants.iter().map(String::as_str)).any(&mut matches)
    }

    /// Calls `each` with every interpretation.
    pub(super) fn for_each(&self, mut each: impl FnMut(&str)) {
        self.any(|path| {
            each(path);
            false
        });
    }

    /// Returns the first result of `find` among the interpretations.
    pub(super) fn find_map<T>(&self, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let mut found = None;
        self.any(|path| {
            found = find(path);
            found.is_some()
        });
        found
    }

    /// Returns the first interpretation: the path itself, at most in lower case.
    pub(super) fn first(&self) -> &str {
        self.iter().next().unwrap_or("/")
    }

    /// Returns the path if a person reads it as a program does, and it is short.
    pub(super) fn shown(&self) -> Option<Box<str>> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        let is_shown = |path: &&str| path.len() <= MAX_SHOWN && path.bytes().all(is_plain);
        self.plain.filter(is_shown).map(Box::from)
    }

    /// Says whether every interpretation matches.
    pub(super) fn all(&self, mut matches: impl FnMut(&str) -> bool) -> bool {
        self.iter().all(&mut matches)
    }

    /// Says whether the path contains what no tool needs to write: dot segments, encoded
    /// separators, control characters, bytes that are not UTF-8, cookieless segments, confusable
    /// letters.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Says whether the path has more interpretations than are examined: then no rule can be
    /// applied.
    pub(super) fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.plain.into_iter().chain(self.variants.iter().map(String::as_str))
    }
}

/// Says whether the path has one interpretation only, apart from case and empty segments.
fn is_plain(path: &[u8]) -> bool {
    let has_vanishing_end = || {
        let next = path.iter().skip(1).chain(std::iter::once(&b'/'));
        path.iter().zip(next).any(|(byte, next)| matches!(byte, b'.' | b'~') && *next == b'/')
    };
    let mut may_have_vanishing_end = false;
    for byte in path {
        match PLAIN_BYTES[usize::from(*byte)] {
            PlainByte::Always => {}
            PlainByte::InsideSegments => may_have_vanishing_end = true,
            PlainByte::Never => return false,
        }
    }
    !may_have_vanishing_end || !has_vanishing_end()
}

/// Where in a path a byte has one interpretation only.
#[derive(Clone, Copy)]
enum PlainByte {
    Always,
    InsideSegments,
    Never,
}

/// A table, because every byte of every path is looked up.
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
    /// Tries each step on the path and on the result of each step, until there is no new result.
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
        // Encoded more often than any server decodes.
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
        // Before the work, because this step may cost most of all.
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

    /// A decoded `?` may begin the query; `;` and the like cut off the rest of a segment, or of the
    /// path.
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
        // `~` is the root of an application.
        if text.split('/').any(|segment| segment == "~") {
            self.add_segments(text, |segment| if segment == "~" { "" } else { segment });
        }
    }

    /// Removes each cookieless segment by itself: a server may remove one, or one after another.
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
        // Known variants cost too: the limit is on the work.
        self.charge(text.len());
        if self.is_over_limit {
            return;
        }
        // Every step may rely on the leading slash.
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

/// Returns all interpretations of the name of a field in a form or a query; `None` if that takes
/// more work than is `left`.
pub(super) fn name_variants(name: &[u8], left: &mut usize) -> Option<Vec<String>> {
    let mut variants = vec![];
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
                variants.extend([best_fit::without_accents(&text), best_fit::to_code_page(&text)]);
            }
            variants.push(text);
        }
        let next = percent::decode_once(&bytes);
        if next == bytes {
            break;
        }
        bytes = next;
        spend(left, VARIANT_COST + bytes.len())?;
    }
    Some(variants)
}

/// Subtracts the cost of some work from what is `left`; `None` if there is too little.
fn spend(left: &mut usize, cost: usize) -> Option<()> {
    *left = left.checked_sub(cost)?;
    #[cfg(test)]
    WORK.set(WORK.get() + cost);
    Some(())
}

/// Returns the cost of all steps on a text, in bytes of plain text: segments are examined one by
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

/// Sets the counter of spent work to zero.
#[cfg(test)]
pub(super) fn reset_work() {
    WORK.set(0);
}

/// Returns the work spent on names since [`reset_work`].
#[cfg(test)]
pub(super) fn work() -> usize {
    WORK.get()
}

/// Longest path in a sentence.
const MAX_SHOWN: usize = 100;

/// The cost of a variant beside its letters, for its allocations.
const VARIANT_COST: usize = 32;

/// Checked in every decoding round, so that another layer of encoding hides none.
const ENCODED_SEPARATORS: [&str; 2] = ["%2f", "%5c"];

/// A proxy, a web server and a framework may each decode once; one more for good measure.
const MAX_DECODING_ROUNDS: usize = 4;

/// Most variants of a path that are examined. Paths that tools send have fewer than ten; each
/// variant costs a walk over its length for each step and each rule.
const MAX_INTERPRETATIONS: usize = 192;

/// Most work for one path, as the bytes of all variants tried and the cost of the steps on them
/// (`walk_cost`): a few milliseconds.
const MAX_WORK: usize = 64 << 10;

#[cfg(test)]
mod tests;
