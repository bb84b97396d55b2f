//! Telephone numbers inside of texts.

use super::category::Category;
use super::work::Work;

/// Finds the telephone numbers in a text.
pub(super) fn find(text: &str, work: &mut Work) {
    let mut at = 0;
    while let Some(start) = work.next_byte(text, at, is_start) {
        let is_inside = is_inside_word(text, start, work);
        let run = Run::read(text.as_bytes(), start, !is_inside);
        work.spend(run.steps);
        // A number may follow a date without a word between.
        at = run.date_end.unwrap_or(run.end.max(start + 1));
        if !is_inside && run.date_end.is_none() && run.is_number(text, start, work) {
            work.add(start..run.end, Category::Phone);
        }
    }
}

/// Digits with separators between them.
#[derive(Debug, Default)]
struct Run {
    end: usize,
    digits: usize,
    /// The lengths of the first groups of digits, and how many there are.
    groups: [usize; KEPT_GROUPS],
    group_count: usize,
    has_plus: bool,
    has_bracket: bool,
    only_dots: bool,
    /// Where the date at its start ends: `2026-11-30`, `30.11.2026`. Nothing behind it was read.
    date_end: Option<usize>,
    steps: usize,
}

impl Run {
    fn read(text: &[u8], start: usize, may_be_date: bool) -> Self {
        let mut run = Self { end: start, only_dots: true, steps: FIXED_STEPS, ..Self::default() };
        let (mut separators, mut in_group, mut first) = (0, false, None);
        for (offset, byte) in text[start..].iter().enumerate() {
            run.steps += 1;
            match byte {
                b'0'..=b'9' => {
                    if !in_group {
                        if may_be_date && run.group_count == 3 {
                            run.date_end = run.date_end(text, first.unwrap_or(start), false);
                        }
                        if run.date_end.is_some() {
                            return run;
                        }
                        run.group_count += 1;
                    }
                    first = first.or(Some(start + offset));
                    if let Some(group) = run.groups.get_mut(run.group_count - 1) {
                        *group += 1;
                    }
                    run.digits += 1;
                    run.end = start + offset + 1;
                    (in_group, separators) = (true, 0);
                    continue;
                }
                b'+' if offset == 0 => run.has_plus = true,
                b'(' | b')' => run.has_bracket = true,
                b' ' | b'.' | b'-' | b'/' => {}
                _ => break,
            }
            run.only_dots &= *byte == b'.';
            in_group = false;
            separators += 1;
            if separators > MAX_SEPARATORS {
                break;
            }
        }
        if may_be_date && run.group_count == 3 {
            run.date_end = run.date_end(text, first.unwrap_or(start), true);
        }
        run
    }

    /// Returns where the date ends that the first three groups are; `is_all`: nothing follows.
    fn date_end(&self, text: &[u8], first: usize, is_all: bool) -> Option<usize> {
        let [year, month, day, ..] = self.groups;
        let is_date = (year == 4 && month <= 2 && day <= 2)
            || (year <= 2 && month <= 2 && (day == 4 || (day == 2 && is_all)));
        let mark = |at: usize| text.get(at).copied().filter(|it| matches!(it, b'-' | b'.' | b'/'));
        let marks = [mark(first + year), mark(first + year + 1 + month)];
        let length = year + month + day + 2;
        (is_date && marks[0].is_some() && marks[0] == marks[1]).then_some(first + length)
    }

    fn is_number(&self, text: &str, start: usize, work: &mut Work) -> bool {
        if self.digits < MIN_DIGITS || is_followed(text, self.end) {
            return false;
        }
        let groups = self.groups.get(..self.group_count).unwrap_or_default();
        let is_address = self.only_dots && groups.len() == 4 && groups.iter().all(|it| *it <= 3);
        if is_address {
            return false;
        }
        let is_grouped = self.group_count >= 2;
        if self.digits > MAX_DIGITS {
            // One number behind the other, or the number of a card.
            return is_grouped && !self.only_dots;
        }
        if self.has_plus || text[start..].starts_with("00") {
            return true;
        }
        let is_pair = *groups == [4, 4] && !is_range(&text[start..self.end]);
        let is_local = (*groups == [3, 4] || is_pair) && !self.only_dots;
        let starts_with_zero = text[start..].trim_start_matches('(').starts_with('0');
        match self.digits {
            9.. if is_grouped || starts_with_zero => true,
            _ if self.has_bracket && is_grouped => true,
            _ => is_local || is_announced(&text[..start], work),
        }
    }
}

/// Says whether two groups of four digits are two years, the number of a record in a year, or two
/// times of a day: `2025 2026`, `2026-0012`, `0900-1730`.
fn is_range(text: &str) -> bool {
    let digits = |part: Option<&str>| part.and_then(|part| part.parse::<u16>().ok());
    let [Some(first), Some(last)] = [digits(text.get(..4)), digits(text.get(text.len() - 4..))]
    else {
        return false;
    };
    let is_year = |number: u16| (1900..2100).contains(&number);
    let is_time = |number: u16| number <= 2400 && number % 100 < 60;
    let is_spaced = text[4..text.len() - 4].trim().is_empty();
    if is_spaced {
        is_year(first) && is_year(last)
    } else {
        is_year(first) || (is_time(first) && is_time(last))
    }
}

fn is_start(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'(')
}

/// Says whether the run continues a word, a number or an identifier.
fn is_inside_word(text: &str, start: usize, work: &mut Work) -> bool {
    let before =
        |back: usize| start.checked_sub(back).and_then(|at| text.as_bytes().get(at)).copied();
    match before(1) {
        Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => true,
        Some(b'-') => {
            before(2).is_some_and(|it| it.is_ascii_alphanumeric())
                && !is_announced(&text[..start], work)
        }
        Some(b'.' | b'/' | b':' | b',') => before(2).is_some_and(|it| it.is_ascii_digit()),
        Some(_) | None => false,
    }
}

fn is_followed(text: &str, end: usize) -> bool {
    text[end..].chars().next().is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Says whether a word for a telephone stands close before.
fn is_announced(before: &str, work: &mut Work) -> bool {
    work.spend(WORDS_COST);
    let start = before.char_indices().rev().nth(16).map_or(0, |(at, _)| at);
    let near = before[start..].to_lowercase();
    ["tel", "phone", "mob", "call", "fax", "cell", "whatsapp", "sms"]
        .iter()
        .any(|word| near.contains(word))
}

/// As E.164 has: seven digits at least in practice, fifteen at most.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;

/// The groups of digits whose lengths matter: of a date, an address of a host, a number.
const KEPT_GROUPS: usize = 4;

/// The bytes that are looked at around a run.
const FIXED_STEPS: usize = 8;

/// The cost of looking for the words for a telephone, in steps.
const WORDS_COST: usize = 1 << 8;

/// Most separators between two digits: `) `.
const MAX_SEPARATORS: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::work::tests::assert_linear;
    use super::*;

    fn numbers(text: &str) -> Vec<&str> {
        let mut work = Work::new();
        find(text, &mut work);
        work.take_found().into_iter().map(|(span, _)| &text[span]).collect()
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        assert_linear(find);
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
        assert_eq!(numbers("at 7946 0958 or 6123-4567"), ["7946 0958", "6123-4567"]);
        assert_eq!(numbers("(30.11.2026)"), [""; 0]);
        assert_eq!(numbers("020 7946 0958 / 07700 900123"), ["020 7946 0958 / 07700 900123"]);
        assert_eq!(numbers("card 4242 4242 4242 4242"), ["4242 4242 4242 4242"]);
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
            "2025 2026",
            "2026-0012",
            "0900-1730",
            "12345678901234567890",
        ] {
            assert_eq!(numbers(text), [""; 0], "{text}");
        }
    }
}
