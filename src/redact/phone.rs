//! Telephone numbers inside of texts.

use std::ops::Range;

/// Returns where telephone numbers stand in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (vec![], 0);
    while let Some(start) = bytes[at..].iter().position(|it| is_start(*it)).map(|it| at + it) {
        let run = Run::read(text, start);
        at = run.end.max(start + 1);
        if is_inside_word(text, start) {
            continue;
        }
        match run.date_length(&text[start..run.end]) {
            // A number may follow a date without a word between.
            Some(length) => at = start + length,
            None if run.is_number(text, start) => found.push(start..run.end),
            None => {}
        }
    }
    found
}

/// Digits with separators between them.
#[derive(Debug, Default)]
struct Run {
    end: usize,
    digits: usize,
    /// The lengths of the groups of digits.
    groups: Vec<usize>,
    has_plus: bool,
    has_bracket: bool,
    only_dots: bool,
}

impl Run {
    fn read(text: &str, start: usize) -> Self {
        let mut run = Self { end: start, only_dots: true, ..Self::default() };
        let (mut separators, mut in_group) = (0, false);
        for (offset, letter) in text[start..].char_indices() {
            let at = start + offset;
            match letter {
                '0'..='9' => {
                    if in_group {
                        *run.groups.last_mut().unwrap_or(&mut 0) += 1;
                    } else {
                        run.groups.push(1);
                    }
                    run.digits += 1;
                    run.end = at + 1;
                    (in_group, separators) = (true, 0);
                    continue;
                }
                '+' if offset == 0 => run.has_plus = true,
                '(' | ')' => run.has_bracket = true,
                ' '
                | '.'
                | '-'
                | '/'
                | '\u{a0}'
                | '\u{202f}'
                | '\u{2009}'
                | '\u{2010}'..='\u{2013}' => {}
                _ => break,
            }
            run.only_dots &= letter == '.';
            in_group = false;
            separators += 1;
            if separators > MAX_SEPARATORS {
                break;
            }
        }
        run
    }

    /// Returns the length of a date at the start: `2026-11-30`, `30.11.2026`.
    fn date_length(&self, text: &str) -> Option<usize> {
        let [first, second, third, ..] = *self.groups.as_slice() else { return None };
        let is_date = (first == 4 && second <= 2 && third <= 2)
            || (first <= 2
                && second <= 2
                && (third == 4 || (third == 2 && self.groups.len() == 3)));
        let length = first + second + third + 2;
        let bytes = text.as_bytes();
        let marks = [bytes.get(first).copied(), bytes.get(first + 1 + second).copied()];
        let is_mark = |mark: Option<u8>| matches!(mark, Some(b'-' | b'.' | b'/'));
        (is_date && marks[0] == marks[1] && is_mark(marks[0])).then_some(length)
    }

    fn is_number(&self, text: &str, start: usize) -> bool {
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&self.digits) || is_followed(text, self.end) {
            return false;
        }
        let is_address =
            self.only_dots && self.groups.len() == 4 && self.groups.iter().all(|it| *it <= 3);
        if is_address {
            return false;
        }
        if self.has_plus || text[start..].starts_with("00") {
            return true;
        }
        let is_grouped = self.groups.len() >= 2;
        let is_local = self.groups == [3, 4] && !self.only_dots;
        let starts_with_zero = text[start..].trim_start_matches('(').starts_with('0');
        match self.digits {
            9.. if is_grouped || starts_with_zero => true,
            _ if self.has_bracket && is_grouped => true,
            _ => is_local || is_announced(&text[..start]),
        }
    }
}

fn is_start(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'(')
}

/// Says whether the run continues a word, a number or an identifier.
fn is_inside_word(text: &str, start: usize) -> bool {
    let before =
        |back: usize| start.checked_sub(back).and_then(|at| text.as_bytes().get(at)).copied();
    match before(1) {
        Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => true,
        Some(b'-') => {
            before(2).is_some_and(|it| it.is_ascii_alphanumeric()) && !is_announced(&text[..start])
        }
        Some(b'.' | b'/' | b':' | b',') => before(2).is_some_and(|it| it.is_ascii_digit()),
        Some(_) | None => false,
    }
}

fn is_followed(text: &str, end: usize) -> bool {
    text[end..].chars().next().is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Says whether a word for a telephone stands close before.
fn is_announced(before: &str) -> bool {
    let start = before.char_indices().rev().nth(16).map_or(0, |(at, _)| at);
    let near = before[start..].to_lowercase();
    ["tel", "phone", "mob", "call", "fax", "cell", "whatsapp", "sms"]
        .iter()
        .any(|word| near.contains(word))
}

/// As E.164 has: seven digits at least in practice, fifteen at most.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;

/// Most separators between two digits: `) `.
const MAX_SEPARATORS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|it| &text[it]).collect()
    }

    #[test]
    fn numbers_are_found_in_the_forms_in_which_people_write_them() {
        for number in [
            "+447700900123",
            "+44 7700 900123",
            "0044 7700 900123",
            "(020) 7946 0958",
            "020 7946 0958",
            "+1 (555) 010-0199",
            "555-010-0199",
            "07700900123",
            "+34 600.123.456",
            "+33-1-99-00-12-34",
        ] {
            for text in [
                number.to_owned(),
                format!("Call {number}, please."),
                format!("30.11.2026 {number}"),
            ] {
                assert_eq!(numbers(&text), [number], "{text}");
            }
        }
        assert_eq!(numbers("Tel: 7946095"), ["7946095"]);
        assert_eq!(numbers("ring 555-0199 or 555-0100"), ["555-0199", "555-0100"]);
    }

    #[test]
    fn what_has_digits_and_is_no_number_stays() {
        for text in [
            "2026-11-30",
            "30/11/2026 09:34",
            "2026-11-30T09:34:37",
            "Invoice 1400100137",
            "192.168.100.200",
            "id 5a9df2e1-7a11-4d94-a1f2-3d6f0a4a1b7c",
            "1,234,567.89 EUR",
            "INV-2026-000123",
            "v1.2.3",
            "10 desks, 20 chairs",
            "00:00:00",
        ] {
            assert_eq!(numbers(text), [""; 0], "{text}");
        }
    }
}
