//! A rule for requests that are allowed or denied: `METHOD /path/**`, or `RUN KEY /path`.
//!
//! The method is a name or `*`; GET includes HEAD. In the path `*` stands for any part of one
//! segment and `**` for any number of segments, none included, so that `/a/**` is also `/a`. Case
//! and empty segments do not count. A rule is written decoded. The gateway chooses the
//! interpretations of a request's path that the rule is matched against.
//!
//! `RUN KEY /path` is about the commands of Nexudus: requests for `/path/runcommand` whose `Key`
//! matches the glob. The rule itself sees only method and path; the gateway reads the key.
//!
//! A rule matches by a walk over its segments. `rule_set.rs` matches many rules in one walk, and
//! its tests hold it to this one.

use std::fmt;

/// A parsed rule. Matching allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule {
    as_str: String,
    /// `None` is `*`.
    pub(super) method: Option<String>,
    /// The glob of a `RUN` rule, in lower case.
    command: Option<String>,
    /// Those of a `RUN` rule end with `runcommand`.
    pub(super) segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`
    Any,
    /// Lower case; may hold `*`.
    One(String),
}

/// Why a text is not a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(&'static str);

impl Rule {
    /// Reads `METHOD /path` or `RUN KEY /path`.
    ///
    /// # Errors
    ///
    /// The reason why the text is no rule.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let (method, command, path) = match words[..] {
            [run, key, path] if run.eq_ignore_ascii_case(RUN) => (None, Some(key), path),
            [run, ..] if run.eq_ignore_ascii_case(RUN) => return Err(ParseError(COMMAND_SHAPE)),
            ["*", path] => (None, None, path),
            [name, path] if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                (Some(name.to_ascii_uppercase()), None, path)
            }
            [_, _] => {
                return Err(ParseError("the method of a rule is a name, or `*` for all of them"));
            }
            _ => return Err(ParseError(SHAPE)),
        };
        if command.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(ParseError("the key of a command is written in ASCII"));
        }
        if text.contains(char::is_control) {
            return Err(ParseError("a rule has no control characters"));
        }
        if !path.starts_with('/') {
            return Err(ParseError("the path of a rule begins with `/`"));
        }
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|segment| match segment {
            "**" => Segment::Any,
            glob => Segment::One(normalize_case(glob)),
        });
        let mut segments: Vec<_> = segments.collect();
        let endpoint = Segment::One(COMMAND_SEGMENT.to_owned());
        if command.is_some() && segments.last() != Some(&endpoint) {
            segments.push(endpoint);
        }
        let command = command.map(str::to_ascii_lowercase);
        Ok(Self { as_str: text.trim().to_owned(), method, command, segments })
    }

    /// Returns the rule as it was written.
    pub fn as_str(&self) -> &str {
        &self.as_str
    }

    /// Says whether the rule is about a command, so that it needs the command's key too.
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }

    /// Says whether the rule names the command with this key.
    pub fn names_command(&self, key: &str) -> bool {
        let glob = self.command.as_deref();
        glob.is_some_and(|glob| glob_matches(glob.as_bytes(), key.as_bytes()))
    }

    /// Says whether the rule is about this request; `path` is one reading of its path. A command is
    /// sent by POST.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        let is_sent = !self.is_command() || method == "POST";
        is_sent && self.is_about(method) && self.matches_path(path, false, glob_matches)
    }

    /// Says the same for a server that removes the extension of a segment to choose a format, as
    /// ASP.NET does: `/users.json/5` is `/users/5` too. For deny rules: a server may also take a
    /// command by another method, or with more segments behind it.
    pub fn matches_ignoring_extensions(&self, method: &str, path: &str) -> bool {
        let fits = |glob: &[u8], segment: &[u8]| {
            without_extension(segment).any(|text| glob_matches(glob, text))
        };
        self.is_about(method) && self.matches_path(path, self.is_command(), fits)
    }

    fn is_about(&self, method: &str) -> bool {
        match self.method.as_deref() {
            None => true,
            Some(ours) => ours == method || (ours == "GET" && method == "HEAD"),
        }
    }

    /// Matches segment by segment; with `goes_on` as if the rule ended with `**`. When one does not
    /// fit, the last `**` takes one segment more; earlier ones need not be tried again.
    fn matches_path(&self, path: &str, goes_on: bool, fits: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let tail = goes_on.then_some(&Segment::Any);
        let segment = |at: usize| {
            self.segments.get(at).or_else(|| tail.filter(|_| at == self.segments.len()))
        };
        let (mut at, mut rest) = (0, path);
        let mut retry: Option<(usize, &str)> = None;
        loop {
            match (segment(at), next_segment(rest)) {
                (None, None) => return true,
                (Some(Segment::Any), _) => {
                    at += 1;
                    retry = Some((at, rest));
                    continue;
                }
                (Some(Segment::One(glob)), Some((segment, after)))
                    if fits(glob.as_bytes(), segment.as_bytes()) =>
                {
                    at += 1;
                    rest = after;
                    continue;
                }
                (Some(Segment::One(_)) | None, _) => {}
            }
            let Some((from, tried)) = retry else { return false };
            let Some((_, after)) = next_segment(tried) else { return false };
            retry = Some((from, after));
            (at, rest) = (from, after);
        }
    }

    /// Says whether the rule spells these segments out at its beginning; the last may go on.
    pub fn begins_with(&self, words: &[&str]) -> bool {
        let Some((last, before)) = words.split_last() else { return true };
        let one = |at: usize| match self.segments.get(at) {
            Some(Segment::One(glob)) => Some(glob.as_str()),
            Some(Segment::Any) | None => None,
        };
        before.iter().enumerate().all(|(at, word)| one(at) == Some(word))
            && one(before.len()).is_some_and(|glob| glob.starts_with(last))
    }

    /// Says whether the rule spells these segments out at its end.
    pub fn ends_with(&self, words: &[&str]) -> bool {
        let start = self.segments.len().checked_sub(words.len());
        let end = start.and_then(|start| self.segments.get(start..));
        end.is_some_and(|end| {
            end.iter()
                .zip(words)
                .all(|(segment, word)| *segment == Segment::One((*word).to_owned()))
        })
    }

    /// Says why no request can ever match, if that is so.
    pub fn why_unmatchable(&self) -> Option<&'static str> {
        let has = |part: &dyn Fn(&str) -> bool| {
            self.segments.iter().any(|segment| match segment {
                Segment::One(glob) => part(glob),
                Segment::Any => false,
            })
        };
        if self.method.as_deref().is_some_and(|method| !FORWARDED_METHODS.contains(&method)) {
            return Some("its method is never forwarded");
        }
        if has(&|glob| glob == "." || glob == "..") {
            return Some("dot segments are resolved before rules are matched");
        }
        if has(&|glob| glob.contains(['?', '#'])) {
            return Some("rules are matched against the path alone, without the query");
        }
        if has(&|glob| glob.contains('%')) {
            return Some("a rule is written decoded, without `%`");
        }
        if has(&|glob| glob.contains(['\\', ';']) || glob.ends_with('.')) {
            return Some(
                "paths are compared without `\\`, without `;…` and without dots at the end",
            );
        }
        let is_about_one = [&["api", "token"][..], &["api", "sys", "users", "token"]]
            .iter()
            .any(|path| self.segments.len() == path.len() && self.ends_with(path));
        (self.as_str.ends_with("/token") && is_about_one)
            .then_some("the daemon itself responds at a token endpoint")
    }

    /// Says whether the rule is about any request that only reads.
    pub fn can_read(&self) -> bool {
        let reads = ["GET", "HEAD", "OPTIONS"];
        let method = self.method.as_deref().is_none_or(|method| reads.contains(&method))
            && !self.is_command();
        let below = match self.segments.first() {
            Some(Segment::One(glob)) => {
                READABLE_ROOTS.iter().any(|name| glob_matches(glob.as_bytes(), name.as_bytes()))
            }
            Some(Segment::Any) => true,
            None => false,
        };
        method && below
    }

    /// Says whether the rule is about every command.
    fn names_any(&self) -> bool {
        self.command.as_deref().is_some_and(|glob| glob.bytes().all(|byte| byte == b'*'))
    }

    /// Says whether the rule is about requests of the method DELETE, and not of every method.
    pub fn is_about_deletions(&self) -> bool {
        self.method.as_deref() == Some("DELETE")
    }

    /// Says whether every request that `other` is about is one of ours too; may miss some.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = match (self.method.as_deref(), other.method.as_deref()) {
            _ if self.is_command() => {
                other.is_command() && (self.names_any() || self.command == other.command)
            }
            (Some(ours), _) if other.is_command() => ours == "POST",
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours == theirs || (ours == "GET" && theirs == "HEAD"),
        };
        // Both ends of two rules about commands are the same.
        let ends = usize::from(self.is_command());
        let ours = &self.segments[..self.segments.len() - ends];
        let theirs = &other.segments[..other.segments.len().saturating_sub(ends)];
        let paths = match ours.split_last() {
            Some((Segment::Any, before)) => theirs.starts_with(before),
            Some((Segment::One(_), _)) | None => ours == theirs,
        };
        methods && paths
    }
}

/// The word that begins a rule about a command.
const RUN: &str = "RUN";

/// The last segment of a path at which Nexudus takes commands, in lower case.
pub const COMMAND_SEGMENT: &str = "runcommand";

const SHAPE: &str = "a rule is a method and a path, such as `DELETE /api/spaces/**`, or `RUN KEY \
                     /path` for a command of Nexudus, such as `RUN *DELETE* /**`";

const COMMAND_SHAPE: &str = "a rule about a command of Nexudus is `RUN KEY /path`, such as \
                             `RUN *DELETE* /**`";

/// The first path segments below which readers may read.
const READABLE_ROOTS: [&str; 2] = ["api", "contentdownload"];

/// The methods that are forwarded at all.
const FORWARDED_METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// Folds the case of a text, for the comparison of rules and paths: through upper case, because a
/// server may compare that way, and `ſ` and the Kelvin sign have the upper and the lower case of
/// plain letters.
pub fn normalize_case(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_uppercase().to_lowercase() }
}

/// Returns a segment as servers may route it: whole, and without its extension.
pub(super) fn without_extension(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_dot = |byte: &u8| *byte == b'.';
    let first = segment.iter().position(is_dot).filter(|dot| *dot > 0);
    // A name that begins with a dot has an extension only behind a second one.
    let last = segment.iter().rposition(is_dot).filter(|dot| *dot > 0 && Some(*dot) != first);
    let dots = [first, last].into_iter().flatten();
    std::iter::once(segment).chain(dots.map(|dot| &segment[..dot]))
}

/// Returns the first segment that is not empty, and what follows it.
pub(super) fn next_segment(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_start_matches('/');
    (!path.is_empty()).then(|| path.split_once('/').unwrap_or((path, "")))
}

/// Matches one segment. Upper-case letters of the path are read as lower-case ones.
pub(super) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (glob.get(at), text.get(here)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at += 1;
                retry = Some((at, here));
            }
            (Some(wanted), Some(byte)) if *wanted == byte.to_ascii_lowercase() => {
                at += 1;
                here += 1;
            }
            (Some(_) | None, _) => match retry {
                Some((from, tried)) if tried < text.len() => {
                    retry = Some((from, tried + 1));
                    (at, here) = (from, tried + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.as_str)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str)
    }
}

#[cfg(test)]
mod tests;
