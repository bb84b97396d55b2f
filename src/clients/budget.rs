//! Budgets: so much in a span of time that begins with the first use, and comes back as a whole.

use std::fmt;
use std::time::Duration;

use crate::config::{format_duration, format_size, parse_duration, parse_size};

/// So much in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How much.
    pub most: u64,
    /// In how long.
    pub per: Duration,
}

/// The budgets of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Requests other than GET, HEAD and OPTIONS.
    pub writes: Option<Budget>,
    /// DELETE, and commands that delete.
    pub deletes: Option<Budget>,
    /// Bytes of the bodies of responses.
    pub bytes: Option<Budget>,
}

/// The unit that a budget, or the number of all requests, counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metered {
    /// Requests.
    Requests,
    /// Writes.
    Writes,
    /// Deletions.
    Deletes,
    /// Bytes of responses.
    Bytes,
}

impl Metered {
    /// The name in texts and in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Writes => "writes",
            Self::Deletes => "deletes",
            Self::Bytes => "bytes",
        }
    }
}

impl Budget {
    /// Reads `50/day`.
    pub fn parse_count(text: &str) -> Option<Self> {
        Self::parse_amount(text, |most| most.parse().ok())
    }

    /// Reads `200MiB/day`.
    pub fn parse_bytes(text: &str) -> Option<Self> {
        Self::parse_amount(text, parse_size)
    }

    /// Reads what [`Budget::format`] writes.
    pub fn parse(metered: Metered, text: &str) -> Option<Self> {
        match metered {
            Metered::Bytes => Self::parse_bytes(text),
            Metered::Requests | Metered::Writes | Metered::Deletes => Self::parse_count(text),
        }
    }

    fn parse_amount(text: &str, amount: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let (most, per) = text.split_once('/')?;
        let most = amount(most.trim()).filter(|most| *most > 0)?;
        let named = SPANS.iter().find(|(name, _)| *name == per.trim());
        let per = named.map_or_else(|| parse_duration(per.trim()), |(_, span)| Some(*span))?;
        (per >= SHORTEST_SPAN).then_some(Self { most, per })
    }

    /// Writes it as [`Budget::parse_count`] reads it.
    pub fn format_count(&self) -> String {
        format!("{}/{}", self.most, span(self.per))
    }

    /// Writes it as [`Budget::parse_bytes`] reads it.
    pub fn format_bytes(&self) -> String {
        format!("{}/{}", format_size(self.most), span(self.per))
    }

    /// Writes it for what it counts.
    pub fn format(&self, metered: Metered) -> String {
        match metered {
            Metered::Bytes => self.format_bytes(),
            Metered::Requests | Metered::Writes | Metered::Deletes => self.format_count(),
        }
    }
}

impl Budgets {
    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns each budget with what it counts.
    pub fn iter(&self) -> impl Iterator<Item = (Metered, Budget)> {
        let Self { writes, deletes, bytes } = *self;
        let all = [(Metered::Writes, writes), (Metered::Deletes, deletes), (Metered::Bytes, bytes)];
        all.into_iter().filter_map(|(metered, budget)| Some((metered, budget?)))
    }
}

/// The budgets in short: `50/day writes, 200MiB/day`.
impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.iter().map(|(metered, budget)| match metered {
            Metered::Bytes => budget.format_bytes(),
            Metered::Requests | Metered::Writes | Metered::Deletes => {
                format!("{} {}", budget.format_count(), metered.as_str())
            }
        });
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

fn span(per: Duration) -> String {
    let named = SPANS.iter().find(|(_, span)| *span == per);
    named.map_or_else(|| format_duration(per), |(name, _)| (*name).to_owned())
}

const SPANS: [(&str, Duration); 3] = [
    ("hour", Duration::from_secs(60 * 60)),
    ("day", Duration::from_secs(24 * 60 * 60)),
    ("week", Duration::from_secs(7 * 24 * 60 * 60)),
];

/// Shorter ones are rates.
const SHORTEST_SPAN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read_as_it_is_written() {
        for text in ["50/day", "5/hour", "1/week", "7/600s"] {
            assert_eq!(Budget::parse_count(text).unwrap().format_count(), text);
        }
        for text in ["200MiB/day", "64KiB/hour", "100B/2h"] {
            assert_eq!(Budget::parse_bytes(text).unwrap().format_bytes(), text);
        }
        for text in ["", "50", "0/day", "x/day", "50/", "50/fortnight", "50/1s", "-1/day"] {
            assert_eq!(Budget::parse_count(text), None, "{text}");
        }
        assert_eq!(Budget::parse_count("200MiB/day"), None);
        assert_eq!(Budget::parse_bytes("200MB/day"), None);
    }
}
