//! What the rewriter promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[path = "../fuzzed/mod.rs"]
mod fuzzed;
mod hostile;
mod properties;
mod values;

use json_redactor::{Action, Error, Outcome, Rewriter, Rules, Scope, Summary};

/// Hides members whose name begins with `secret`, drops `dropped`, keeps `kept`, and hides every `@`
/// elsewhere.
struct Hiding;

impl Rules for Hiding {
    fn root(&self) -> Scope {
        SCAN
    }

    fn member(&mut self, parent: Scope, key: &str) -> Scope {
        let name = key.to_lowercase();
        let action = match name.as_str() {
            _ if name.starts_with("secret") => Action::Replace(0),
            "dropped" => Action::Null,
            "kept" => Action::Keep,
            "data" => Action::Embedded(0),
            _ => parent.action,
        };
        Scope { action, context: parent.context }
    }

    fn rename(&mut self, _: Scope, key: &str, out: &mut String) -> bool {
        out.push_str("key");
        key.contains('@')
    }

    fn is_suspect(&self, _: Scope, summary: Summary) -> bool {
        summary.has_at()
    }

    fn string(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        if scope.action == Action::Scan {
            out.push_str(&text.replace('@', "#"));
        } else {
            out.push_str("«hidden»");
        }
        Outcome::Text
    }

    fn opaque(&mut self, _: Scope, _: &str, out: &mut String) -> Outcome {
        out.push_str("«opaque»");
        Outcome::Text
    }

    fn embedded(&mut self, scope: Scope) -> Scope {
        Scope { action: Action::Scan, ..scope }
    }

    fn keeps_number(&self, _: Scope) -> bool {
        false
    }
}

const SCAN: Scope = Scope { action: Action::Scan, context: 0 };

/// Rewrites a text in pieces of this size.
fn rewrite_in(text: &[u8], piece: usize) -> Result<String, (Error, String)> {
    let (mut rewriter, mut out) = (Rewriter::new(Hiding), vec![]);
    let pieces = text.chunks(piece.max(1)).try_for_each(|it| rewriter.write(it, &mut out));
    let ended = pieces.and_then(|()| rewriter.finish(&mut out));
    let out = String::from_utf8(out).unwrap();
    ended.map(|()| out.clone()).map_err(|error| (error, out))
}

/// Rewrites a text, which gives the same in pieces of any size.
fn rewrite(text: &str) -> String {
    let whole = rewrite_in(text.as_bytes(), usize::MAX).unwrap();
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(rewrite_in(text.as_bytes(), piece).unwrap(), whole, "pieces of {piece}");
    }
    whole
}

/// Returns why a text is refused, in pieces of any size.
fn refusal(text: &[u8]) -> Error {
    let (error, _) = rewrite_in(text, usize::MAX).unwrap_err();
    for piece in [1, 2, 5] {
        assert_eq!(rewrite_in(text, piece).unwrap_err().0, error, "pieces of {piece}");
    }
    error
}
