//! Rules against all interpretations of a path.

use super::Error;
use super::sensitive_paths::LOGIN_MATERIAL;
use crate::config::{Rule, RuleMatches, RuleSet};
use crate::gateway::path_interpretations::PathInterpretations;

/// Denies login material unless a rule in `allow` names its path. One about commands does not: it
/// decides later.
pub(super) fn check_login_material(
    allow: Option<&RuleSet>,
    method: &str,
    path: &PathInterpretations<'_>,
) -> Result<(), Error> {
    for material in LOGIN_MATERIAL.iter().filter(|it| path.any(|path| it.matches(path))) {
        let is_named = |rule: &Rule| !rule.is_command() && material.is_named_by(rule);
        if !allow.is_some_and(|allow| allowing(allow, method, path).any(is_named)) {
            return Err(Error::LoginMaterial(material.label));
        }
    }
    Ok(())
}

/// Returns the rules that match all interpretations of a path.
pub(super) fn allowing<'a>(
    allow: &'a RuleSet,
    method: &str,
    path: &PathInterpretations<'_>,
) -> impl Iterator<Item = &'a Rule> {
    let rules = allow.all(method, path.first());
    rules.filter(move |rule| path.all(|path| rule.matches(method, path)))
}

/// Denies what a rule matches under any interpretation, and says whether a rule about commands may
/// do so yet.
pub(super) fn check_denied(
    rules: &RuleSet,
    method: &str,
    path: &PathInterpretations<'_>,
) -> Result<bool, Error> {
    let mut found = RuleMatches::default();
    if !rules.is_empty() {
        path.for_each(|path| rules.find_ignoring_extensions(method, path, &mut found));
    }
    match found.first {
        Some(at) => Err(Error::Denied(rules[at].as_str().to_owned())),
        None => Ok(found.has_command),
    }
}

/// Returns the first of a few rules that matches any interpretation of a path.
pub(super) fn find_rule<'a>(
    path: &PathInterpretations<'_>,
    rules: &'a [Rule],
    method: &str,
) -> Option<&'a Rule> {
    let matches = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions(method, path));
    rules.iter().find(matches)
}
