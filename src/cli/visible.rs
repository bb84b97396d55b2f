//! Text of other people, made visible: a person who decides must see each character that is sent.

use std::fmt::Write as _;

/// Writes every character that cannot be seen, steers a terminal or turns the order of letters as
/// `⟨U+202E⟩`, and that bracket itself too, so that no two texts look alike.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            // Writing to a `String` never fails.
            let _ = write!(shown, "⟨U+{:04X}⟩", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Does the same for the lines of a text, each indented.
pub(super) fn visible_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| format!("  | {}", visible(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Says whether a character has no look of its own: control, format and filler characters, variation
/// selectors, tags, and spaces that look like another (Unicode 16, categories Cc, Cf, Zl, Zp and
/// default-ignorable).
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || letter == '⟨'
        || (letter.is_whitespace() && letter != ' ')
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        for (text, shown) in [
            ("DELETE /a?b=José", "DELETE /a?b=José"),
            ("a\u{202e}b", "a⟨U+202E⟩b"),
            ("\u{1b}[2J", "⟨U+001B⟩[2J"),
            ("a\u{200b}b\u{a0}c", "a⟨U+200B⟩b⟨U+00A0⟩c"),
            ("⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"),
            ("\u{e0041}", "⟨U+E0041⟩"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("{\n\"a\"\r\n}"), "  | {\n  | \"a\"⟨U+000D⟩\n  | }");
    }
}
