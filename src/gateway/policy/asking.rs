//! Which rules want a person asked.
//!
//! Deny comes before ask, ask before allow: what a rule denies is never asked about, and what a
//! client's own rule asks about needs no rule that allows it. A rule asks like a rule denies, under any
//! interpretation of the path; it allows like a rule allows, under all of them.

use super::{AccessLevel, Error, MatchedRule, Policy, allowing, command};
use crate::config::{Rule, RuleMatches, RuleSet};
use crate::gateway::path_interpretations::PathInterpretations;
use crate::gateway::policy::Allowed;
use crate::upstream::ReplayBody;

/// Whether a rule may want a person asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct AskMatches {
    /// Any rule.
    pub(in crate::gateway) has_any: bool,
    /// A rule about commands, which decides once the command is known.
    pub(in crate::gateway) has_command: bool,
}

impl Policy {
    /// Says by the head whether a rule may want a person asked. Costs nothing without such rules.
    pub(in crate::gateway) fn may_ask(
        &self,
        method: &str,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'_>,
    ) -> AskMatches {
        let mut matches = AskMatches::default();
        for rules in self.ask_sets(level) {
            let mut found = RuleMatches::default();
            path.for_each(|path| rules.find_ignoring_extensions(method, path, &mut found));
            matches.has_command |= found.has_command;
            matches.has_any |= found.has_command || found.first.is_some();
        }
        matches
    }

    /// Returns the rules that want a person asked about a request with these keys of commands: the
    /// owner's first. A permission for one of them is none for the others.
    pub(in crate::gateway) fn asking<'a>(
        &'a self,
        method: &str,
        path: &PathInterpretations<'_>,
        level: AccessLevel<'a>,
        keys: &[String],
    ) -> Vec<&'a Rule> {
        let is_about = |rule: &&Rule| {
            path.any(|path| rule.matches_ignoring_extensions(method, path))
                && (!rule.is_command() || keys.iter().any(|key| rule.names_command(key)))
        };
        self.ask_sets(level).flat_map(|rules| rules.iter()).filter(is_about).collect()
    }

    /// Returns the client's rule by which a request may be sent, for the record; `None` where all is
    /// allowed that no rule denies.
    pub(in crate::gateway) fn allowing_rule(
        &self,
        allowed: &Allowed,
        body: &ReplayBody,
    ) -> Option<String> {
        let (path, level) =
            (PathInterpretations::new(allowed.path()), self.access_level(allowed.client()));
        let method = allowed.method().as_str();
        let matched = match self.check_rules(method, &path, level).ok()? {
            MatchedRule::Command => {
                let command = command::keys(allowed.head(), body);
                self.check_command(method, &path, level, &command).ok()?
            }
            matched @ (MatchedRule::None | MatchedRule::Rule(_)) => matched,
        };
        match matched {
            MatchedRule::Rule(rule) => Some(rule.as_str().to_owned()),
            MatchedRule::None | MatchedRule::Command => None,
        }
    }

    /// Returns the rules that want a person asked about a whole request.
    pub(in crate::gateway) fn asking_about(
        &self,
        allowed: &Allowed,
        body: &ReplayBody,
    ) -> Vec<String> {
        let level = self.access_level(&allowed.client);
        let path = PathInterpretations::new(allowed.path());
        // Where a rule about commands is concerned, a command that cannot be read was refused.
        let keys = if allowed.awaits_command {
            command::keys(&allowed.head, body).unwrap_or_default()
        } else {
            vec![]
        };
        let rules = self.asking(allowed.method().as_str(), &path, level, &keys);
        rules.into_iter().map(|rule| rule.as_str().to_owned()).collect()
    }

    /// Returns the rules that hold for all clients: what they deny, and what they ask about.
    pub(in crate::gateway) fn rules_for_all(&self) -> (&[Rule], &[Rule]) {
        (&self.deny, &self.ask)
    }

    fn ask_sets<'a>(&'a self, level: AccessLevel<'a>) -> impl Iterator<Item = &'a RuleSet> {
        let own = match level {
            AccessLevel::Client(policy) => Some(&policy.ask),
            AccessLevel::Full | AccessLevel::ReadOnly => None,
        };
        [&self.ask].into_iter().chain(own).filter(|rules| !rules.is_empty())
    }
}

/// Allows what none of a client's rules allows, if a rule of its own asks about it.
pub(super) fn allowed_after_asking<'a>(
    level: AccessLevel<'a>,
    method: &str,
    path: &PathInterpretations<'_>,
    awaits_command: bool,
) -> Result<MatchedRule<'a>, Error> {
    let AccessLevel::Client(policy) = level else { return Err(Error::NotAllowed) };
    let mut asking = allowing(&policy.ask, method, path).peekable();
    if asking.peek().is_none() {
        return Err(Error::NotAllowed);
    }
    let decides_now = !awaits_command && asking.any(|rule| !rule.is_command());
    Ok(if decides_now { MatchedRule::None } else { MatchedRule::Command })
}
