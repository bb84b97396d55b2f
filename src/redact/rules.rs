//! The decisions that the rewriter of JSON asks for.

use std::sync::Arc;

use json_redactor::{Action, Outcome, Rules, Scope, Summary};

use super::category::Category;
use super::dates::{is_date, is_ids};
use super::entity::{self, Entity};
use super::names::{self, Treatment};
use super::{RecordKind, Redaction, emails, free_text};
use crate::config::RedactMode;

/// The rules for one response.
#[derive(Debug)]
pub struct ResponseRules {
    redaction: Arc<Redaction>,
    kind: RecordKind,
    hides_messages: bool,
    replaced: u64,
}

impl ResponseRules {
    pub(super) fn new(redaction: Arc<Redaction>, kind: RecordKind) -> Self {
        Self { redaction, kind, hides_messages: false, replaced: 0 }
    }

    /// Hides every sentence of Nexudus.
    #[must_use]
    pub(super) fn without_messages(self) -> Self {
        Self { hides_messages: true, ..self }
    }

    /// Returns how many values were replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    fn hides_all(&self) -> bool {
        self.redaction.mode == RedactMode::All
    }

    /// Returns the scope of a value that no rule is about.
    fn open(&self, entity: Entity) -> Scope {
        let context = u16::from(entity);
        if self.hides_all() {
            let action = Action::Replace(Category::Text.index());
            return Scope { action, context: context | KEEPS_NUMBER };
        }
        Scope { action: Action::Scan, context }
    }

    fn treatment(&self, entity: Entity, name: &str) -> Treatment {
        match entity {
            entity::SEVERAL => self.redaction.treatment(self.kind, name),
            entity => self.redaction.fields.treatment(entity, name),
        }
    }

    fn keeps(&self, entity: Entity, name: &str) -> bool {
        match entity {
            entity::SEVERAL => self.redaction.keeps(self.kind, name),
            entity => self.redaction.fields.keeps(entity, name),
        }
    }

    fn write_token(&mut self, category: Category, text: &str, out: &mut String) -> Outcome {
        self.replaced += 1;
        self.redaction.write_token(category, text, out);
        Outcome::Text
    }
}

impl Rules for ResponseRules {
    fn root(&self) -> Scope {
        self.open(self.kind.0.single().unwrap_or(entity::SEVERAL))
    }

    fn member(&mut self, parent: Scope, key: &str) -> Scope {
        // What a path to several kinds of records hides is decided for that path alone.
        if u16::from(entity::SEVERAL) == parent.context & ENTITY {
            return self.decide(parent, key);
        }
        let (mode, decisions) = (self.redaction.mode, self.redaction.fields.decisions());
        if let Some(scope) = decisions.get(mode, parent, key) {
            return scope;
        }
        let scope = self.decide(parent, key);
        if is_name(key) {
            decisions.put(mode, parent, key, scope);
        }
        scope
    }

    fn rename(&mut self, _: Scope, key: &str, out: &mut String) -> bool {
        if is_name(key) {
            return false;
        }
        if self.hides_all() {
            self.write_token(Category::Text, key, out);
            return true;
        }
        free_text::scrub(&self.redaction, key, false, out)
    }

    fn is_suspect(&self, scope: Scope, summary: Summary) -> bool {
        scope.context & MESSAGE != 0
            || summary.has_at()
            || summary.has_encoded()
            || summary.has_delimiter()
            || !summary.is_ascii()
            || summary.digits() as usize >= MIN_PHONE_DIGITS
    }

    fn string(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        let category = match scope.action {
            Action::Keep => return Outcome::Keep,
            Action::Null => return Outcome::Null,
            Action::Scan => {
                let is_plain = is_date(text) || is_ids(text);
                let is_message = scope.context & MESSAGE != 0;
                if is_message && self.hides_messages && !text.trim().is_empty() {
                    return self.write_token(Category::Text, text, out);
                }
                if is_plain || !free_text::scrub(&self.redaction, text, is_message, out) {
                    return Outcome::Keep;
                }
                self.replaced += 1;
                return Outcome::Text;
            }
            Action::Replace(index) | Action::Embedded(index) => Category::from_index(index),
        };
        let has = |flag: u16| scope.context & flag != 0;
        if text.trim().is_empty() || (has(ID) && is_ids(text)) {
            return Outcome::Keep;
        }
        if category == Category::Text && is_date(text) {
            return Outcome::Null;
        }
        // Nexudus itself, as an editor.
        if has(PERSON) && text == "[System]" {
            return Outcome::Keep;
        }
        let is_email = has(PERSON) && emails::is_email(text);
        self.write_token(if is_email { Category::Email } else { category }, text, out)
    }

    fn opaque(&mut self, _: Scope, text: &str, out: &mut String) -> Outcome {
        self.write_token(Category::Text, text, out)
    }

    fn embedded(&mut self, scope: Scope) -> Scope {
        let entity = Entity::try_from(scope.context & ENTITY).unwrap_or(entity::UNKNOWN);
        match scope.action {
            // What changed in a record: any text in it may be the old value.
            Action::Embedded(category) => {
                Scope { action: Action::Replace(category), context: scope.context | KEEPS_NUMBER }
            }
            Action::Keep | Action::Scan | Action::Replace(_) | Action::Null => self.open(entity),
        }
    }

    fn keeps_number(&self, scope: Scope) -> bool {
        scope.context & KEEPS_NUMBER != 0
    }
}

impl ResponseRules {
    /// Returns the scope of a member, by all rules.
    fn decide(&self, parent: Scope, key: &str) -> Scope {
        let name = names::normalize(key);
        let entity = Entity::try_from(parent.context & ENTITY).unwrap_or(entity::UNKNOWN);
        let context = u16::from(entity);
        if self.hides_all() && self.keeps(entity, &name) {
            return Scope { action: Action::Keep, context };
        }
        let hidden = |action: fn(u8) -> Action, category: Category, flags| Scope {
            action: action(category.index()),
            context: context | flags,
        };
        match self.treatment(entity, &name) {
            Treatment::Hide(category) => hidden(Action::Replace, category, 0),
            Treatment::HideText(category) => hidden(Action::Replace, category, KEEPS_NUMBER),
            Treatment::Person => hidden(Action::Replace, Category::Name, PERSON),
            Treatment::Json if self.hides_all() => hidden(Action::Replace, Category::Bio, 0),
            Treatment::Json => hidden(Action::Embedded, Category::Bio, PERSON),
            Treatment::Drop => Scope { action: Action::Null, context },
            Treatment::Open => self.open_member(parent, &name, entity),
        }
    }

    /// Returns the scope of a member that no rule is about by its name: below a hidden value it is
    /// hidden too.
    fn open_member(&self, parent: Scope, name: &str, entity: Entity) -> Scope {
        let below = match self.redaction.entity_of_member(name) {
            entity::UNKNOWN => entity,
            other => other,
        };
        let id_flags = if is_id_name(name) { ID | KEEPS_NUMBER } else { 0 };
        match parent.action {
            Action::Replace(category) if self.hides_all() && category == Category::Text.index() => {
                let open = self.open(below);
                Scope { context: open.context | id_flags, ..open }
            }
            Action::Replace(_) => Scope { context: parent.context | id_flags, ..parent },
            Action::Embedded(_) | Action::Null | Action::Keep => parent,
            Action::Scan => {
                // `Errors[].Message` and the `Message` of an envelope may repeat what was sent.
                let is_message =
                    matches!(name, "message" | "errors" | "errormessage" | "error_description");
                let flag = if is_message { MESSAGE } else { parent.context & MESSAGE };
                Scope { action: Action::Scan, context: u16::from(below) | flag }
            }
        }
    }
}

/// Says whether a key is the name of a field, and no value.
fn is_name(key: &str) -> bool {
    key.len() <= MAX_NAME
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$-".contains(&byte))
        && key.bytes().filter(u8::is_ascii_digit).count() < MIN_PHONE_DIGITS
}

fn is_id_name(name: &str) -> bool {
    name.ends_with("id") || name.ends_with("ids") || name.ends_with("guid")
}

/// The entity of the record that a value belongs to.
const ENTITY: u16 = 0xff;

/// Numbers stay.
const KEEPS_NUMBER: u16 = 1 << 8;

/// A name or an e-mail address.
const PERSON: u16 = 1 << 9;

/// A sentence of Nexudus, which may quote what was sent.
const MESSAGE: u16 = 1 << 10;

/// An identifier.
const ID: u16 = 1 << 11;

/// Longest key that is taken for a name without a look, in bytes.
const MAX_NAME: usize = names::MAX_NAME;

/// Fewest digits of a telephone number: as E.164 has for the shortest.
const MIN_PHONE_DIGITS: usize = 7;
