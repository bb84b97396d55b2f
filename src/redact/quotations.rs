//! Quotations in a sentence of Nexudus, which may repeat what was sent.

use super::category::Category;
use super::entity;
use super::fields::FieldRules;
use super::names::{self, Treatment};
use super::work::Work;

/// Finds what stands in quotation marks, unless it is the name of a field.
pub(super) fn find(fields: &FieldRules, text: &str, work: &mut Work) {
    for (open, close) in MARKS {
        let (last, last_good) = last_closing(text, close, work);
        let mut from = 0;
        while from < text.len() && !work.is_over() {
            let at = work.forward(text, from, |letter| letter != open);
            let start = at + open.len_utf8();
            if start > text.len() {
                break;
            }
            from = start;
            // An apostrophe stands inside of a word.
            if text[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
                continue;
            }
            let end = match (last_good, last) {
                (Some(good), _) if start <= good => next_good(text, start, close, work),
                // An apostrophe may stand in it, so that the last mark counts.
                (_, Some(last)) if start <= last && open == '\'' => last,
                (_, Some(last)) if start <= last => {
                    work.forward(text, start, |letter| letter != close)
                }
                (_, _) => break,
            };
            let quoted = text.get(start..end).unwrap_or_default();
            if is_value(fields, quoted, work) {
                work.add(start..end, Category::Text);
            }
            from = end + close.len_utf8();
        }
    }
}

const MARKS: [(char, char); 6] =
    [('\'', '\''), ('"', '"'), ('‘', '’'), ('“', '”'), ('«', '»'), ('`', '`')];

fn is_value(fields: &FieldRules, quoted: &str, work: &mut Work) -> bool {
    // A name is compared with every rule.
    work.spend(quoted.len() + NAME_COST);
    let treatment = fields.treatment(entity::UNKNOWN, &names::normalize(quoted));
    treatment == Treatment::Open && !quoted.trim().is_empty()
}

/// Returns where the last closing mark stands, and the last one behind which no word goes on: in one
/// pass, so that a mark without an end costs nothing.
fn last_closing(text: &str, close: char, work: &mut Work) -> (Option<usize>, Option<usize>) {
    let (mut last, mut end) = (None, text.len());
    while let Some(at) = previous(text, end, close, work) {
        last = last.or(Some(at));
        if is_good(text, at, close) {
            return (last, Some(at));
        }
        end = at;
    }
    (last, None)
}

fn previous(text: &str, end: usize, close: char, work: &mut Work) -> Option<usize> {
    work.backward(text, end, |letter| letter != close).checked_sub(close.len_utf8())
}

/// Returns where a quotation ends: at the first mark behind which no word goes on. There is one.
fn next_good(text: &str, start: usize, close: char, work: &mut Work) -> usize {
    let mut at = work.forward(text, start, |letter| letter != close);
    while at < text.len() && !is_good(text, at, close) && !work.is_over() {
        at = work.forward(text, at + close.len_utf8(), |letter| letter != close);
    }
    at
}

fn is_good(text: &str, at: usize, close: char) -> bool {
    let behind = text.get(at + close.len_utf8()..).and_then(|rest| rest.chars().next());
    !behind.is_some_and(char::is_alphanumeric)
}

/// The cost of comparing one name with the rules, in steps.
const NAME_COST: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::super::work::tests::assert_linear;
    use super::*;

    fn quoted(text: &str) -> Vec<&str> {
        let mut work = Work::new();
        find(&FieldRules::default(), text, &mut work);
        work.take_found().into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn what_is_quoted_is_found_and_the_names_of_fields_are_not() {
        for (text, found) in [
            ("'ada lovelace' is taken; 'FullName' must differ", &["ada lovelace"][..]),
            ("The name \"Ada Lovelace\" isn't free", &["Ada Lovelace"]),
            ("'O'Neill' and 'Ada'", &["O'Neill", "Ada"]),
            ("“Ada” «Bob» ‘Eve’ `Jo`", &["Eve", "Ada", "Bob", "Jo"]),
            ("Ada isn't there, isn't she", &[]),
            ("'Ada", &[]),
            ("it is \"Ada\"s", &["Ada"]),
            ("'' and ' '", &[]),
            ("", &[]),
        ] {
            assert_eq!(quoted(text), found, "{text}");
        }
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        let fields = FieldRules::default();
        assert_linear(|text, work| find(&fields, text, work));
    }
}
