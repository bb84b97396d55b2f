//! The redaction of Nexudus's responses: personal values become tokens such as
//! `«PII:EMAIL:3f9a1c20»`.
//!
//! Four parts decide. `record_kind`: which records a path leads to. `fields`: the official table, what
//! it leaves out, and rules for the ends of names. `free_text`: e-mail addresses, telephone numbers and
//! addresses of other hosts inside of texts, with a bound on the work. `query`: which filters tell
//! nothing. `json-redactor` (the workspace member `redactor/`) reads the JSON; `rules` lends it these
//! decisions. `tokens` keeps what a token stands for, and `token_store` keeps that over a restart,
//! sealed.

mod category;
mod dates;
mod decisions;
mod decoded_text;
mod emails;
mod entities;
mod entity;
mod fields;
mod folding;
mod free_text;
mod half;
mod keyed_hash;
mod names;
mod phone;
mod query;
mod quotations;
mod record_kind;
mod remembered;
mod resolve;
mod rules;
mod table_name;
mod tables;
mod token_file;
mod token_store;
mod tokens;
mod urls;
mod vault;
mod work;

use std::sync::Arc;

pub use json_redactor::{Error as JsonError, Rewriter};

pub use self::category::Category;
pub use self::fields::FieldRules;
pub use self::query::{QueryError, redact_query};
pub use self::record_kind::{RecordKind, UnplainPath};
pub use self::resolve::{BodyResolver, ResolveError, resolve_query};
pub use self::rules::ResponseRules;
pub use self::table_name::TableName;
pub use self::token_store::{erase as erase_tokens, erase_unused as erase_unused_tokens};
pub use self::tokens::{TokenTable, UnknownToken};
pub use self::vault::{Redactor, TokenVault};
use crate::config::{Origin, RedactMode};

/// The redaction of one client.
#[derive(Debug)]
pub struct Redaction {
    mode: RedactMode,
    can_resolve: bool,
    fields: Arc<FieldRules>,
    tokens: Arc<TokenTable>,
    origin: Arc<Origin>,
    /// The hour in which the request came.
    hour: u32,
}

impl Redaction {
    /// Says whether the client's requests may carry tokens.
    pub fn can_resolve(&self) -> bool {
        self.can_resolve
    }

    /// Begins to rewrite the response to a request for records of this kind. Where `has_resolved`
    /// tokens, the sentences of Nexudus may repeat what they stand for, so that none of them stays.
    pub fn rewriter(
        self: &Arc<Self>,
        kind: RecordKind,
        has_resolved: bool,
    ) -> Rewriter<ResponseRules> {
        let rules = ResponseRules::new(self.clone(), kind);
        Rewriter::new(if has_resolved { rules.without_messages() } else { rules })
    }

    /// Says whether the address in a `Location` tells nothing and leads to no other host.
    pub fn allows_location(&self, location: &str) -> bool {
        let origin = self.origin.to_string();
        let location = location.strip_prefix(&origin).unwrap_or(location);
        let is_local = location.starts_with('/') && !location[1..].starts_with(['/', '\\']);
        is_local && !location.contains(['?', '#']) && !free_text::is_changed(self, location)
    }

    /// Returns a text with tokens in the place of what is personal in it.
    pub fn scrub(&self, text: &str) -> String {
        let mut scrubbed = String::new();
        let is_changed = free_text::scrub(self, text, false, &mut scrubbed);
        if is_changed { scrubbed } else { text.to_owned() }
    }

    fn write_token(&self, category: Category, value: &str, out: &mut String) {
        self.tokens.write_token_at(self.hour, category, value, self.can_resolve, out);
    }
}

#[cfg(test)]
mod tests;
