//! The work that one text may take: a text comes from other people, and the thread serves everyone.
//!
//! Each finder walks through a text by [`Work`] alone, so that its steps are counted. A text that
//! takes more than [`MAX_WORK`] is hidden as a whole.

use std::ops::Range;

use super::category::Category;

/// The steps that are left for a text, and what was found in it.
#[derive(Debug)]
pub(super) struct Work {
    left: usize,
    is_over: bool,
    found: Vec<(Range<usize>, Category)>,
}

impl Work {
    /// Begins a text.
    pub(super) fn new() -> Self {
        Self::with(MAX_WORK)
    }

    fn with(left: usize) -> Self {
        Self { left, is_over: false, found: vec![] }
    }

    /// Says whether the text took more steps than it may: nothing is known about it then.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ends all work on the text.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
    }

    /// Counts steps.
    pub(super) fn spend(&mut self, steps: usize) {
        match self.left.checked_sub(steps) {
            Some(left) => self.left = left,
            None => self.give_up(),
        }
    }

    /// Remembers where something personal stands. Each costs, because each becomes a token.
    pub(super) fn add(&mut self, span: Range<usize>, category: Category) {
        self.spend(TOKEN_COST);
        if !self.is_over {
            self.found.push((span, category));
        }
    }

    /// Returns what was found since the last time.
    pub(super) fn take_found(&mut self) -> Vec<(Range<usize>, Category)> {
        std::mem::take(&mut self.found)
    }

    /// Returns where the next of these bytes stands; `None` also when the work is over.
    pub(super) fn next_byte(
        &mut self,
        text: &str,
        from: usize,
        is_meant: impl Fn(u8) -> bool,
    ) -> Option<usize> {
        let rest = text.as_bytes().get(from..).filter(|_| !self.is_over)?;
        let found = rest.iter().position(|byte| is_meant(*byte));
        self.spend(found.unwrap_or(rest.len()) + 1);
        found.map(|at| from + at).filter(|_| !self.is_over)
    }

    /// Returns where the letters end that `goes_on` is true for; the end of the text at the latest.
    pub(super) fn forward(
        &mut self,
        text: &str,
        from: usize,
        goes_on: impl Fn(char) -> bool,
    ) -> usize {
        let rest = text.get(from..).filter(|_| !self.is_over).unwrap_or_default();
        let length = rest.find(|letter| !goes_on(letter)).unwrap_or(rest.len());
        self.spend(length + 1);
        from + length
    }

    /// Returns where the letters before `end` begin that `goes_on` is true for.
    pub(super) fn backward(
        &mut self,
        text: &str,
        end: usize,
        goes_on: impl Fn(char) -> bool,
    ) -> usize {
        let before = text.get(..end).filter(|_| !self.is_over).unwrap_or_default();
        let length = before.len() - before.trim_end_matches(goes_on).len();
        self.spend(length + 1);
        end - length
    }
}

/// Most steps on one text. The longest text that is looked at has 128 KiB; HTML of that length takes
/// a third of them. A step is a byte that is looked at: all of them take about 10 ms.
const MAX_WORK: usize = 8 << 20;

/// The cost of a token in steps: an HMAC, and a place in a table.
const TOKEN_COST: usize = 1 << 10;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns how many steps it takes.
    pub(in crate::redact) fn steps(of: impl FnOnce(&mut Work)) -> usize {
        let mut work = Work::with(usize::MAX);
        of(&mut work);
        usize::MAX - work.left
    }

    /// Checks that twice the text takes twice the steps.
    pub(in crate::redact) fn assert_linear(of: impl Fn(&str, &mut Work)) {
        for unit in ODD {
            let steps = |times: usize| {
                let text = unit.repeat(times);
                steps(|work| of(&text, work))
            };
            let (once, twice) = (steps(2_000), steps(4_000));
            // The first and the last unit may take fewer steps, and become no token.
            assert!(twice <= 2 * once + 4 * TOKEN_COST, "{unit:?}: {once} steps, then {twice}");
        }
    }

    /// What a text is made of that makes a careless finder begin again and again.
    pub(in crate::redact) const ODD: &[&str] = &[
        "a://",
        "://",
        "//",
        "//a.b",
        "\\",
        "\\\\a ",
        "/\\",
        ":",
        "a:",
        "http:",
        "https:/a.b ",
        "http://",
        "https://spaces.nexudus.com/",
        "a/b?",
        "/",
        "?",
        "\"a ",
        "\"a",
        "'a ",
        "'",
        "\"",
        "a'b ",
        "“a ",
        "”",
        "«a ",
        "`a ",
        "\" ",
        "a\" ",
        "@",
        "a@",
        "@a",
        "@[",
        "a@[",
        "@[]",
        "a.",
        "\"@",
        "\"a\"@",
        "a@b ",
        ".@",
        "@.",
        "!@",
        "1",
        "1 ",
        "12 ",
        "+",
        "+1",
        "(",
        "(1",
        "1)",
        "1-",
        "1.1.2026 ",
        "2026-11-30 ",
        "1.1.26 ",
        "2026-11-30",
        "-1",
        ".1",
        "1.",
        "tel 1",
        "020 7946 0958 ",
        "x1-",
        " - ",
        "()",
        "&",
        "&#",
        "&#6",
        "&#0",
        "&#x",
        "&a",
        "&amp",
        "&amp;",
        "&#64;",
        "&nbsp;",
        "&&#64;",
        "%",
        "%2",
        "%25",
        "%40",
        "%ff",
        "%c3",
        "%C5%BF",
        "%u",
        "%u0040",
        "<",
        "<a",
        "<a ",
        "<b>",
        "<!--",
        "<!---->",
        "</",
        ">",
        "<br>",
        "< ",
        "<wbr>@",
        "é",
        "＠",
        "９",
        "\u{200b}",
        "\u{a0}1",
        "１2",
        "ſ",
    ];

    #[test]
    fn a_text_that_takes_too_many_steps_is_given_up() {
        let mut work = Work::with(10);
        assert_eq!(work.forward("abc def", 0, |letter| letter != ' '), 3);
        assert_eq!(work.backward("abc def", 7, |letter| letter != ' '), 4);
        assert!(!work.is_over());
        assert_eq!(work.next_byte("abc def", 0, |byte| byte == b'f'), None);
        assert!(work.is_over());
        work.add(0..1, Category::Email);
        assert_eq!(work.take_found(), []);
    }
}
