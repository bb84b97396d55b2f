//! What kinds of bytes a string has: enough to pass over most strings without reading them again.

/// The kinds of bytes in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    flags: u8,
    digits: u32,
}

impl Summary {
    /// Looks at each byte once.
    #[inline]
    pub fn of(text: &[u8]) -> Self {
        let (mut flags, mut digits) = (0, 0_u32);
        for byte in text {
            let kind = KINDS[usize::from(*byte)];
            flags |= kind;
            digits += u32::from(kind >> 7);
        }
        Self { flags, digits }
    }

    /// Looks at each byte once, up to the first quotation mark or backslash; also returns where that is.
    #[inline]
    pub(crate) fn of_start(text: &[u8]) -> (Self, usize) {
        let (mut flags, mut digits) = (0, 0_u32);
        for (at, byte) in text.iter().enumerate() {
            let kind = KINDS[usize::from(*byte)];
            if kind & MARK != 0 {
                return (Self { flags, digits }, at);
            }
            flags |= kind;
            digits += u32::from(kind >> 7);
        }
        (Self { flags, digits }, text.len())
    }

    /// Says whether there is an `@`.
    pub fn has_at(self) -> bool {
        self.flags & AT != 0
    }

    /// Says whether there is a `%` or `&`, which may begin an encoded character.
    pub fn has_encoded(self) -> bool {
        self.flags & ENCODED != 0
    }

    /// Says whether there is a `/`, `\\` or `:`, one of which every address has.
    pub fn has_delimiter(self) -> bool {
        self.flags & DELIMITER != 0
    }

    /// Says whether there are characters beyond ASCII.
    pub fn is_ascii(self) -> bool {
        self.flags & NON_ASCII == 0
    }

    /// Returns the number of digits.
    pub fn digits(self) -> u32 {
        self.digits
    }

    /// Says whether there is a control character, which JSON forbids in a string.
    pub(crate) fn has_control(self) -> bool {
        self.flags & CONTROL != 0
    }
}

const AT: u8 = 1;
const ENCODED: u8 = 2;
const DELIMITER: u8 = 8;
const NON_ASCII: u8 = 16;
const CONTROL: u8 = 32;
const MARK: u8 = 64;
const DIGIT: u8 = 128;

static KINDS: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte {
            0..0x20 => CONTROL,
            0x22 => MARK,
            0x5c => MARK | DELIMITER,
            0x25 | 0x26 => ENCODED,
            0x2f | 0x3a => DELIMITER,
            0x30..=0x39 => DIGIT,
            0x40 => AT,
            0x80.. => NON_ASCII,
            _ => 0,
        };
        byte += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_byte_is_seen() {
        let summary = Summary::of("https://x/é?a=1%202".as_bytes());
        assert!(summary.has_delimiter() && summary.has_encoded() && !summary.is_ascii());
        assert_eq!((summary.digits(), summary.has_at(), summary.has_control()), (4, false, false));
        assert!(Summary::of(b"a@b").has_at() && Summary::of(b"a\n").has_control());
        for (text, at) in [(&b"a1/\"@"[..], 3), (b"a1/\\@", 3), (b"a1/", 3)] {
            assert_eq!(Summary::of_start(text), (Summary::of(b"a1/"), at));
        }
        for address in ["a:b", "a/b", r"a\b"] {
            assert!(Summary::of(address.as_bytes()).has_delimiter());
        }
        assert!(!Summary::of(b"a.b").has_delimiter());
    }
}
