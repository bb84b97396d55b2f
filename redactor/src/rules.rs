//! What the user of the rewriter decides.

use super::Summary;

/// What happens to the strings and numbers of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They stay, and are not looked at.
    Keep,
    /// Strings that [`Rules::is_suspect`] are shown to [`Rules::string`]. Strings that hold JSON are
    /// rewritten as JSON. Numbers stay.
    Scan,
    /// Every string is shown to [`Rules::string`], numbers become 0 unless
    /// [`Rules::keeps_number`]. The number is the caller's own.
    Replace(u8),
    /// As [`Action::Replace`], but a string that holds a JSON object or array is rewritten as JSON.
    Embedded(u8),
    /// Strings become `null`, numbers become 0.
    Null,
}

/// The rules for one value. Elements of an array have the scope of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What happens to strings and numbers.
    pub action: Action,
    /// Whatever the rules have to remember about where the value stands.
    pub context: u16,
}

/// What becomes of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The string stays as it is written.
    Keep,
    /// The text that was written to `out` takes its place.
    Text,
    /// `null` takes its place.
    Null,
}

/// The decisions about a text.
///
/// Decisions about keys are remembered: [`Rules::member`] and [`Rules::rename`] must give the same
/// answer for the same arguments as long as a [`super::Rewriter`] lives.
pub trait Rules {
    /// Returns the scope of the whole text.
    fn root(&self) -> Scope;

    /// Returns the scope of a member of an object that has the scope `parent`. The key comes without
    /// escapes.
    fn member(&mut self, parent: Scope, key: &str) -> Scope;

    /// Writes another name for a key to `out`, and says whether there is one.
    fn rename(&mut self, parent: Scope, key: &str, out: &mut String) -> bool;

    /// Says whether a string under [`Action::Scan`] must be shown to [`Rules::string`].
    fn is_suspect(&self, scope: Scope, summary: Summary) -> bool;

    /// Decides about one string. A very long string under [`Action::Scan`] comes in parts.
    fn string(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome;

    /// Decides about a string that begins like JSON and is none.
    fn opaque(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome;

    /// Returns the scope of the text inside a string that holds JSON.
    fn embedded(&mut self, scope: Scope) -> Scope;

    /// Says whether numbers stay under [`Action::Replace`].
    fn keeps_number(&self, scope: Scope) -> bool;
}
