//! `[fleet]`: several machines share one session, through Redis or Valkey.
//!
//! The URL of the engine never holds a secret: a user or a password in it is refused, and what is
//! refused is not repeated.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::error::Diagnostic;
use super::source::ValueSource;
use super::value::ConfigValue;
use super::value_type::{InvalidValue, ValueType};
use super::{Config, UpstreamAuth};

/// `[fleet]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// Where the engine is; `None` leaves this machine alone.
    pub engine: Option<EngineUrl>,
    /// The user of the engine's ACL.
    pub username: Option<String>,
    /// Prints the password of that user.
    pub password_command: Vec<String>,
    /// Prints the key of the members, or two of them.
    pub key_command: Vec<String>,
    /// Trust anchors of the engine beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Further ports to which the daemon may connect: those that Sentinel announces.
    pub ports: Vec<u16>,
    /// The parts that the members share.
    pub share: Vec<FleetShare>,
    /// How durable a write to the engine has to be.
    pub durability: FleetDurability,
    /// A member that is cut off for longer refuses clients with keys.
    pub clients_stale: Duration,
    /// A member that is cut off for longer refuses every client; zero: it serves on.
    pub fail_closed_after: Duration,
    /// Let an account with one-time codes log in while this member is cut off.
    pub partition_login: bool,
    /// The name of this member, for people; `None` is the host's.
    pub name: Option<String>,
    /// How many times faster than a real one a member lives. No key: for tests.
    #[doc(hidden)]
    pub timing_divisor: u32,
}

/// `fleet.engine`: a URL that was read strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl(String);

/// `fleet.share`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetShare {
    /// Login, token, logout and lock.
    Session,
    /// The pace of the account.
    Throttle,
    /// The named clients.
    Clients,
}

/// `fleet.durability`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetDurability {
    /// In the engine's file where it can be waited for, and on all its replicas.
    Auto,
    /// Nothing is waited for.
    None,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            engine: None,
            username: None,
            password_command: vec![],
            key_command: vec![],
            ca_file: None,
            ports: vec![],
            share: vec![FleetShare::Session, FleetShare::Throttle, FleetShare::Clients],
            durability: FleetDurability::Auto,
            // A revoked key is served no longer than a person waits for an engine.
            clients_stale: Duration::from_secs(15 * 60),
            fail_closed_after: Duration::ZERO,
            partition_login: false,
            name: None,
            timing_divisor: 1,
        }
    }
}

impl FleetConfig {
    /// Returns the ports of the engine, as far as they are known before it is asked.
    pub fn engine_ports(&self) -> Vec<u16> {
        let known = self.engine.as_ref().map(EngineUrl::ports).unwrap_or_default();
        known.into_iter().chain(self.ports.iter().copied()).collect()
    }

    /// Returns the programs that the section names.
    pub fn commands(&self) -> [(&'static str, &Vec<String>); 2] {
        [
            ("fleet.password_command", &self.password_command),
            ("fleet.key_command", &self.key_command),
        ]
    }
}

impl EngineUrl {
    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a URL strictly.
    ///
    /// # Errors
    ///
    /// Why it is not used, without what stands in it.
    #[cfg(feature = "fleet")]
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = shared_session::engine::Address::parse(text);
        read.map(|_| Self(text.to_owned())).map_err(|why| why.to_string())
    }

    /// Refuses every URL: this program cannot be a member.
    ///
    /// # Errors
    ///
    /// That there is no such feature.
    #[cfg(not(feature = "fleet"))]
    pub fn parse(_: &str) -> Result<Self, String> {
        Err("this program was built without the feature `fleet`".to_owned())
    }

    #[cfg(feature = "fleet")]
    fn ports(&self) -> Vec<u16> {
        shared_session::engine::Address::parse(&self.0)
            .map(|address| address.ports())
            .unwrap_or_default()
    }

    #[cfg(not(feature = "fleet"))]
    fn ports(&self) -> Vec<u16> {
        vec![]
    }
}

impl ConfigValue for Option<EngineUrl> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let Some(text) = value.as_str() else { return Err(InvalidValue::found(value)) };
        if text.is_empty() {
            return Ok(None);
        }
        EngineUrl::parse(text).map(Some).map_err(InvalidValue::Engine)
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.as_ref().map_or("", EngineUrl::as_str).into()
    }
}

impl ConfigValue for Vec<u16> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let items = value.as_array().ok_or_else(|| InvalidValue::found(value))?;
        let port = |item: &toml::Value| {
            // A flag or a variable gives words.
            let number = item.as_str().and_then(|text| text.parse().ok());
            let port = number.or_else(|| u16::try_from(item.as_integer()?).ok());
            port.filter(|port| *port > 0).ok_or_else(|| InvalidValue::found(item))
        };
        items.iter().map(port).collect()
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        self.iter().map(|port| i64::from(*port)).collect::<Vec<_>>().into()
    }
}

impl ConfigValue for Vec<FleetShare> {
    fn from_toml(value: &toml::Value, _: &ValueType) -> Result<Self, InvalidValue> {
        let items = value.as_array().ok_or_else(|| InvalidValue::found(value))?;
        let share = |item: &toml::Value| match item.as_str() {
            Some("session") => Ok(FleetShare::Session),
            Some("throttle") => Ok(FleetShare::Throttle),
            Some("clients") => Ok(FleetShare::Clients),
            Some(_) | None => Err(InvalidValue::found(item)),
        };
        items.iter().map(share).collect()
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        let word = |share: &FleetShare| match share {
            FleetShare::Session => "session",
            FleetShare::Throttle => "throttle",
            FleetShare::Clients => "clients",
        };
        self.iter().map(word).collect::<Vec<_>>().into()
    }
}

/// Returns how many times faster than a real one a member lives.
///
/// A program that was built for development reads a variable, so that a test of whole fleets takes
/// minutes and not hours. A released one has no such variable.
pub(super) fn timing_divisor(environment: &Environment) -> u32 {
    let is_development = cfg!(debug_assertions);
    let variable = is_development.then(|| environment.get(TIMING_VARIABLE)).flatten();
    let divisor: Option<NonZeroU32> = variable.and_then(|text| text.to_str()?.parse().ok());
    divisor.map_or(1, NonZeroU32::get)
}

/// Without the prefix of the keys, because it is none.
const TIMING_VARIABLE: &str = "TEST_FLEET_TIMING_DIVISOR";

/// Finds what a fleet cannot keep: nothing of the section is used by half.
pub(super) fn check(
    config: &Config,
    place: impl Fn(&str) -> ValueSource,
    problems: &mut Vec<Diagnostic>,
) {
    let fleet = &config.fleet;
    if fleet.engine.is_none() {
        return;
    }
    let mut refuse = |key: &'static str, why, hint| {
        problems.push(Diagnostic::Fleet { place: place(key), key, why, hint });
    };
    if config.upstream.auth == UpstreamAuth::Basic {
        refuse(
            "fleet.engine",
            "upstream.auth = \"basic\" has no session that machines could share",
            "Set upstream.auth = \"bearer\", or leave fleet.engine empty.",
        );
    }
    if !fleet.share.contains(&FleetShare::Session) {
        refuse(
            "fleet.share",
            "the members share the session at least",
            "Add \"session\", or leave fleet.engine empty.",
        );
    }
    let has_clients = fleet.share.contains(&FleetShare::Clients);
    if has_clients && fleet.clients_stale < SHORTEST_STALE {
        refuse(
            "fleet.clients_stale",
            "members read the engine every 5 s, and some of its answers may be lost",
            "Set fleet.clients_stale to 30s or more.",
        );
    } else if !has_clients && fleet.clients_stale != FleetConfig::default().clients_stale {
        refuse(
            "fleet.clients_stale",
            "the clients are not shared, so that no revocation could be missed",
            "Leave fleet.clients_stale out.",
        );
    }
}

/// Six polls: a member whose engine answers never refuses a key for its age.
const SHORTEST_STALE: Duration = Duration::from_secs(30);

#[cfg(all(test, feature = "fleet"))]
mod tests {
    use super::*;
    use crate::config::Error;
    use crate::config::tests::{load, sources};
    use crate::problem::Problem as _;

    #[test]
    fn without_an_engine_the_machine_is_alone() {
        assert_eq!(load("[fleet]\nengine = ''\n"), Config::default());
        assert_eq!(Config::default().fleet.engine_ports(), [0; 0]);
    }

    #[test]
    fn every_key_is_read() {
        let fleet = load(
            "[fleet]\nengine = 'rediss-sentinel://a,b:7000/main'\nusername = 'proxy'\n\
             password_command = ['pass']\nkey_command = ['key']\nports = [6380, 6381]\n\
             share = ['session', 'throttle', 'clients']\nclients_stale = '2m'\n\
             durability = 'none'\nfail_closed_after = '1h'\n\
             partition_login = true\nname = 'etl-1'\n",
        )
        .fleet;

        assert_eq!(fleet.engine_ports(), [26379, 7000, 6380, 6381]);
        assert_eq!(fleet.username.as_deref(), Some("proxy"));
        assert_eq!(fleet.durability, FleetDurability::None);
        assert_eq!(fleet.fail_closed_after, Duration::from_secs(3_600));
        let all = [FleetShare::Session, FleetShare::Throttle, FleetShare::Clients];
        assert_eq!(fleet.share, all);
        assert_eq!(fleet.clients_stale, Duration::from_secs(120));
        assert!(fleet.partition_login);
        assert_eq!(fleet.name.as_deref(), Some("etl-1"));
    }

    #[test]
    fn what_would_be_read_by_others_or_used_by_half_is_refused() {
        for (text, told) in [
            ("engine = 'redis://10.0.0.1'", "without TLS"),
            ("engine = 'rediss://marker-user:marker-password@host'", "a user or a password"),
            ("engine = 'http://host'", "the scheme"),
            ("engine = 'rediss://host'\nshare = ['throttle']", "share the session at least"),
            ("engine = 'rediss://host'\nclients_stale = '20s'", "every 5 s"),
            (
                "engine = 'rediss://host'\nshare = ['session']\nclients_stale = '1m'",
                "are not shared",
            ),
            ("engine = 'rediss://host'\n[upstream]\nauth = 'basic'", "upstream.auth"),
            ("ports = [0]", "found 0"),
            ("share = ['all']", "found \"all\""),
        ] {
            let (_directory, sources) = sources(&format!("[fleet]\n{text}\n"));
            let Error(problems) = sources.load().unwrap_err();
            let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert!(texts.iter().any(|one| one.contains(told)), "{text}: {texts:?}");
            assert!(!format!("{problems:?}{texts:?}").contains("marker"), "{texts:?}");
            let is_shape = |one: &Diagnostic| matches!(one, Diagnostic::Shape { .. });
            assert!(problems.iter().all(|one| is_shape(one) || one.details().hint.is_some()));
        }
    }
}
