//! Tokens in requests: the values take their places, where the response would hide them again.
//!
//! A value that were put into a field that is not hidden could be read there in the clear. So a
//! token is taken back in personal fields only.

use std::sync::Arc;

use form_urlencoded::{Serializer, parse};
use json_redactor::{Action, Outcome, Rewriter, Rules, Scope, Summary};
use zeroize::Zeroizing;

use super::category::Category;
use super::query::{self, QueryError};
use super::rules::ResponseRules;
use super::tokens::UnknownToken;
use super::{RecordKind, Redaction, UnplainPath};

/// Why a request with tokens is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The path may lead to records of more than one kind.
    #[error(transparent)]
    Path(#[from] UnplainPath),
    /// The query tells something, or is no query for a redacted client.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The key may not send tokens.
    #[error("the request carries a token, which this client may not send")]
    NotAllowed,
    /// The field would be readable.
    #[error("a token stands in a field that is not hidden from this client")]
    Readable,
    /// The body cannot be searched.
    #[error("the body of a redacted client cannot be searched for tokens")]
    Unreadable,
    /// The token is unknown.
    #[error(transparent)]
    Unknown(#[from] UnknownToken),
}

/// Says whether a text has a token in it, with or without its marks.
fn holds_token(text: &str) -> bool {
    find_token(text).is_some()
}

/// Checks a query, and returns it with the values of its tokens, if it has any.
///
/// # Errors
///
/// Why the request is refused.
pub fn resolve_query(
    redaction: &Redaction,
    kind: RecordKind,
    query: &str,
) -> Result<Option<Zeroizing<String>>, ResolveError> {
    if !holds_encoded_token(query) {
        query::check(redaction, kind, query)?;
        return Ok(None);
    }
    let mut out = Serializer::new(String::new());
    for (name, value) in parse(query.as_bytes()) {
        match find_token(&value) {
            Some(_) if !redaction.can_resolve => return Err(ResolveError::NotAllowed),
            Some(token)
                if token.is_all_of(&value)
                    && query::is_hidden(redaction, kind, &name.to_ascii_lowercase()) =>
            {
                out.append_pair(&name, &token.value(redaction)?);
            }
            Some(_) => return Err(ResolveError::Readable),
            None if holds_token(&name) => return Err(ResolveError::Readable),
            None => {
                query::check_field(redaction, kind, &name, &value)?;
                out.append_pair(&name, &value);
            }
        }
    }
    Ok(Some(Zeroizing::new(out.finish())))
}

/// Puts values in the place of the tokens in a body, a piece at a time.
pub struct BodyResolver {
    rewriter: Rewriter<RequestRules>,
    out: Zeroizing<Vec<u8>>,
    length: usize,
    is_json: bool,
    /// The beginning of a body that is no JSON.
    start: Vec<u8>,
}

impl BodyResolver {
    /// Begins the body of a request for records of this kind.
    pub fn new(redaction: &Arc<Redaction>, kind: RecordKind) -> Self {
        let inner = ResponseRules::new(redaction.clone(), kind);
        let rules =
            RequestRules { inner, redaction: redaction.clone(), error: None, has_token: false };
        let (rewriter, out) = (Rewriter::new(rules), Zeroizing::new(Vec::new()));
        Self { rewriter, out, length: 0, is_json: true, start: Vec::new() }
    }

    /// Reads a piece.
    pub fn write(&mut self, piece: &[u8]) {
        self.length += piece.len();
        self.is_json = self.is_json && self.rewriter.write(piece, &mut self.out).is_ok();
        let room = MAX_FORM.saturating_sub(self.start.len());
        self.start.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    /// Returns the body with the values of its tokens, if it has any.
    ///
    /// # Errors
    ///
    /// Why the request is refused.
    pub fn finish(mut self) -> Result<Option<Zeroizing<Vec<u8>>>, ResolveError> {
        let is_json = self.is_json && self.rewriter.finish(&mut self.out).is_ok();
        let RequestRules { error, has_token, .. } = self.rewriter.rules();
        if let Some(error) = error {
            return Err(*error);
        }
        if is_json {
            return Ok(has_token.then_some(self.out));
        }
        // A form, or a text that is no JSON: nothing in it may look like a token.
        let start = String::from_utf8_lossy(&self.start);
        let is_searched = self.length <= MAX_FORM && !self.start.contains(&0);
        if !is_searched || holds_encoded_token(&start) {
            return Err(ResolveError::Unreadable);
        }
        Ok(None)
    }
}

/// Says whether a token may stand in a text once it is decoded.
fn holds_encoded_token(text: &str) -> bool {
    let mut decoded = text.to_owned();
    for _ in 0..MAX_DECODING {
        if contains_ignoring_case(&decoded, "PII:") || contains_ignoring_case(&decoded, "\\u0050") {
            return true;
        }
        let next: String = parse(format!("={}", decoded.replace(['&', '='], " ")).as_bytes())
            .map(|(_, value)| value.into_owned())
            .collect();
        if next == decoded {
            return false;
        }
        decoded = next;
    }
    true
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|it| it.eq_ignore_ascii_case(part.as_bytes()))
}

/// A token inside of a text.
struct FoundToken<'a> {
    start: usize,
    end: usize,
    category: Category,
    digits: &'a str,
}

impl FoundToken<'_> {
    fn is_all_of(&self, text: &str) -> bool {
        text[..self.start].trim().is_empty() && text[self.end..].trim().is_empty()
    }

    fn value(&self, redaction: &Redaction) -> Result<Zeroizing<Box<str>>, UnknownToken> {
        redaction.tokens.resolve(self.category, self.digits)
    }
}

/// Finds the first token of a text; programs may have lost its marks.
fn find_token(text: &str) -> Option<FoundToken<'_>> {
    text.match_indices("PII:").find_map(|(at, prefix)| {
        let rest = &text[at + prefix.len()..];
        let (word, rest) = rest.split_once(':')?;
        let category = Category::from_word(word)?;
        let length = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let digits = rest.get(..length).filter(|digits| matches!(digits.len(), 8 | 16))?;
        let end = at + prefix.len() + word.len() + 1 + length;
        let start = if text[..at].ends_with('«') { at - '«'.len_utf8() } else { at };
        let end = if text[end..].starts_with('»') { end + '»'.len_utf8() } else { end };
        Some(FoundToken { start, end, category, digits })
    })
}

/// Puts values in the place of tokens in hidden fields.
struct RequestRules {
    inner: ResponseRules,
    redaction: Arc<Redaction>,
    error: Option<ResolveError>,
    has_token: bool,
}

impl RequestRules {
    fn put_back(
        &mut self,
        scope: Scope,
        text: &str,
        out: &mut String,
    ) -> Result<bool, ResolveError> {
        let mut rest = text;
        while let Some(token) = find_token(rest) {
            if !self.redaction.can_resolve {
                return Err(ResolveError::NotAllowed);
            }
            if scope.action == Action::Scan || scope.action == Action::Keep {
                return Err(ResolveError::Readable);
            }
            out.push_str(&rest[..token.start]);
            out.push_str(&token.value(&self.redaction)?);
            self.has_token = true;
            rest = &rest[token.end..];
        }
        out.push_str(rest);
        Ok(rest.len() < text.len())
    }
}

impl Rules for RequestRules {
    fn root(&self) -> Scope {
        self.inner.root()
    }

    fn member(&mut self, parent: Scope, key: &str) -> Scope {
        let scope = self.inner.member(parent, key);
        // Whether a field is hidden is all that counts here; numbers and `null` stay.
        match scope.action {
            Action::Null => Scope { action: Action::Replace(Category::Text.index()), ..scope },
            Action::Keep => Scope { action: Action::Scan, ..scope },
            Action::Scan | Action::Replace(_) | Action::Embedded(_) => scope,
        }
    }

    fn rename(&mut self, _: Scope, key: &str, _: &mut String) -> bool {
        if holds_token(key) {
            self.error = Some(ResolveError::Readable);
        }
        false
    }

    fn is_suspect(&self, _: Scope, _: Summary) -> bool {
        true
    }

    fn string(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        match self.put_back(scope, text, out) {
            Ok(true) => Outcome::Text,
            Ok(false) => Outcome::Keep,
            Err(error) => {
                self.error = Some(error);
                Outcome::Keep
            }
        }
    }

    fn opaque(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        self.string(scope, text, out)
    }

    fn embedded(&mut self, scope: Scope) -> Scope {
        self.inner.embedded(scope)
    }

    fn keeps_number(&self, _: Scope) -> bool {
        true
    }
}

/// Longest form that is searched, in bytes.
const MAX_FORM: usize = 64 << 10;

/// How often a text may be encoded.
const MAX_DECODING: usize = 4;
