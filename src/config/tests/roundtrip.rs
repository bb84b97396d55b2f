//! A written configuration can be read again, and no text makes the reader panic.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::keys::KEYS;
use super::tests::{load, sources};
use super::*;

fn words() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[a-z][ -~]{0,8}[a-z]", 0..4)
}

fn durations() -> impl Strategy<Value = Duration> {
    (1..=units::MAX_DURATION.as_millis()).prop_map(|ms| Duration::from_millis(ms as u64))
}

prop_compose! {
    /// Configurations with something else than the default in every sort of key.
    fn configs()(
        host in "[a-z]{1,9}(\\.[a-z]{2,5})?",
        port in 1u16..,
        listen in proptest::collection::vec((any::<[u8; 3]>(), 1u16..1000), 0..3),
        path in "(/[a-z \"\\\\é]{1,9}){1,3}x",
        agent in proptest::option::of("[!-~]{1,9}"),
        command in words(),
        sizes in (8192usize..=1 << 20, 1usize..=10_000, any::<u64>()),
        durations in proptest::array::uniform5(durations()),
        choice in 0..3usize,
    ) -> Config {
        let mut config = Config::default();
        config.upstream.origin = Origin::new(host.clone(), port);
        config.upstream.user_agent = agent;
        if listen.is_empty() {
            config.upstream.auth = [UpstreamAuth::Bearer, UpstreamAuth::Basic][choice % 2];
        }
        config.upstream.connect_timeout = durations[0];
        config.upstream.header_timeout = durations[1];
        config.hosts = listen
            .iter()
            .enumerate()
            .map(|(at, (ip, port))| Host {
                origin: Origin::new(host.clone(), *port),
                listen: vec![([127, ip[0], ip[1], ip[2]], 10_000 + at as u16).into()],
            })
            .collect();
        config.listen.unix = UnixSocket::Path(PathBuf::from(path));
        config.listen.hosts = vec![host];
        config.listen.users = command.clone();
        config.listen.expose = choice == 1;
        config.policy.anonymous = [AnonymousAccess::Full, AnonymousAccess::ReadOnly, AnonymousAccess::None][choice];
        config.policy.deny = vec![Rule::parse("DELETE /a/**").unwrap()];
        config.credentials.command = command.clone();
        config.credentials.source = [LoginSource::Auto, LoginSource::Systemd, LoginSource::Env][choice];
        config.session.store = [SessionStore::Auto, SessionStore::File, SessionStore::Memory][choice];
        config.session.key_command = command;
        config.session.wait = durations[2];
        config.daemon.threads = [Threads::Auto, Threads::Fixed(1), Threads::Fixed(32)][choice];
        config.limits.header_bytes = sizes.0;
        config.limits.headers = sizes.1;
        config.limits.body_bytes = sizes.2;
        config.limits.keep_alive = durations[3];
        config.log.format = [LogFormat::Human, LogFormat::Json, LogFormat::Journald][choice];
        config.daemon.drain = durations[4];
        config
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_written_configuration_is_read_again(config in configs()) {
        prop_assert_eq!(load(&to_toml(&config)), config);
    }

    #[test]
    fn no_file_makes_the_reader_panic(text in "(\\[|\\]|=|\"|\n|host|log|level|profile|[ -~é]){0,40}") {
        let (_directory, sources) = sources(&text);
        let _ = sources.load();
    }
}

fn to_toml(config: &Config) -> String {
    let mut table = toml::Table::new();
    for entry in KEYS {
        match entry.section {
            "" => table.insert(entry.name.to_owned(), entry.value(config)),
            section => table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .unwrap()
                .insert(entry.name.to_owned(), entry.value(config)),
        };
    }
    table.to_string()
}
