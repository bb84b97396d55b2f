//! What holds for any bytes: the fuzz target and `rewriter` ask the same.

use json_redactor::{Action, Error, Outcome, Rewriter, Rules, Scope, Summary};

/// Checks that pieces do not matter, that what is passed on is bounded and understood, and that
/// nothing of a string survives where every string is hidden.
pub(crate) fn check(bytes: &[u8]) {
    let Some((piece, text)) = bytes.split_first() else { return };
    let piece = usize::from(*piece) + 1;
    for action in
        [Action::Keep, Action::Scan, Action::Replace(0), Action::Embedded(0), Action::Null]
    {
        let whole = rewrite(text, usize::MAX, action);
        assert_eq!(rewrite(text, piece, action), whole, "pieces of {piece}, {action:?}");
        let Ok(out) = &whole.1 else { continue };
        let again = rewrite(out, piece, action);
        assert_eq!(again.1.as_ref(), Ok(out), "{action:?}");
        if matches!(action, Action::Replace(_) | Action::Null) {
            let is_known = |byte: &u8| b"[]{}:, \n\r\t\"0truefalsn#k".contains(byte);
            assert!(out.iter().all(is_known), "{action:?} {:?}", String::from_utf8_lossy(out));
        }
    }
}

/// Returns what was passed on before an error, and the whole or the error.
fn rewrite(text: &[u8], piece: usize, action: Action) -> (Vec<u8>, Result<Vec<u8>, Error>) {
    let (mut rewriter, mut out) = (Rewriter::new(Hiding(action)), vec![]);
    let mut pieces = text.chunks(piece);
    let written = pieces.try_for_each(|it| {
        let written = rewriter.write(it, &mut out);
        assert!(rewriter.state_bytes() <= 1 << 20);
        written
    });
    let ended = written.and_then(|()| rewriter.finish(&mut out));
    let is_error = ended.is_err();
    // Before an error, more pieces may have let less through.
    (if is_error { vec![] } else { out.clone() }, ended.map(|()| out))
}

struct Hiding(Action);

impl Rules for Hiding {
    fn root(&self) -> Scope {
        Scope { action: self.0, context: 0 }
    }

    fn member(&mut self, parent: Scope, _: &str) -> Scope {
        parent
    }

    fn rename(&mut self, _: Scope, _: &str, out: &mut String) -> bool {
        out.push('k');
        true
    }

    fn is_suspect(&self, _: Scope, summary: Summary) -> bool {
        summary.has_at()
    }

    fn string(&mut self, scope: Scope, text: &str, out: &mut String) -> Outcome {
        match scope.action {
            Action::Scan => out.push_str(&text.replace('@', "#")),
            Action::Keep | Action::Replace(_) | Action::Embedded(_) | Action::Null => out.push('#'),
        }
        Outcome::Text
    }

    fn opaque(&mut self, _: Scope, _: &str, out: &mut String) -> Outcome {
        out.push('#');
        Outcome::Text
    }

    fn embedded(&mut self, scope: Scope) -> Scope {
        Scope { action: Action::Scan, ..scope }
    }

    fn keeps_number(&self, _: Scope) -> bool {
        false
    }
}
