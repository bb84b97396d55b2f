//! Personal values inside of a text: e-mail addresses, telephone numbers, addresses of other hosts.

use std::cmp::Reverse;
use std::ops::Range;

use super::category::Category;
use super::decoded_text::DecodedText;
use super::work::Work;
use super::{Redaction, emails, phone, quotations, urls};

/// Where personal values stand in a text.
type Spans = Vec<(Range<usize>, Category)>;

/// Writes the text with tokens in it to `out`, and says whether there are any. In a message of
/// Nexudus, what stands in quotation marks may be what was sent. A text that takes too much work
/// becomes one token.
pub(super) fn scrub(redaction: &Redaction, text: &str, is_message: bool, out: &mut String) -> bool {
    let mut work = Work::new();
    let spans = find(redaction, text, is_message, &mut work);
    if work.is_over() {
        redaction.write_token(Category::Text, text, out);
        return true;
    }
    let mut done = 0;
    for (span, category) in &spans {
        out.push_str(&text[done..span.start]);
        redaction.write_token(*category, &text[span.clone()], out);
        done = span.end;
    }
    if !spans.is_empty() {
        out.push_str(&text[done..]);
    }
    !spans.is_empty()
}

/// Says whether there is anything personal in a text.
pub(super) fn is_changed(redaction: &Redaction, text: &str) -> bool {
    let mut work = Work::new();
    let spans = find(redaction, text, false, &mut work);
    work.is_over() || !spans.is_empty()
}

/// Finds what is personal in a text: as it is written, and as its reader sees it.
fn find(redaction: &Redaction, text: &str, is_message: bool, work: &mut Work) -> Spans {
    let origin = redaction.origin.to_string();
    let search = |text: &str, work: &mut Work| {
        urls::find(text, &origin, work);
        urls::find_bare(text, work);
        emails::find(text, work);
        phone::find(text, work);
        if is_message {
            quotations::find(&redaction.fields, text, work);
        }
        work.take_found()
    };
    let mut spans = search(text, work);
    let steps = decode(text, work);
    for (nth, step) in steps.iter().enumerate() {
        let found = search(step.text(), work).into_iter();
        spans.extend(found.map(|(span, category)| {
            let before = steps[..=nth].iter().rev();
            (before.fold(span, |span, step| step.origin(&span)), category)
        }));
    }
    join(spans)
}

/// Decodes a text, one encoding after the other, and leaves out the tags at last.
fn decode(text: &str, work: &mut Work) -> Vec<DecodedText> {
    if text.len() > MAX_TEXT {
        work.give_up();
    }
    let mut steps: Vec<DecodedText> = vec![];
    loop {
        let before = steps.last().map_or(text, DecodedText::text);
        let Some(next) = DecodedText::decode(before, work) else { break };
        if steps.len() == MAX_DECODING {
            work.give_up();
            break;
        }
        steps.push(next);
    }
    let before = steps.last().map_or(text, DecodedText::text);
    let bare = DecodedText::without_tags(before, work);
    steps.extend(bare);
    steps
}

/// Sorts what was found, and joins what overlaps.
fn join(mut found: Spans) -> Spans {
    found.sort_by_key(|(span, _)| (span.start, Reverse(span.end)));
    found.dedup_by(|(next, _), (span, _)| {
        let is_joined = next.start < span.end;
        if is_joined {
            span.end = span.end.max(next.end);
        }
        is_joined
    });
    found
}

/// How often a text may be encoded. One that is encoded more often is hidden as a whole.
const MAX_DECODING: usize = 4;

/// Longest text that is looked at, in bytes; the rewriter of JSON shows parts of 128 KiB.
const MAX_TEXT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::super::tests::redaction;
    use super::super::work::tests::assert_linear;
    use super::*;
    use crate::config::RedactMode;

    fn scrubbed(text: &str) -> Option<String> {
        let (redaction, mut out) = (redaction(RedactMode::Table, false), String::new());
        scrub(&redaction, text, true, &mut out).then_some(out)
    }

    #[test]
    fn values_are_found_in_every_encoding() {
        for (text, rest) in [
            ("to ada%40example.com!", ["to ", "!"]),
            ("ada%40example%2Ecom", ["", ""]),
            ("ada%252540example.com", ["", ""]),
            ("ada&#64;example.com", ["", ""]),
            ("x ada&amp;#0064;example&period;com y", ["x ", " y"]),
            ("ada＠example.com", ["", ""]),
            ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", ["", ""]),
            ("a\u{200b}da@exam\u{ad}ple.com", ["", ""]),
            ("<p>ada<wbr>@example.com</p>", ["<p>", "</p>"]),
            ("&lt;p&gt;ada&lt;wbr&gt;@example.com", ["&", ""]),
            ("at ０２０ ７９４６ ０９５８.", ["at ", "."]),
            ("at 020&nbsp;7946&nbsp;0958.", ["at ", "."]),
            ("020<span>7946</span>0958", ["", ""]),
            ("tel:+44%207700%20900123", ["tel:", ""]),
            ("https://files.example/a%20b?sig=1", ["", ""]),
            ("to https%3A%2F%2Ffiles.example%2Fx%3Fsig%3D1", ["to ", ""]),
            ("&quot;Ada&quot; is taken", ["&quot;", "&quot; is taken"]),
        ] {
            let out = scrubbed(text).unwrap_or_default();
            let token = out.strip_prefix(rest[0]).and_then(|out| out.strip_suffix(rest[1]));
            let token = token.unwrap_or_else(|| panic!("{text}: {out}"));
            assert!(token.starts_with("«PII:") && token.ends_with('»'), "{text}: {out}");
            assert_eq!(token.matches("PII").count(), 1, "{text}: {out}");
        }
        for text in
            ["100% & more, caf\u{e9} – bar", "a%20b", "<b>bold</b> &amp; <i>thin</i>", "1 < 2"]
        {
            assert_eq!(scrubbed(text), None, "{text}");
        }
    }

    #[test]
    fn what_takes_too_much_work_is_hidden_as_a_whole() {
        for text in [
            "a@b ".repeat(30_000),
            format!("ada%{}40example.com", "25".repeat(8)),
            "x".repeat(MAX_TEXT + 1),
        ] {
            let out = scrubbed(&text).unwrap();
            assert!(out.starts_with("«PII:TEXT:") && out.len() < 40, "{}", &out[..40]);
        }
        let page =
            "<p class=\"x\">Rooms 12 &amp; 13 are caf\u{e9}s, ask ada&#64;example.com.</p>\n";
        let (redaction, mut work) = (redaction(RedactMode::Table, false), Work::new());
        let found = find(&redaction, &page.repeat((128 << 10) / page.len()), false, &mut work);
        assert!(!work.is_over() && found.len() > 1_000, "{work:?}");
    }

    #[test]
    fn twice_the_text_is_twice_the_work() {
        let redaction = redaction(RedactMode::Table, false);
        assert_linear(|text, work| drop(find(&redaction, text, true, work)));
    }
}
