//! The ASCII letters that a server may substitute for letters beyond ASCII.
//!
//! Windows converts text to a code page by best fit; .NET compares text without accents and
//! invisible letters; databases do both. The best fits are those of Microsoft's table of code page
//! 1252 (`bestfit1252.txt` at unicode.org), as far as Unicode does not decompose them, and of
//! US-ASCII for the letters in 1252 itself. Only lower case is listed, because the text is in lower
//! case.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Returns a text without accents and invisible letters.
pub(super) fn without_accents(text: &str) -> String {
    #[cfg(test)]
    DECOMPOSED.set(DECOMPOSED.get() + text.len());
    let mut out = String::with_capacity(text.len());
    for letter in NFKD.normalize(text).chars() {
        match (ligature(letter), best_fit(letter)) {
            (Some(letters), _) => out.push_str(letters),
            (None, Some(fit)) => out.push(fit),
            (None, None) if letter.is_ascii() => out.push(letter),
            (None, None) if letter.is_alphanumeric() && !is_accent(letter) => out.push(letter),
            (None, None) => {}
        }
    }
    out
}

/// Returns a text as Windows converts it to a code page: letter for letter.
pub(super) fn to_code_page(text: &str) -> String {
    #[cfg(test)]
    DECOMPOSED.set(DECOMPOSED.get() + text.len());
    let nearest = |letter: char| {
        let base = NFKD.normalize(letter.encode_utf8(&mut [0; 4])).chars().next();
        let base = base.unwrap_or(letter);
        let first = || ligature(base).and_then(|letters| letters.chars().next());
        best_fit(base).or_else(first).unwrap_or(base)
    };
    text.chars().map(nearest).collect()
}

/// Returns about how many letters a letter beyond ASCII is decomposed into at most.
pub(super) fn max_decomposition(letter: char) -> usize {
    match letter {
        '\u{fdfa}' => 18,
        '\u{3200}'..='\u{33ff}' | '\u{fdf0}'..='\u{fdff}' => 8,
        _ => 2,
    }
}

/// Says whether a text contains letters that no tool needs to write into a path: invisible ones,
/// and those that stand for an ASCII letter or for a delimiter of paths. A letter with an accent is
/// not among them.
pub(super) fn has_confusables(text: &str) -> bool {
    #[cfg(test)]
    DECOMPOSED.set(DECOMPOSED.get() + text.len());
    text.chars().filter(|letter| !letter.is_ascii()).any(|letter| {
        let mut buffer = [0; 4];
        let one = &*letter.encode_utf8(&mut buffer);
        let is_accented = NFD.normalize(one).starts_with(|base: char| base.is_ascii_alphanumeric());
        let is_disguised = !is_accented && NFKD.normalize(one).contains(|it: char| it.is_ascii());
        is_disguised || is_invisible(letter) || best_fit(letter).is_some_and(is_path_delimiter)
    })
}

fn is_path_delimiter(letter: char) -> bool {
    r"/\.;:%?#~()$".contains(letter)
}

/// Combining marks that European letters have, and those around symbols.
fn is_accent(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// `Default_Ignorable_Code_Point` of Unicode, and the replacement for broken UTF-8.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Letters that compare equal to two; Windows takes the first of them.
fn ligature(letter: char) -> Option<&'static str> {
    match letter {
        'æ' => Some("ae"),
        'œ' => Some("oe"),
        'þ' => Some("th"),
        'ß' => Some("ss"),
        _ => None,
    }
}

fn best_fit(letter: char) -> Option<char> {
    best_fit_letter(letter).or_else(|| best_fit_mark(letter))
}

fn best_fit_letter(letter: char) -> Option<char> {
    Some(match letter {
        'α' => 'a',
        'ƀ' => 'b',
        'đ' | 'ð' | 'ɖ' | 'δ' => 'd',
        'ε' | 'ɛ' | '\u{212e}' => 'e',
        'ƒ' | 'φ' => 'f',
        'ǥ' | 'ɡ' | 'γ' => 'g',
        'ħ' | 'һ' => 'h',
        'ı' | 'ɨ' => 'i',
        'ł' | 'ƚ' => 'l',
        '\u{2229}' => 'n',
        'ø' | 'ɵ' | 'ω' | '\u{2205}' => 'o',
        'π' | '\u{20a7}' | '\u{2118}' => 'p',
        'σ' | 'ς' => 's',
        'ŧ' | 'ƫ' | 'ʈ' | 'θ' | 'τ' => 't',
        '\u{221a}' => 'v',
        'ƶ' => 'z',
        '\u{221e}' => '8',
        _ => return None,
    })
}

fn best_fit_mark(letter: char) -> Option<char> {
    Some(match letter {
        '\u{2010}'..='\u{2015}'
        | '\u{2212}'
        | '\u{2500}'
        | '\u{252c}'
        | '\u{2534}'
        | '\u{2550}'
        | '\u{2564}'..='\u{2569}' => '-',
        '\u{2b9}' | '\u{2bc}' | '\u{2c8}' | '\u{2018}'..='\u{201b}' | '\u{2032}' => '\'',
        '\u{2ba}' | '\u{201c}'..='\u{201f}' => '"',
        '\u{2cb}' | '\u{2035}' => '`',
        '\u{2c4}' | '\u{2303}' => '^',
        '\u{2cd}' | '\u{2584}' => '_',
        '\u{2261}' | '\u{2264}' | '\u{2265}' => '=',
        '\u{1c3}' => '!',
        '\u{1c0}' | '\u{2223}' | '\u{2758}' => '|',
        '\u{2217}' => '*',
        '\u{2044}' | '\u{2215}' | '\u{29f8}' => '/',
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' => '\\',
        '\u{3002}' => '.',
        '\u{37e}' => ';',
        '\u{589}' | '\u{2236}' | '\u{a789}' => ':',
        '\u{66a}' => '%',
        '\u{223c}' => '~',
        '\u{2320}' => '(',
        '\u{2321}' => ')',
        '\u{3008}' => '<',
        '\u{3009}' => '>',
        '\u{301a}' => '[',
        '\u{301b}' => ']',
        _ => return None,
    })
}

const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();

#[cfg(test)]
thread_local! {
    /// Bytes of text that were decomposed.
    pub(super) static DECOMPOSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
