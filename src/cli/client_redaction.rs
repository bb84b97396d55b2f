//! The flags of a client about what it may see, and what a person should know about them.

use super::Printer;
use crate::clients::{ClientPolicy, Limit, RedactionPolicy};
use crate::config::{AnonymousAccess, Config, RedactMode};

/// The flags that hide personal values from a client.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Redaction")]
pub(super) struct RedactionArgs {
    /// Personal values in responses become tokens; =all: every text does
    #[arg(long, value_name = "all", num_args = 0..=1, require_equals = true,
          default_missing_value = "table", value_parser = mode)]
    redact: Option<RedactMode>,
    /// Tokens in filters and writes are put back
    #[arg(long)]
    resolve: bool,
    /// Have the same tokens as the other clients of this group
    #[arg(long, value_name = "GROUP", value_parser = group)]
    share_tokens: Option<String>,
}

impl RedactionArgs {
    /// Returns the part of the policy.
    pub(super) fn policy(self) -> RedactionPolicy {
        let mode = self.redact.unwrap_or_default();
        RedactionPolicy { mode, resolve: self.resolve, share_tokens: self.share_tokens }
    }

    /// Says whether this limit is given.
    pub(super) fn sets(&self, limit: Limit) -> bool {
        match limit {
            Limit::Redact => self.redact.is_some(),
            Limit::Resolve => self.resolve,
            Limit::ShareTokens => self.share_tokens.is_some(),
            Limit::ReadOnly
            | Limit::Allow
            | Limit::Deny
            | Limit::Expires
            | Limit::Rate
            | Limit::MaxRequests
            | Limit::Origin
            | Limit::Ask
            | Limit::MaxWrites
            | Limit::MaxDeletes
            | Limit::MaxBytes => false,
        }
    }
}

/// Warns of what weakens the redaction of a client.
pub(super) fn warn(limits: &ClientPolicy, print: Printer) {
    let RedactionPolicy { resolve, share_tokens, .. } = &limits.redaction;
    if !limits.redaction.is_active() {
        if *resolve || share_tokens.is_some() {
            print.warning(
                "without --redact there are no tokens: --resolve and --share-tokens do nothing",
            );
        }
        return;
    }
    if !limits.read_only {
        print.warning(
            "a redacted client that may write can guess values: it writes one and sees whether \
             Nexudus finds it taken; add --read-only if the client only reads",
        );
    }
}

/// Returns what a redacted client can leave out to see everything on this machine.
pub(super) fn bypass(limits: &ClientPolicy, config: &Config) -> Option<&'static str> {
    let is_wider = is_anonymous_wider(limits.redaction.mode, config);
    is_wider.then_some(
        "Redaction binds only the key: without it, a program of this machine still reads personal \
         values in the clear; policy.anonymous = \"none\" or policy.anonymous_redact changes that.",
    )
}

/// Says whether clients without a key see what this mode hides.
pub(super) fn is_anonymous_wider(mode: RedactMode, config: &Config) -> bool {
    let may_read = match config.policy.anonymous {
        AnonymousAccess::Full | AnonymousAccess::ReadOnly => !config.listen.expose,
        AnonymousAccess::None => false,
    };
    may_read && config.policy.anonymous_redact < mode
}

fn mode(text: &str) -> Result<RedactMode, &'static str> {
    match text {
        "table" => Ok(RedactMode::Table),
        "all" => Ok(RedactMode::All),
        _ => Err("write --redact or --redact=all"),
    }
}

fn group(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a group is named with letters, digits, `-`, `_` and `.`")
    }
}
