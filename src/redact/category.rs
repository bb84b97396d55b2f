//! The kinds of personal data: those of the official tools, and two of our own.

/// The kind of value that a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Persons, companies, billing names.
    Name,
    /// E-mail addresses.
    Email,
    /// Telephone and fax numbers.
    Phone,
    /// Streets, post codes, cities, states.
    Address,
    /// Dates of birth.
    Dob,
    /// Tax ids, banks, cards.
    Financial,
    /// Handles in networks, own web sites.
    Social,
    /// Notes, profiles, messages, gender.
    Bio,
    /// An address of another host. Ours: it may open a document without this proxy.
    Url,
    /// Any other text, where all texts are hidden. Ours.
    Text,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Name,
        Self::Email,
        Self::Phone,
        Self::Address,
        Self::Dob,
        Self::Financial,
        Self::Social,
        Self::Bio,
        Self::Url,
        Self::Text,
    ];

    /// Returns the word in the token.
    pub fn word(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Address => "ADDRESS",
            Self::Dob => "DOB",
            Self::Financial => "FINANCIAL",
            Self::Social => "SOCIAL",
            Self::Bio => "BIO",
            Self::Url => "URL",
            Self::Text => "TEXT",
        }
    }

    /// Reads the word in a token or in a table.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }

    /// Returns the number under which the rewriter carries it.
    pub(super) fn index(self) -> u8 {
        let at = Self::ALL.iter().position(|it| *it == self);
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default()
    }

    /// Returns the category of such a number.
    pub(super) fn from_index(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::Text)
    }
}
