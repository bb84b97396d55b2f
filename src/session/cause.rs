//! The reason behind an error of the session.

use std::fmt;
use std::sync::Arc;

/// The reason behind an error, in our own words.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause {
    sentence: Arc<str>,
    /// The fields that few causes have. An error must stay small: every result has room for one.
    rare: Option<Arc<RareCause>>,
}

#[derive(Debug, PartialEq, Eq)]
enum RareCause {
    /// The token endpoint is this daemon itself.
    Loop,
    /// The way out, which only this cause knows.
    Hint(Box<str>),
}

impl Cause {
    /// Wraps a sentence that names no secret.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into().into(), rare: None }
    }

    /// The token endpoint of `origin` is this daemon itself.
    pub(in crate::session) fn upstream_loop(origin: &str) -> Self {
        let sentence = format!("upstream.origin {origin} leads back to this daemon");
        Self { rare: Some(Arc::new(RareCause::Loop)), ..Self::new(sentence) }
    }

    /// The token endpoint of `origin` is another daemon, which may lead back to this one.
    pub(in crate::session) fn other_proxy(origin: &str) -> Self {
        let sentence = format!(
            "upstream.origin {origin} leads to another nexudus-proxy, whose token is a placeholder"
        );
        Self { rare: Some(Arc::new(RareCause::Loop)), ..Self::new(sentence) }
    }

    /// Adds a way out that is better than that of the error.
    pub(in crate::session) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { rare: Some(Arc::new(RareCause::Hint(hint.into().into()))), ..self }
    }

    /// Says whether the token endpoint is this daemon itself.
    pub(super) fn is_loop(&self) -> bool {
        self.rare.as_deref() == Some(&RareCause::Loop)
    }

    /// Returns the way out that only this cause knows.
    pub(super) fn hint(&self) -> Option<&str> {
        match self.rare.as_deref()? {
            RareCause::Hint(hint) => Some(hint),
            RareCause::Loop => None,
        }
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.sentence
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.sentence)
    }
}

impl std::error::Error for Cause {}
