//! Certificates for our TLS servers: one per name, valid for a day, in memory alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use constrained_ca::{Authority, Leaf};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::{PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, NamedGroup, ServerConfig};

use crate::clock::Clock;

/// Signs leaves when they are needed, and hands them on as configurations of TLS.
pub struct LeafIssuer {
    authority: Authority,
    clock: Clock,
    /// One for all leaves, so that a client resumes across a renewal. rustls compares the name.
    tickets: Option<Arc<dyn ProducesTickets>>,
    /// By name; only names of the authority get in.
    leaves: Mutex<BTreeMap<String, CachedLeaf>>,
}

#[derive(Clone)]
struct CachedLeaf {
    config: Arc<ServerConfig>,
    /// The wall clock when the leaf was made.
    made_at: SystemTime,
    not_after: SystemTime,
}

impl LeafIssuer {
    /// Signs with `authority`, at the times of `clock`.
    pub fn new(authority: Authority, clock: Clock) -> Self {
        // Without random numbers there are no tickets, and every handshake is a full one.
        let tickets = Ticketer::new().ok();
        Self { authority, clock, tickets, leaves: Mutex::default() }
    }

    /// Returns the authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the configuration of a TLS server that is `name`, for HTTP/1.1 alone; `None` if the
    /// authority does not cover the name, or has ended.
    ///
    /// Cheap enough for a data thread: a look into a map, and once in half a day one signature.
    pub fn server_config(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let name = name.to_ascii_lowercase();
        let now = self.clock.now().wall;
        let cached = self.leaves().get(&name).filter(|leaf| leaf.is_fresh(now)).cloned();
        if let Some(cached) = cached {
            return Some(cached.config);
        }
        // Two threads may sign at the same moment: neither waits for the other.
        let made = self.make(&name, now)?;
        let config = made.config.clone();
        self.leaves().insert(name, made);
        Some(config)
    }

    fn make(&self, name: &str, now: SystemTime) -> Option<CachedLeaf> {
        let leaf = match self.authority.leaf(name, now) {
            Ok(leaf) => leaf,
            Err(error) => {
                tracing::debug!(%error, "no certificate was made");
                return None;
            }
        };
        let not_after = leaf.not_after;
        match self.configure(leaf) {
            Ok(config) => Some(CachedLeaf { config: Arc::new(config), made_at: now, not_after }),
            Err(error) => {
                tracing::warn!(%error, "no certificate was made");
                None
            }
        }
    }

    fn configure(&self, leaf: Leaf) -> Result<ServerConfig, rustls::Error> {
        let key = PrivatePkcs8KeyDer::from(&**leaf.key);
        let key = aws_lc_rs::sign::any_ecdsa_type(&key.into())?;
        let resolver = SingleCertAndKey::from(CertifiedKey::new(leaf.chain, key));
        tls_config(Arc::new(resolver), &self.clock, self.tickets.as_ref())
    }

    fn leaves(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, CachedLeaf>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Configures a TLS server of ours, for HTTP/1.1 alone.
pub(super) fn tls_config(
    resolver: Arc<dyn ResolvesServerCert>,
    clock: &Clock,
    tickets: Option<&Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, rustls::Error> {
    let time = Arc::new(WallClock(clock.clone()));
    let mut config = ServerConfig::builder_with_details(Arc::new(local_provider()), time)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ignore_client_order = true;
    // HTTP/2 would be a second parser that local programs can reach.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    if let Some(tickets) = tickets {
        config.ticketer = tickets.clone();
    }
    Ok(config)
}

/// Returns what our TLS servers use, the cheapest first. Processors have instructions for SHA-256 and
/// few for SHA-384, which is a sixth of a handshake; the bytes stay on this machine, where a key
/// exchange against quantum computers protects nothing.
fn local_provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::X25519);
    provider
}

impl CachedLeaf {
    /// Says whether the leaf can still be served: not in its last half, and not after the wall
    /// clock was set back behind its making.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.made_at);
        age.is_ok_and(|age| age < Authority::LEAF_LIFETIME / 2) && now < self.not_after
    }
}

impl fmt::Debug for LeafIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafIssuer").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Our clock, as rustls asks for the time.
#[derive(Debug)]
struct WallClock(Clock);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.now().wall.duration_since(SystemTime::UNIX_EPOCH);
        Some(UnixTime::since_unix_epoch(now.unwrap_or(Duration::ZERO)))
    }
}

#[cfg(test)]
mod tests {
    use constrained_ca::Names;

    use super::*;

    const DAY: Duration = Authority::LEAF_LIFETIME;

    fn issuer(clock: &Clock) -> LeafIssuer {
        let names = Names { dns: vec!["localhost".to_owned()], ip: vec![[127, 0, 0, 1].into()] };
        let authority = Authority::create(names, "Test", clock.now().wall, 10 * DAY).unwrap();
        LeafIssuer::new(authority, clock.clone())
    }

    #[test]
    fn a_leaf_is_kept_for_half_a_day_and_then_renewed() {
        let (clock, time) = Clock::manual();
        let issuer = issuer(&clock);
        let first = issuer.server_config("localhost").unwrap();

        time.advance(DAY / 2 - Duration::from_secs(1));
        let same = issuer.server_config("LocalHost").unwrap();
        time.advance(Duration::from_secs(1));
        let renewed = issuer.server_config("localhost").unwrap();

        assert!(Arc::ptr_eq(&first, &same));
        assert!(!Arc::ptr_eq(&first, &renewed));
        assert_eq!(first.alpn_protocols, [b"http/1.1"]);
        assert!(Arc::ptr_eq(&first.ticketer, &renewed.ticketer) && first.ticketer.enabled());
    }

    #[test]
    fn the_cheapest_suite_and_group_come_first_whatever_a_client_prefers() {
        let (clock, _) = Clock::manual();
        let config = issuer(&clock).server_config("localhost").unwrap();

        let provider = config.crypto_provider();
        let suites = provider.cipher_suites.iter().map(|it| it.suite()).collect::<Vec<_>>();
        let all = aws_lc_rs::default_provider();

        assert!(config.ignore_client_order);
        let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
        let second = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        assert_eq!(suites[..2], [first, second]);
        assert_eq!(suites.len(), all.cipher_suites.len());
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519);
        assert_eq!(provider.kx_groups.len(), all.kx_groups.len());
    }

    #[test]
    fn a_wall_clock_set_back_brings_a_new_leaf() {
        let (clock, time) = Clock::manual();
        let issuer = issuer(&clock);
        let first = issuer.server_config("127.0.0.1").unwrap();

        time.set_wall(clock.now().wall - Duration::from_secs(60));
        let again = issuer.server_config("127.0.0.1").unwrap();

        assert!(!Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn other_names_and_later_times_have_no_leaf() {
        let (clock, time) = Clock::manual();
        let issuer = issuer(&clock);

        for name in ["spaces.nexudus.com", "a.localhost", "127.0.0.2", ""] {
            assert!(issuer.server_config(name).is_none(), "{name}");
        }
        assert!(issuer.server_config("localhost").is_some());
        time.advance(10 * DAY);
        assert!(issuer.server_config("localhost").is_none());
    }
}
