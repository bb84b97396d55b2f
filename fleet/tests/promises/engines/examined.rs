//! What an engine is told to lack, on real ones.

use std::time::{Duration, SystemTime};

use shared_session::engine::{
    ConnectError, Examination, Finding, Level, Options, Transport, acl, examine,
};
use shared_session::script::{COMMANDS, Keyspace};
use shared_session::secret::Secret;

use super::server::{Program, Server, options};

fn wall() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

async fn examined(options: Options) -> Examination {
    examine(options, wall).await.unwrap()
}

/// The engine's own arguments come last and win.
async fn with(program: Program, arguments: &[&str]) -> Server {
    let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
    Server::start_with(program, |_, _| arguments).await
}

fn wrong(found: &Examination) -> Vec<Finding> {
    found.findings().into_iter().filter(|one| one.level() == Level::Wrong).collect()
}

#[tokio::test]
async fn an_engine_that_is_set_up_well_has_nothing_wrong() {
    for program in Program::ALL {
        let server =
            with(program, &["--appendonly", "yes", "--maxmemory-policy", "noeviction"]).await;
        let found = examined(server.options()).await;

        assert_eq!(wrong(&found), [], "{program:?}");
        let (name, version) = found.program.clone().unwrap();
        let expected = if program == Program::Redis { "redis" } else { "valkey" };
        assert_eq!(name, expected, "{version}");
        assert_eq!(found.transport, Transport::Loopback);
        assert!(found.clock.abs() < 1_000 && found.round_trip < Duration::from_secs(1));
        assert!(found.persistence.as_ref().unwrap().file && found.has_config);
        assert_eq!(found.role, Some(("master".to_owned(), 0)));
        assert!(found.findings().contains(&Finding::Alone));
        let has_file_wait = !found.findings().contains(&Finding::NoFileWait);
        assert_eq!(has_file_wait, program == Program::Valkey);
        let keys = server.command(&["KEYS", "*"]).await;
        assert_eq!(redis::from_redis_value::<Vec<String>>(keys).unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_engine_that_keeps_nothing_or_evicts_is_told() {
    for program in Program::ALL {
        let full = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
        let found = examined(with(program, &full).await.options()).await;
        assert_eq!(wrong(&found), [Finding::Evicts("allkeys-lru".to_owned(), true)], "{program:?}");
        assert!(found.findings().contains(&Finding::Volatile), "{program:?}");

        let found = examined(with(program, &["--save", "60 1"]).await.options()).await;
        assert_eq!(wrong(&found), []);
        assert!(found.findings().contains(&Finding::SnapshotsOnly), "{program:?}");

        let lazy = ["--appendonly", "yes", "--appendfsync", "no"];
        let found = examined(with(program, &lazy).await.options()).await;
        assert!(found.findings().contains(&Finding::Unsynced), "{program:?}");
    }
}

/// A user made by the printed line, with the password that a person adds.
async fn made_by(server: &Server, line: &str) -> Options {
    let words: Vec<&str> = line.split(' ').collect();
    server.command(&words).await;
    server.command(&["ACL", "SETUSER", "nexudus", ">pass-of-the-member"]).await;
    let mut options = server.options();
    options.username = Some("nexudus".to_owned());
    options.password = Some(Secret::new("pass-of-the-member"));
    options
}

#[tokio::test]
async fn the_printed_line_gives_all_that_is_needed_and_managed_engines_are_only_told() {
    for program in Program::ALL {
        let server = with(program, &["--appendonly", "yes"]).await;
        let line = examined(server.options()).await.acl;
        let found = examined(made_by(&server, &line).await).await;

        assert_eq!(found.missing, Vec::<String>::new(), "{program:?}");
        assert_eq!(wrong(&found), [], "{program:?}");
        assert_eq!(found.acl, line);
        // As where a provider keeps the configuration to itself.
        assert!(!found.has_config && found.findings().contains(&Finding::NoConfig));
        assert_eq!(found.eviction.as_deref(), Some("noeviction"));
    }
}

#[tokio::test]
async fn each_command_that_the_user_lacks_is_named() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let line = examined(server.options()).await.acl;
        for command in COMMANDS.iter().filter(|one| line.contains(&format!(" +{one}"))) {
            let without = format!(" +{command}");
            let end = |at: usize| {
                line[at + without.len()..].starts_with([' ']) || line.ends_with(&without)
            };
            let at = line.match_indices(&without).map(|(at, _)| at).find(|at| end(*at)).unwrap();
            let less = format!("{}{}", &line[..at], &line[at + without.len()..]);
            let found = examined(made_by(&server, &less).await).await;
            assert_eq!(found.missing, [format!("+{command}")], "{program:?}");
        }
    }
}

#[tokio::test]
async fn another_profiles_keys_and_channels_are_named() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let line = acl("nexudus", &Keyspace::new("shared", "work"), 0, program == Program::Valkey);
        let found = examined(made_by(&server, &line).await).await;
        let pattern = Keyspace::new("shared", "default").pattern();
        assert_eq!(found.missing, [format!("&{pattern}"), format!("~{pattern}")], "{program:?}");
    }
}

#[tokio::test]
async fn an_engine_that_does_not_tell_what_it_is_is_examined_all_the_same() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let line = examined(server.options()).await.acl.replace(" +info", "");
        let found = examined(made_by(&server, &line).await).await;
        assert_eq!((found.program.clone(), found.persistence.clone()), (None, None), "{program:?}");
        assert!(found.findings().contains(&Finding::NoInfo));
    }
}

#[tokio::test]
async fn a_replica_takes_no_writes_and_is_named() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        server.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
        let found = examined(server.options()).await;
        assert_eq!(wrong(&found), [Finding::Replica], "{program:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_no_finding_but_the_error() {
    let server = Server::start(Program::Redis).await;
    let mut wrong =
        made_by(&server, &acl("nexudus", &Keyspace::new("shared", "default"), 0, false)).await;
    wrong.password = Some(Secret::new("marker-password"));
    let error = examine(wrong, wall).await.unwrap_err();
    assert!(matches!(error, ConnectError::Denied), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("marker"));

    let nowhere = options(&format!("redis://127.0.0.1:{}", super::server::free_port()));
    assert!(matches!(examine(nowhere, wall).await, Err(ConnectError::Unreachable(_))));
}

/// The scripts' own text names each command that they call.
#[test]
fn the_list_of_commands_has_every_command_of_the_scripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts");
    let mut called = std::collections::BTreeSet::new();
    for script in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(script.unwrap().path()).unwrap();
        for call in text.split("redis.call('").skip(1) {
            called.insert(call.split('\'').next().unwrap().to_lowercase());
        }
    }
    let others =
        ["evalsha", "script|load", "subscribe", "wait", "waitaof", "role", "info", "select"];
    called.extend(others.map(str::to_owned));
    let listed: std::collections::BTreeSet<String> =
        COMMANDS.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(listed, called);
}
