//! Letters that look like others, or like nothing.

/// The reading of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// Itself.
    Same,
    /// A letter of ASCII.
    To(char),
    /// Nothing: the letter is invisible.
    Gone,
}

/// Returns what a letter beyond ASCII is read as, where that matters for addresses and numbers.
pub(super) fn fold(letter: char) -> Folded {
    match letter {
        // The wide forms of ASCII.
        '\u{ff01}'..='\u{ff5e}' => from_code(u32::from(letter) - 0xfee0),
        '\u{fe6b}' => Folded::To('@'),
        '\u{3002}' | '\u{ff61}' | '\u{fe52}' | '\u{2024}' => Folded::To('.'),
        '\u{2044}' | '\u{2215}' => Folded::To('/'),
        '\u{2236}' | '\u{fe55}' | '\u{a789}' => Folded::To(':'),
        '\u{207a}' | '\u{fe62}' => Folded::To('+'),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => Folded::To('-'),
        '\u{2028}' | '\u{2029}' | '\u{85}' => Folded::To('\n'),
        '\u{ad}'
        | '\u{34f}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{20e3}' => Folded::Gone,
        _ if letter.is_whitespace() => Folded::To(' '),
        _ => digit(u32::from(letter)).map_or(Folded::Same, |digit| from_code(0x30 + digit)),
    }
}

fn from_code(code: u32) -> Folded {
    char::from_u32(code).map_or(Folded::Same, Folded::To)
}

/// Returns the value of a decimal digit of another script, or of a digit in a circle or raised.
fn digit(code: u32) -> Option<u32> {
    match code {
        0xb2 | 0xb3 => return Some(code - 0xb0),
        0xb9 => return Some(1),
        0x2070 | 0x2074..=0x2079 => return Some(code - 0x2070),
        0x2460..=0x2468 => return Some(code - 0x245f),
        // Five styles of digits for formulas.
        0x1d7ce..=0x1d7ff => return Some((code - 0x1d7ce) % 10),
        _ => {}
    }
    let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    Some(code - zero)
}

/// The zeros of the scripts that are in use (`Nd` of Unicode).
const ZEROS: [u32; 25] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x2080, 0xa8d0,
];
