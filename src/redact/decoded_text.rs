//! A text as its reader sees it: without the encodings of addresses and of HTML, without invisible
//! letters, with the digits and marks of ASCII.
//!
//! Finders look at each of the texts; what they find is replaced in the text as it is written.

use std::ops::Range;

use super::entities;
use super::folding::{self, Folded};
use super::work::Work;

/// The result of one step on a text, and where its letters stood before.
#[derive(Debug, Default)]
pub(super) struct DecodedText {
    text: String,
    /// In the order of both texts. What stands between two of them was left out.
    pieces: Vec<Piece>,
}

/// A part of the text that was copied, or decoded into one letter.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins, after and before.
    start: u32,
    from: u32,
    /// How long it was before.
    length: u32,
    is_copied: bool,
}

impl DecodedText {
    /// Decodes each character once; `None`: nothing is encoded.
    pub(super) fn decode(text: &str, work: &mut Work) -> Option<Self> {
        let (mut out, mut at) = (Self::default(), 0);
        while let Some(next) = work.next_byte(text, at, |it| matches!(it, b'%' | b'&' | 0x80..)) {
            out.copy(text, at..next);
            at = match text.as_bytes()[next] {
                b'%' => out.decode_percent(text, next, work),
                b'&' => out.decode_entity(text, next, work),
                _ => out.fold(text, next, work),
            };
        }
        out.finish(text, at, work)
    }

    /// Leaves out the tags of HTML that stand inside of a word; any other one ends a line.
    pub(super) fn without_tags(text: &str, work: &mut Work) -> Option<Self> {
        let (mut out, mut at, mut has_comment_end) = (Self::default(), 0, true);
        while let Some(open) = work.next_byte(text, at, |it| it == b'<') {
            out.copy(text, at..open);
            let rest = &text[open + 1..];
            if has_comment_end && rest.starts_with("!--") {
                let end = rest[3..].find("-->");
                work.spend(end.unwrap_or(rest.len()));
                has_comment_end = end.is_some();
                if let Some(end) = end {
                    at = open + 4 + end + 3;
                    continue;
                }
            }
            let end = work.forward(text, open + 1, |letter| !matches!(letter, '<' | '>'));
            let name = rest.strip_prefix('/').unwrap_or(rest);
            let name = &name[..name.bytes().take(16).take_while(u8::is_ascii_alphanumeric).count()];
            let is_tag = text[end..].starts_with('>') && !name.is_empty();
            if !is_tag {
                out.copy(text, open..open + 1);
                at = open + 1;
                continue;
            }
            if !INLINE.iter().any(|inline| name.eq_ignore_ascii_case(inline)) {
                out.put('\n', open..end + 1);
            }
            at = end + 1;
        }
        out.finish(text, at, work)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns where a part of this text stood before.
    pub(super) fn origin(&self, span: &Range<usize>) -> Range<usize> {
        let piece = |at: usize| {
            let next = self.pieces.partition_point(|piece| piece.start as usize <= at);
            next.checked_sub(1).map(|nth| self.pieces[nth])
        };
        let Some((first, last)) = piece(span.start).zip(piece(span.end.saturating_sub(1))) else {
            return 0..0;
        };
        let start = first.from as usize;
        let start = if first.is_copied { start + span.start - first.start as usize } else { start };
        let end = last.from as usize;
        let inside =
            if last.is_copied { span.end - last.start as usize } else { last.length as usize };
        start..end + inside
    }

    /// Ends the text; `None`: it is the same.
    fn finish(mut self, text: &str, at: usize, work: &Work) -> Option<Self> {
        if work.is_over() {
            return None;
        }
        self.copy(text, at..text.len());
        (self.text != text).then_some(self)
    }

    fn copy(&mut self, text: &str, part: Range<usize>) {
        let part = part.start..part.end.min(text.len());
        if part.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(last) if last.is_copied && (last.from + last.length) as usize == part.start => {
                last.length += short(part.len());
            }
            Some(_) | None => self.push(&part, true),
        }
        self.text.push_str(&text[part]);
    }

    fn put(&mut self, letter: char, part: Range<usize>) {
        self.push(&part, false);
        self.text.push(letter);
    }

    fn push(&mut self, part: &Range<usize>, is_copied: bool) {
        let (start, from) = (short(self.text.len()), short(part.start));
        self.pieces.push(Piece { start, from, length: short(part.len()), is_copied });
    }

    /// Decodes the bytes from here on that are written as `%40`, or one that is written as `%u0040`.
    fn decode_percent(&mut self, text: &str, start: usize, work: &mut Work) -> usize {
        let bytes = text.as_bytes();
        let hex = |at: usize, length: usize| {
            let digits = bytes.get(at..at + length)?;
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
            u32::from_str_radix(digits, 16).ok()
        };
        if matches!(bytes.get(start + 1), Some(b'u' | b'U'))
            && let Some(letter) = hex(start + 2, 4).and_then(char::from_u32)
        {
            self.put(letter, start..start + 6);
            return start + 6;
        }
        let (mut plain, mut at) = (vec![], start);
        while let Some(byte) = hex(at + 1, 2).filter(|_| bytes.get(at) == Some(&b'%')) {
            plain.push(u8::try_from(byte).unwrap_or_default());
            at += 3;
        }
        work.spend(at - start + 1);
        let mut from = start;
        for chunk in plain.utf8_chunks() {
            for letter in chunk.valid().chars() {
                self.put(letter, from..from + 3 * letter.len_utf8());
                from += 3 * letter.len_utf8();
            }
            let invalid = from + 3 * chunk.invalid().len();
            self.copy(text, from..invalid);
            from = invalid;
        }
        if at == start {
            self.copy(text, start..start + 1);
        }
        at.max(start + 1)
    }

    fn decode_entity(&mut self, text: &str, start: usize, work: &mut Work) -> usize {
        let found = entities::read(&text[start..]);
        work.spend(found.steps);
        match found.letter {
            Some(letter) => self.put(letter, start..start + found.length),
            None => self.copy(text, start..start + 1),
        }
        start + found.letter.map_or(1, |_| found.length)
    }

    fn fold(&mut self, text: &str, start: usize, work: &mut Work) -> usize {
        let letter = text[start..].chars().next().unwrap_or_default();
        let end = start + letter.len_utf8().max(1);
        work.spend(FOLDING_COST);
        match folding::fold(letter) {
            Folded::Same => self.copy(text, start..end),
            Folded::To(other) => self.put(other, start..end),
            Folded::Gone => {}
        }
        end
    }
}

/// Returns a place in a text. [`super::free_text`] looks at no text above 4 GiB.
fn short(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The elements of HTML that may stand inside of a word without a gap.
const INLINE: [&str; 26] = [
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "em", "font", "i", "ins",
    "kbd", "mark", "s", "small", "span", "strong", "sub", "sup", "tt", "u", "var", "wbr",
];

/// The cost of folding a letter, in steps.
const FOLDING_COST: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::work::tests::assert_linear;
    use super::*;

    fn decoded(text: &str) -> Option<String> {
        DecodedText::decode(text, &mut Work::new()).map(|it| it.text)
    }

    #[test]
    fn encoded_characters_are_decoded_once() {
        for (text, plain) in [
            ("ada%40x", "ada@x"),
            ("%C3%A9%20%2540", "é %40"),
            ("a%ff%41", "a%ffA"),
            ("%u0040%U00e9", "@é"),
            ("ada&#64;x &#0064;&#x40 &#X040;", "ada@x @@ @"),
            ("020&nbsp;7&NBSP;8&nbsp9", "020 7 8 9"),
            ("&amp;#64;&commat;", "&#64;@"),
            ("０２０\u{a0}７９４６", "020 7946"),
            ("ada＠x。y", "ada@x.y"),
            ("a\u{200b}d\u{ad}a", "ada"),
            ("٠٢٠", "020"),
            ("7946–0958", "7946-0958"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(plain), "{text}");
        }
        for text in ["", "plain", "100% of & all", "%4", "&;", "&#;", "&#x;", "&nosuch;", "é", "%%"]
        {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn tags_inside_of_words_go_and_others_end_a_line() {
        for (text, plain) in [
            ("ada<wbr>@x", "ada@x"),
            ("a<B class=x>b</b>c", "abc"),
            ("1</p><p>2", "1\n\n2"),
            ("a<!-- <p> -->b", "ab"),
            ("a<br/>b", "a\nb"),
            ("<!--a<b>c", "<!--ac"),
        ] {
            let found = DecodedText::without_tags(text, &mut Work::new()).map(|it| it.text);
            assert_eq!(found.as_deref(), Some(plain), "{text}");
        }
        for text in ["1 < 2", "<ada@x.test", "a > b", "<", "<>"] {
            assert!(DecodedText::without_tags(text, &mut Work::new()).is_none(), "{text}");
        }
    }

    #[test]
    fn each_part_leads_back_to_where_it_stood() {
        let text = "x é%40&#64;y";
        let decoded = DecodedText::decode(text, &mut Work::new()).unwrap();
        assert_eq!(decoded.text(), "x é@@y");
        for (part, origin) in
            [("x é", "x é"), ("@", "%40"), ("@@", "%40&#64;"), ("é@@y", "é%40&#64;y")]
        {
            let start = decoded.text().find(part).unwrap();
            assert_eq!(&text[decoded.origin(&(start..start + part.len()))], origin);
        }
        let text = "ada<wbr>@x";
        let stripped = DecodedText::without_tags(text, &mut Work::new()).unwrap();
        assert_eq!(&text[stripped.origin(&(0..5))], text);
        assert_eq!(&text[stripped.origin(&(0..3))], "ada");
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        assert_linear(|text, work| drop(DecodedText::decode(text, work)));
        assert_linear(|text, work| drop(DecodedText::without_tags(text, work)));
    }
}
