//! A problem as people and programs read it: one sentence, its causes, the way out.

use std::error::Error;

use serde::{Deserialize, Serialize};

use super::Problem;

/// One sentence, its causes, the way out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The error in one sentence.
    #[serde(rename = "sentence")]
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// The way out.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Report {
    /// Reports one problem.
    pub fn new(problem: &(impl Problem + ?Sized)) -> Self {
        Self {
            message: problem.to_string(),
            causes: causes(problem.source()),
            hint: problem.details().hint.map(Into::into),
        }
    }

    /// Reports each thing that is wrong.
    pub fn all(problem: &(impl Problem + ?Sized)) -> Vec<Self> {
        let parts = problem.parts();
        if parts.is_empty() { vec![Self::new(problem)] } else { parts }
    }
}

/// Returns what an error was caused by, outermost first, from its `source` on.
fn causes(source: Option<&(dyn Error + 'static)>) -> Vec<String> {
    std::iter::successors(source, |&cause| cause.source()).map(ToString::to_string).collect()
}
