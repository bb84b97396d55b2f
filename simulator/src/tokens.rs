//! The book of tokens: who holds which, until when. Pure: time comes in as an argument.

use std::collections::HashMap;
use std::time::Duration;

use crate::rng::Rng;
use crate::settings::TokenSettings;

/// Every token issued and not yet forgotten.
#[derive(Debug)]
pub(crate) struct TokenStore {
    access: HashMap<String, AccessToken>,
    refresh: Vec<RefreshToken>,
    rng: Rng,
    issued: u64,
}

/// Whom a pair is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenOwner {
    /// E-mail, lower case.
    pub(crate) account: String,
    pub(crate) client_id: String,
    pub(crate) host: String,
}

#[derive(Clone, Debug)]
struct AccessToken {
    holder: TokenOwner,
    expires: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct RefreshToken {
    pub(crate) id: u64,
    pub(crate) token: String,
    pub(crate) holder: TokenOwner,
    pub(crate) expires: Duration,
    chain_began: Duration,
    spent: Option<Duration>,
}

/// A new access token and, unless rotation is off, a new refresh token.
#[derive(Clone, Debug)]
pub(crate) struct IssuedPair {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
}

/// Why a refresh token was refused. To the client all of them are `invalid_grant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantError {
    NoClientId,
    WrongClientId,
    Unknown,
    Spent,
    Expired,
}

impl GrantError {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NoClientId => "refresh without the client_id header",
            Self::WrongClientId => "refresh with another client_id than at issuance",
            Self::Unknown => "unknown or revoked refresh token",
            Self::Spent => "refresh token already used",
            Self::Expired => "refresh token expired",
        }
    }
}

impl TokenStore {
    pub(crate) fn new() -> Self {
        Self { access: HashMap::new(), refresh: Vec::new(), rng: Rng::from_entropy(), issued: 0 }
    }

    /// Issues a pair for a password. The client id's older refresh token dies.
    pub(crate) fn log_in(
        &mut self,
        holder: &TokenOwner,
        settings: &TokenSettings,
        now: Duration,
    ) -> IssuedPair {
        self.forget_expired(now);
        if settings.revoke_access_on_login {
            self.access.retain(|_, access| !access.holder.is_client_of(holder));
        }
        self.refresh.retain(|refresh| !refresh.holder.is_client_of(holder));
        let refresh = Some(self.add_refresh(holder, now, settings));
        IssuedPair { access: self.add_access(holder, settings, now), refresh }
    }

    /// Issues a pair for a refresh token, which is then spent.
    pub(crate) fn renew(
        &mut self,
        token: &str,
        client_id: Option<&str>,
        host: &str,
        settings: &TokenSettings,
        now: Duration,
    ) -> Result<(TokenOwner, IssuedPair), GrantError> {
        if client_id.is_none() && settings.refresh_needs_client_id {
            return Err(GrantError::NoClientId);
        }
        let index =
            self.refresh.iter().position(|r| r.token == token).ok_or(GrantError::Unknown)?;
        let found = self.refresh[index].clone();
        let presented = client_id.unwrap_or(&found.holder.account);
        if !found.holder.is_called(presented) {
            return Err(GrantError::WrongClientId);
        }
        if now >= found.expires {
            return Err(GrantError::Expired);
        }
        if found.spent.is_some_and(|at| now >= at + settings.rotation_grace) {
            return Err(GrantError::Spent);
        }
        self.forget_expired(now);
        let holder = TokenOwner { host: host.to_owned(), ..found.holder };
        if settings.revoke_access_on_refresh {
            self.access.retain(|_, access| !access.holder.is_client_of(&holder));
        }
        let refresh = settings.rotate.then(|| {
            self.refresh.retain(|r| {
                r.spent.is_some() || !r.holder.is_client_of(&holder) || r.token == token
            });
            for spent in self.refresh.iter_mut().filter(|r| r.token == token) {
                spent.spent.get_or_insert(now);
            }
            let began = if settings.sliding_refresh { now } else { found.chain_began };
            self.add_refresh(&holder, began, settings)
        });
        Ok((
            holder.clone(),
            IssuedPair { access: self.add_access(&holder, settings, now), refresh },
        ))
    }

    /// Returns the account an access token speaks for.
    pub(crate) fn account(&self, token: &str, host: Option<&str>, now: Duration) -> Option<&str> {
        let access = self.access.get(token)?;
        let right_host = host.is_none_or(|host| access.holder.host.eq_ignore_ascii_case(host));
        (now < access.expires && right_host).then_some(access.holder.account.as_str())
    }

    pub(crate) fn revoke_access(&mut self, token: &str) -> bool {
        self.access.remove(token).is_some()
    }

    pub(crate) fn revoke_all_access(&mut self) {
        self.access.clear();
    }

    pub(crate) fn revoke_all_refresh(&mut self) {
        self.refresh.clear();
    }

    /// Revokes one refresh token by the id `/api/sys/refreshtokens` shows.
    pub(crate) fn revoke_refresh(&mut self, id: u64) -> bool {
        let before = self.refresh.len();
        self.refresh.retain(|refresh| refresh.id != id);
        self.refresh.len() < before
    }

    pub(crate) fn revoke_account(&mut self, account: &str) {
        self.access.retain(|_, access| !access.holder.account.eq_ignore_ascii_case(account));
        self.refresh.retain(|refresh| !refresh.holder.account.eq_ignore_ascii_case(account));
    }

    /// Returns the refresh tokens that would be accepted.
    pub(crate) fn live_refresh(&self, now: Duration) -> impl Iterator<Item = &RefreshToken> {
        self.refresh.iter().filter(move |r| r.spent.is_none() && now < r.expires)
    }

    pub(crate) fn live_access(&self, now: Duration) -> impl Iterator<Item = &str> {
        self.access.iter().filter(move |(_, a)| now < a.expires).map(|(token, _)| token.as_str())
    }

    fn add_access(
        &mut self,
        holder: &TokenOwner,
        settings: &TokenSettings,
        now: Duration,
    ) -> String {
        let prefix = "simulated-access-";
        let token = format!("{prefix}{}", self.rng.hex(ACCESS_TOKEN_LENGTH - prefix.len()));
        let access = AccessToken { holder: holder.clone(), expires: now + settings.access_life };
        self.access.insert(token.clone(), access);
        token
    }

    fn add_refresh(
        &mut self,
        holder: &TokenOwner,
        began: Duration,
        settings: &TokenSettings,
    ) -> String {
        self.issued += 1;
        let token = self.rng.hex(REFRESH_TOKEN_LENGTH);
        self.refresh.push(RefreshToken {
            id: 1_400_900_000 + self.issued,
            token: token.clone(),
            holder: holder.clone(),
            expires: began + settings.refresh_life,
            chain_began: began,
            spent: None,
        });
        token
    }

    /// Keeps a long run flat: tokens dead for a day are only kept as "unknown".
    fn forget_expired(&mut self, now: Duration) {
        const KEPT: Duration = Duration::from_secs(86_400);
        self.access.retain(|_, access| now < access.expires);
        self.refresh.retain(|refresh| now < refresh.expires + KEPT);
    }
}

impl TokenOwner {
    fn is_client_of(&self, other: &Self) -> bool {
        self.account == other.account && self.is_called(&other.client_id)
    }

    /// Client ids are compared exactly, but an e-mail standing in for one without case.
    fn is_called(&self, client_id: &str) -> bool {
        self.client_id == client_id
            || (self.client_id.eq_ignore_ascii_case(&self.account)
                && client_id.eq_ignore_ascii_case(&self.account))
    }
}

/// Length of an access token in characters, as seen live.
const ACCESS_TOKEN_LENGTH: usize = 432;

/// Length of a refresh token in hex digits, as seen live.
const REFRESH_TOKEN_LENGTH: usize = 32;
