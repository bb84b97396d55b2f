//! What follows when the engine is behind a member: it was emptied or restored, or lost writes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::record::Incarnation;

/// What the engine says about having been found behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// How much longer no token may be spent.
    pub left: Duration,
    /// The members that have written again what they have.
    pub reported: BTreeSet<Incarnation>,
}

impl Behind {
    /// Says whether a token may be spent all the same: every member of the last list that the
    /// caller saw before has reported.
    pub fn is_settled(&self, last: &BTreeSet<Incarnation>) -> bool {
        !last.is_empty() && last.is_subset(&self.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<Incarnation> {
        names.iter().map(|name| Incarnation::named(*name)).collect()
    }

    fn behind(reported: &[&str]) -> Behind {
        Behind { left: Duration::from_secs(30), reported: members(reported) }
    }

    #[test]
    fn only_the_report_of_every_known_member_ends_the_wait() {
        assert!(!behind(&[]).is_settled(&members(&["a", "b"])));
        assert!(!behind(&["a", "c"]).is_settled(&members(&["a", "b"])));
        assert!(behind(&["a", "b", "c"]).is_settled(&members(&["a", "b"])));
    }

    #[test]
    fn a_member_that_knows_no_other_waits() {
        assert!(!behind(&["a"]).is_settled(&members(&[])));
    }
}
