//! The configuration as its users meet it: sources in, values or problems out.

use std::path::Path;
use std::time::Duration;

use super::key::Key;
use super::keys::{KEYS, SECTIONS, find_key};
use super::*;

/// Sources with a file of this text, in a directory that goes away with the first part.
pub(super) fn sources(text: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let environment = Environment::from([("HOME", directory.path().to_str().unwrap())]);
    (directory, Sources { file: Some(file), environment, ..Sources::default() })
}

pub(super) fn load(text: &str) -> Config {
    sources(text).1.load().unwrap().config
}

/// The problems of a file of this text, each without the path of the file.
fn problems(text: &str) -> Vec<String> {
    let (directory, sources) = sources(text);
    let path = format!("{}/config.toml:", directory.path().display());
    let Error(problems) = sources.load().unwrap_err();
    problems.iter().map(|problem| problem.to_string().replace(&path, "")).collect()
}

fn given(section: &str, name: &str, texts: &[&str]) -> Override {
    let entry = find_key(section, name).unwrap();
    let texts = texts.iter().map(|&text| text.to_owned()).collect();
    Override { entry, values: texts, flag: format!("--{}", entry.flag()) }
}

#[test]
fn the_example_has_every_key_at_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/example.toml");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        std::fs::write(&path, example()).unwrap();
    }

    assert!(kept == example(), "stale: run this test once with UPDATE_EXAMPLE=1");
    assert_eq!(load(&kept), Config::default());
    for entry in KEYS.iter().filter(|entry| !entry.section.is_empty()) {
        let line = format!("\n# {} = {}", entry.name, entry.default());
        let section = kept.split_once(&format!("\n[{}]\n", entry.section)).unwrap().1;
        let section = section.split("\n[").next().unwrap();
        assert!(format!("\n{section}").contains(&line), "{}", entry.path());
    }
}

#[test]
fn the_commented_parts_of_the_example_are_valid_too() {
    let example = example();
    let uncommented = example.lines().map(|line| {
        let code =
            line.strip_prefix("# ").filter(|code| code.starts_with('[') || code.contains(" = "));
        code.unwrap_or(line)
    });

    let config = load(&uncommented.collect::<Vec<_>>().join("\n"));

    let usual = Config { hosts: config.hosts.clone(), ..Config::default() };
    assert_eq!(config, usual, "the defaults are valid as they are written");
    assert_eq!(config.hosts[0].origin, Origin::new("reports.nexudus.com", 443));
}

#[test]
fn every_key_belongs_to_a_section_and_has_one_name_of_each_sort() {
    let mut flags: Vec<_> = KEYS.iter().map(Key::flag).collect();
    flags.extend(KEYS.iter().filter_map(|entry| entry.shorthand).map(str::to_owned));
    flags.sort();
    let count = flags.len();
    flags.dedup();

    assert_eq!(flags.len(), count);
    for entry in KEYS {
        assert!(
            entry.section.is_empty() || SECTIONS.iter().any(|(name, _)| *name == entry.section)
        );
    }
}

#[test]
fn every_word_of_a_choice_is_a_value() {
    for entry in KEYS {
        let ValueType::Choice(words) = entry.value_type else { continue };
        for word in words {
            let set = entry.set(&mut Config::default(), &(*word).into());
            assert_eq!(set, Ok(()), "{} = {word}", entry.path());
        }
    }
}

#[test]
fn a_later_source_overrides_an_earlier_one_key_by_key() {
    let (directory, mut sources) = sources(
        "[throttle]\nwait = \"1s\"\n[session]\nwait = \"1s\"\n[daemon]\ndrain = \"1s\"\n\
         [limits]\nheaders = 11\n\
         [profile.work.throttle]\nwait = \"2s\"\n[profile.work.session]\nwait = \"2s\"\n\
         [profile.work.daemon]\ndrain = \"2s\"\n",
    );
    sources.profile = Some("work".to_owned());
    sources.environment = Environment::from([
        ("HOME", "/nowhere"),
        ("NEXUDUS_PROXY_THROTTLE_WAIT", "3s"),
        ("NEXUDUS_PROXY_SESSION_WAIT", "3s"),
    ]);
    sources.flags = vec![given("throttle", "wait", &["4s"])];

    let loaded = sources.load().unwrap();

    let config = &loaded.config;
    assert_eq!(config.throttle.wait, Duration::from_secs(4));
    assert_eq!(config.session.wait, Duration::from_secs(3));
    assert_eq!(config.daemon.drain, Duration::from_secs(2));
    assert_eq!(config.limits.headers, 11);
    assert_eq!(config.log.level, "info");
    let place = |path: &str| {
        loaded
            .effective_keys()
            .find(|setting| setting.key.path() == path)
            .unwrap()
            .source
            .to_string()
    };
    let file = format!("{}/config.toml", directory.path().display());
    assert_eq!(place("throttle.wait"), "--throttle-wait");
    assert_eq!(place("session.wait"), "NEXUDUS_PROXY_SESSION_WAIT");
    assert_eq!(place("daemon.drain"), format!("{file}:14:1"));
    assert_eq!(place("limits.headers"), format!("{file}:8:1"));
    assert_eq!(place("log.level"), "default");
}

#[test]
fn one_profile_does_not_touch_another() {
    let config = load("[profile.work.session]\nwait = \"2s\"\n");

    assert_eq!(config, Config::default());
}

#[test]
fn an_empty_variable_of_any_key_is_as_if_it_were_unset() {
    // https://github.com/qmilab/asterism/issues/174, https://github.com/kosli-dev/cli/pull/1089
    let (_directory, unset) = sources("[throttle]\nwait = \"7s\"\n");
    let mut empty = unset.clone();
    let names: Vec<_> = KEYS.iter().map(Key::env_variable).collect();
    for name in &names {
        let home = unset.environment.text("HOME").unwrap().unwrap();
        empty.environment = [("HOME", home.as_str()), (name.as_str(), "")].into();
        assert_eq!(empty.load().unwrap().config, unset.load().unwrap().config, "{name}");
    }
}

#[test]
fn every_key_can_be_given_in_the_environment_and_as_a_flag() {
    for entry in KEYS {
        let text = other_than_default(entry);
        let named = [("HOME", "/nowhere"), (&entry.env_variable(), text)];
        let flags = vec![given(entry.section, entry.name, &[text])];
        let by_variable = Sources { environment: named.into(), ..Sources::default() };
        let environment = [("HOME", "/nowhere")].into();
        let by_flag = Sources { flags, environment, ..Sources::default() };

        for (sources, place) in
            [(by_variable, entry.env_variable()), (by_flag, format!("--{}", entry.flag()))]
        {
            match sources.load() {
                Ok(loaded) => {
                    let mut settings = loaded.effective_keys();
                    let setting = settings.find(|row| row.key.path() == entry.path()).unwrap();
                    assert_ne!(setting.value, entry.default(), "{entry:?}");
                    assert_eq!(setting.source.to_string(), place);
                }
                Err(Error(problems)) => match &problems[..] {
                    [Diagnostic::CaFile { .. }] => assert_eq!(entry.name, "ca_file"),
                    problems => panic!("{entry:?}: {problems:?}"),
                },
            }
        }
    }
}

/// A value that is valid for the key and not its default.
fn other_than_default(entry: &Key) -> &'static str {
    match entry.value_type {
        ValueType::Bool => "true",
        ValueType::Text => "text",
        ValueType::Level => "debug",
        ValueType::Choice(words) => words[1],
        ValueType::Strings | ValueType::Argv | ValueType::Hostnames => "[\"word\"]",
        ValueType::Origin => "https://localhost:8443",
        ValueType::File => "/nowhere/ca.pem",
        ValueType::Proxy => "system",
        ValueType::Addresses => "localhost:0",
        ValueType::Address => "127.0.0.1:6390",
        ValueType::Socket => "off",
        ValueType::AuditFile => "auto",
        ValueType::Hosts => "{ origin = \"https://localhost\", listen = [\"127.0.0.1:0\"] }",
        ValueType::Duration { .. } => "1m30s",
        ValueType::Size { .. } => "32KiB",
        ValueType::Integer { .. } => "42",
        ValueType::Threads { .. } => "auto",
        ValueType::Rate => "10/100ms",
        ValueType::UpstreamAddress => "203.0.113.7",
        ValueType::Rules => "[\"DELETE /**\"]",
        ValueType::Engine => "redis://127.0.0.1:6379",
        ValueType::Ports => "[6380]",
        ValueType::Shares => "[\"session\", \"throttle\"]",
    }
}

#[test]
fn a_rule_that_can_never_match_is_warned_of() {
    let (_directory, sources) = sources(
        "[policy]\ndeny = ['TRACE /a', 'GET /a?b', '* /api/**', 'GET /api/x', 'GET /**/me']\n",
    );

    assert_eq!(
        sources.load().unwrap().warnings,
        [
            "policy.deny: `TRACE /a` can never match: its method is never forwarded",
            "policy.deny: `GET /a?b` can never match: rules are matched against the path alone, \
             without the query",
            "policy.deny: `GET /api/x` can never match first: `* /api/**` covers it",
        ]
    );
}

#[test]
fn what_is_no_rule_is_refused() {
    let said = problems("[policy]\ndeny = ['DELETE']\n").join("\n");

    assert!(
        said.contains(
            "policy.deny: \"DELETE\" is no rule: a rule is a method and a path, such as `DELETE \
             /api/spaces/**`, or `RUN KEY /path` for a command of Nexudus"
        ),
        "{said}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found = problems(
        "[upstrem]\n[upstream]\norigin = \"http://spaces.nexudus.com\"\nheader_timeuot = \"1s\"\n\
         connect_timeout = \"soon\"\n[listen]\ntcp = [\"0.0.0.0:6398\"]\nunix = false\n\
         [limits]\nreads = \"auto\"\nheaders = 0\nreplay_body = \"1MB\"\n",
    );

    assert_eq!(
        found,
        [
            "1:2: unknown section [upstrem]",
            "3:1: upstream.origin: must be https: with http:// others on the network could read \
         the token",
            "4:1: unknown key `upstream.header_timeuot`",
            "5:1: upstream.connect_timeout: expected a duration such as \"30s\", longer than zero, \
         found \"soon\"",
            "7:1: listen.tcp: 0.0.0.0:6398 can be reached from other machines",
            "8:1: listen.unix: expected \"auto\", \"off\" or an absolute path of at most 103 bytes, \
         found false",
            "10:1: unknown key `limits.reads`",
            "11:1: limits.headers: expected a whole number from 1 to 10000, found 0",
            "12:1: limits.replay_body: expected a size such as \"64KiB\" from 0 to 1GiB, found \
         \"1MB\"",
        ]
    );
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest_one() {
    let near = |text: &str| {
        let (_directory, sources) = sources(text);
        let Error(problems) = sources.load().unwrap_err();
        match problems.into_iter().next() {
            Some(
                Diagnostic::UnknownKey { nearest, .. } | Diagnostic::UnknownSection { nearest, .. },
            ) => nearest,
            other => panic!("{other:?}"),
        }
    };

    for (text, nearest) in [
        ("[throtle]", Some("throttle")),
        ("[hosts]", Some("host")),
        ("[throttle]\nread = 'auto'", Some("throttle.reads")),
        ("[limits]\nread = 'auto'", Some("throttle.reads")),
        ("[limits]\nca_file = ''", Some("upstream.ca_file")),
        ("ca_file = ''", Some("upstream.ca_file")),
        ("[profile.work.throttle]\nread = 'auto'", Some("throttle.reads")),
        ("[[host]]\norigins = 'https://a'\nlisten = ['[::1]:1']", Some("host.origin")),
        ("[log]\nzzzzzzzzzz = 1", None),
        ("[zzzzzzzzzz]", None),
    ] {
        assert_eq!(near(text).as_deref(), nearest, "{text}");
    }
}

#[test]
fn a_mistyped_variable_is_refused_and_other_peoples_are_not_ours() {
    let load = |name: &str| {
        let environment = Environment::from([("HOME", "/nowhere"), (name, "1s")]);
        Sources { environment, ..Sources::default() }.load()
    };

    let Error(problems) = load("NEXUDUS_PROXY_THROTLE_WAIT").unwrap_err();

    assert!(matches!(&problems[..], [Diagnostic::UnknownVariable { nearest: Some(nearest), .. }]
        if nearest == "NEXUDUS_PROXY_THROTTLE_WAIT"));
    assert!(load("NEXUDUS_PASSWORD").is_ok());
}

#[test]
fn values_of_the_wrong_shape_are_told_what_is_expected() {
    for (text, said) in [
        ("upstream = 1", "1:1: expected a section [upstream]"),
        ("profile = 1", "1:1: expected a section [profile.NAME]"),
        ("[profile]\nwork = 1", "2:1: expected a section [profile.work]"),
        ("[[log]]", "1:3: expected a section [log]"),
        ("[profile.'../x'.log]", "1:10: `../x` is not a valid profile name"),
        (
            "[upstream]\norigin = 'https://a/b'",
            "2:1: upstream.origin: an origin is scheme, host and port, without a path",
        ),
        (
            "[upstream]\nproxy = 'me:hunter2@proxy'",
            "2:1: upstream.proxy: expected \"none\", \"system\" or a URL such as \
          \"http://proxy.example:3128\", found something else",
        ),
        (
            "[host]\norigin = 'https://a'",
            "1:2: host: expected [[host]] tables with `origin` and `listen`, found a table",
        ),
        (
            "[[host]]\norigin = 'https://a'",
            "1:3: host: expected [[host]] tables with `origin` and `listen`, found one without `listen`",
        ),
        (
            "[log]\nlevel = 'inof'",
            "2:1: log.level: expected a level such as \"info\", or directives such as \
          \"info,nexudus_proxy::session=debug\", found \"inof\"",
        ),
        (
            "[credentials]\nsource = 'command'",
            "2:1: credentials.source = \"command\" needs credentials.command",
        ),
        (
            "[[host]]\norigin = 'https://a'\nlisten = ['127.0.0.1:6398']",
            "1:3: host: 127.0.0.1:6398 is already used by another listener",
        ),
    ] {
        assert_eq!(problems(text), [said], "{text}");
    }
}

#[test]
fn a_relative_path_starts_at_the_file_that_names_it() {
    let (directory, mut sources) = sources("[listen]\nunix = 'run/p.sock'\n");

    let here = sources.load().unwrap().config.listen.unix;
    sources.flags = vec![given("listen", "unix", &["~/p.sock"])];
    let home = sources.load().unwrap().config.listen.unix;

    assert_eq!(here, UnixSocket::Path(directory.path().join("run/p.sock")));
    assert_eq!(home, UnixSocket::Path(directory.path().join("p.sock")));
}

#[test]
fn a_file_that_was_asked_for_must_exist_and_be_one() {
    let (directory, mut sources) = sources("");

    sources.file = Some(directory.path().join("missing.toml"));
    let Error(missing) = sources.load().unwrap_err();
    sources.file = Some(directory.path().to_owned());
    let Error(unreadable) = sources.load().unwrap_err();
    sources.file = None;

    assert!(matches!(missing[..], [Diagnostic::NotFound(_)]));
    assert!(matches!(unreadable[..], [Diagnostic::Unreadable { .. }]));
    assert_eq!(sources.load().unwrap().config, Config::default());
}

#[test]
fn a_file_that_is_not_text_says_where() {
    let (directory, sources) = sources("");
    std::fs::write(directory.path().join("config.toml"), b"[log]\nlevel = \"\xff\"").unwrap();

    let Error(problems) = sources.load().unwrap_err();

    assert!(problems[0].to_string().ends_with("config.toml:2:10: not valid UTF-8"));
}
