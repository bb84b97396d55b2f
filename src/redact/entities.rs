//! References to characters in HTML: `&#64;`, `&#x40;`, `&commat;`.

/// The reference behind an `&`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    /// The character; `None`: the `&` is one itself.
    pub letter: Option<char>,
    /// The length of the reference, in bytes.
    pub length: usize,
    /// The bytes that were looked at.
    pub steps: usize,
}

/// Reads the reference at the start of a text. The semicolon may be missing, as in browsers.
pub(super) fn read(text: &str) -> Entity {
    let rest = &text.as_bytes()[1..];
    let (digits, radix, prefix) = match rest {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 16, 3),
        [b'#', digits @ ..] => (digits, 10, 2),
        name => return read_name(name),
    };
    let (mut code, mut length) = (0_u32, 0);
    for byte in digits {
        let Some(digit) = char::from(*byte).to_digit(radix) else { break };
        code = code.saturating_mul(radix).saturating_add(digit);
        length += 1;
    }
    let letter = char::from_u32(code).filter(|_| length > 0 && code > 0);
    let end = usize::from(digits.get(length) == Some(&b';'));
    Entity { letter, length: prefix + length + end, steps: prefix + length + 1 }
}

fn read_name(rest: &[u8]) -> Entity {
    let length = rest.iter().take(MAX_NAME).take_while(|it| it.is_ascii_alphanumeric()).count();
    let name = std::str::from_utf8(&rest[..length]).unwrap_or_default();
    let steps = COST + length;
    if rest.get(length) == Some(&b';') {
        let found = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        return Entity { letter: found.map(|(_, letter)| *letter), length: length + 2, steps };
    }
    // Browsers read the oldest of them without the semicolon, in front of any letter.
    let begins = |known: &str| {
        let start = name.get(..known.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(known))
    };
    let found = NAMES[..OLDEST].iter().find(|(known, _)| begins(known));
    let length = found.map_or(0, |(known, _)| known.len() + 1);
    Entity { letter: found.map(|(_, letter)| *letter), length, steps }
}

/// How many of the names need no semicolon.
const OLDEST: usize = 6;

/// Names of characters that stand in addresses and numbers, or beside them.
const NAMES: [(&str, char); 37] = [
    ("nbsp", ' '),
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("shy", '\u{ad}'),
    ("apos", '\''),
    ("commat", '@'),
    ("period", '.'),
    ("plus", '+'),
    ("lpar", '('),
    ("rpar", ')'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("sol", '/'),
    ("bsol", '\\'),
    ("colon", ':'),
    ("quest", '?'),
    ("num", '#'),
    ("percnt", '%'),
    ("equals", '='),
    ("lowbar", '_'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("ndash", '-'),
    ("mdash", '-'),
    ("ensp", ' '),
    ("emsp", ' '),
    ("thinsp", ' '),
    ("numsp", ' '),
    ("tab", '\t'),
    ("newline", '\n'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
    ("nobreak", '\u{2060}'),
];

/// Longest name, in bytes.
const MAX_NAME: usize = 12;

/// The cost of looking for a name, in steps.
const COST: usize = 64;
