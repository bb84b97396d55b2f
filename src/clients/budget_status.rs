//! The used part of a budget, and its one form as JSON.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::budget::{Budget, Metered};

/// The used part of one budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BudgetJson", try_from = "BudgetJson")]
pub struct BudgetStatus {
    /// The unit that the budget counts.
    pub metered: Metered,
    /// The budget.
    pub budget: Budget,
    /// The amount used; `None` if the counts cannot be read.
    pub used: Option<u64>,
    /// When it comes back, once it was begun.
    pub back: Option<SystemTime>,
}

impl BudgetStatus {
    /// Says whether nothing is left of it.
    pub fn is_used_up(&self) -> bool {
        self.used.is_some_and(|used| used >= self.budget.most)
    }
}

/// The form for programs: a budget as it is written, and a time as RFC 3339 has it.
#[derive(Serialize, Deserialize)]
struct BudgetJson {
    what: String,
    budget: String,
    most: u64,
    used: Option<u64>,
    back: Option<String>,
}

impl From<BudgetStatus> for BudgetJson {
    fn from(status: BudgetStatus) -> Self {
        Self {
            what: status.metered.as_str().to_owned(),
            budget: status.budget.format(status.metered),
            most: status.budget.most,
            used: status.used,
            back: status.back.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        }
    }
}

impl TryFrom<BudgetJson> for BudgetStatus {
    type Error = &'static str;

    fn try_from(json: BudgetJson) -> Result<Self, Self::Error> {
        let all = [Metered::Writes, Metered::Deletes, Metered::Bytes];
        let metered = all.into_iter().find(|it| it.as_str() == json.what);
        let metered = metered.ok_or("a budget of something unknown")?;
        let budget = Budget::parse(metered, &json.budget).ok_or("a malformed budget")?;
        let back = json.back.and_then(|at| humantime::parse_rfc3339(&at).ok());
        Ok(Self { metered, budget, used: json.used, back })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_status_is_read_as_it_is_written() {
        let back = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        for (metered, text, back) in [
            (Metered::Writes, "50/day", back),
            (Metered::Deletes, "5/hour", None),
            (Metered::Bytes, "200MiB/day", back),
        ] {
            let budget = Budget::parse(metered, text).unwrap();
            let status = BudgetStatus { metered, budget, used: Some(budget.most), back };
            let json = serde_json::to_value(&status).unwrap();
            assert_eq!((&json["what"], &json["budget"]), (&metered.as_str().into(), &text.into()));
            assert!(status.is_used_up());
            assert_eq!(serde_json::from_value::<BudgetStatus>(json).unwrap(), status);
        }
    }
}
