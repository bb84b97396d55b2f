//! The ways to an engine: TLS, a Unix socket, an ACL; and what happens without one.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use shared_session::call::{Call, CallError, Place, Reply};
use shared_session::engine::{Engine, Options, acl};
use shared_session::fence::Fence;
use shared_session::pace::{LaneAsk, Windows};
use shared_session::quota::{Allowance, Ask, Span};
use shared_session::record::Incarnation;
use shared_session::register::Stored;
use shared_session::script::Keyspace;
use shared_session::secret::Secret;

use super::server::{Program, Server, free_port, options};

const DRAW: Call = Call::Draw { seen: Fence::ZERO };

async fn draws(options: Options) -> bool {
    matches!(Engine::new(options).call(&DRAW).await, Ok(Reply::Drawn(_)))
}

#[tokio::test]
async fn an_engine_on_a_unix_socket() {
    for program in Program::ALL {
        let server = Server::start_with(program, |folder, _| {
            let socket = folder.join("engine.sock").display().to_string();
            vec!["--unixsocket".to_owned(), socket]
        })
        .await;
        let socket = server.folder().join("engine.sock");
        let url = format!("redis+unix://{}", socket.display());
        assert!(draws(options(&url)).await, "{program:?}");
    }
}

/// Both programs have TLS in their packages of Debian; the one from PyPI may have none.
#[tokio::test]
async fn an_engine_with_tls_is_believed_only_with_our_anchors() {
    let port = free_port();
    let (ca, files) = certificates();
    let server = Server::start_with(Program::Redis, |folder, _| {
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let path = |name: &str| folder.join(name).display().to_string();
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("cert.pem")),
            ("--tls-key-file", path("key.pem")),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    })
    .await;
    let mut with_anchor = options(&format!("rediss://localhost:{port}"));
    with_anchor.tls = Some(trusting(Some(&ca)));
    let mut without = with_anchor.clone();
    without.tls = Some(trusting(None));
    let mut other_name = options(&format!("rediss://127.0.0.1:{port}"));
    other_name.tls = with_anchor.tls.clone();

    assert!(draws(with_anchor).await);
    assert!(!draws(without).await);
    assert!(!draws(other_name).await);
    assert!(server.port != port);
}

pub(super) fn trusting(ca: Option<&rcgen::Certificate>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca) = ca {
        roots.add(ca.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// An authority, and the files of a server named `localhost`.
pub(super) fn certificates() -> (rcgen::Certificate, [(&'static str, String); 3]) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let files = [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())];
    (ca, files)
}

async fn with_acl(program: Program) -> Server {
    Server::start_with(program, |folder, _| {
        let path = folder.join("users.acl");
        // Redis 7.0 cannot wait for its file.
        let line =
            acl("member", &Keyspace::new("shared", "default"), 0, program == Program::Valkey);
        let user = line.replace("ACL SETUSER", "user").replace(" on ", " on >pass-of-the-member ");
        std::fs::write(&path, format!("user default on nopass ~* &* +@all\n{user}\n")).unwrap();
        vec!["--aclfile".to_owned(), path.display().to_string()]
    })
    .await
}

fn as_member(server: &Server, password: &str) -> Options {
    let mut options = server.options();
    options.username = Some("member".to_owned());
    options.password = Some(Secret::new(password));
    options
}

#[tokio::test]
async fn the_printed_acl_is_enough_for_every_call() {
    for program in Program::ALL {
        let server = with_acl(program).await;
        let mut engine = Engine::new(as_member(&server, "pass-of-the-member"));
        let me = Incarnation::named("a");
        let Ok(Reply::Acquired { fence: lease, .. }) = engine
            .call(&Call::Acquire {
                me: me.clone(),
                seen: Fence::ZERO,
                is_settled: false,
                answered: 0,
            })
            .await
        else {
            panic!("{program:?}: no lease")
        };
        let stored = Stored { fence: lease, is_tombstone: false, sealed: b"x".to_vec() };
        for call in every_call(me, lease, &stored) {
            assert!(engine.call(&call).await.is_ok(), "{program:?}: {call:?}");
        }
        assert!(engine.info().await.unwrap().fields.contains_key("redis_version"));
    }
}

fn every_call(me: Incarnation, lease: Fence, stored: &Stored) -> [Call; 10] {
    [
        Call::Poll {
            me: me.clone(),
            seen: Fence::LAST,
            has_reported: true,
            have: [].into(),
            info: stored.clone(),
            number: 1,
            answered: 0,
        },
        Call::Intend {
            me: me.clone(),
            lease,
            known: Fence::ZERO,
            intent: stored.clone(),
            attempts: Some(stored.clone()),
        },
        Call::Commit { me: me.clone(), session: stored.clone(), drop: vec![lease] },
        Call::Spare { spare: stored.clone() },
        Call::Put {
            place: Place::Set,
            name: "client/a".to_owned(),
            stored: stored.clone(),
            unopened: None,
        },
        Call::Release { me: me.clone(), lease, keeps_lease: false, ends: Some(lease) },
        Call::Pace {
            me: me.clone(),
            lanes: vec![throttled_lane()],
            horizon: Duration::from_millis(500),
        },
        Call::Count {
            me: me.clone(),
            asks: [Allowance::Total(3), Allowance::Rate { most: 3, per: Duration::from_secs(1) }]
                .map(|allowance| {
                    let (name, knows) = ("client/requests".to_owned(), Span::default());
                    Ask { name, allowance, wants: 1, owes: 1, knows }
                })
                .to_vec(),
            horizon: Duration::from_millis(500),
        },
        Call::ReadSet,
        Call::Leave { me },
    ]
}

fn throttled_lane() -> LaneAsk {
    LaneAsk {
        lane: "reads".to_owned(),
        wants: 5,
        pause: Duration::from_millis(1),
        windows: Windows::from_text("1 9/100,9/60000"),
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_foreign_profile_are_denied() {
    for program in Program::ALL {
        let server = with_acl(program).await;
        let wrong = as_member(&server, "wrong");
        let mut foreign = as_member(&server, "pass-of-the-member");
        foreign.keyspace = Keyspace::new("shared", "work");

        assert_eq!(Engine::new(wrong).call(&DRAW).await, Err(CallError::Denied), "{program:?}");
        assert_eq!(Engine::new(foreign).call(&DRAW).await, Err(CallError::Denied), "{program:?}");
    }
}

#[tokio::test]
async fn hints_arrive_after_a_change() {
    for program in Program::ALL {
        let server = with_acl(program).await;
        let options = as_member(&server, "pass-of-the-member");
        let mut hints = Engine::hints(options.clone()).await.unwrap();

        let fence = Fence::new(1).unwrap();
        let stored = Stored { fence, is_tombstone: false, sealed: vec![] };
        let name = "lock".to_owned();
        let put = Call::Put { place: Place::Registers, name, stored, unopened: None };
        Engine::new(options).call(&put).await.unwrap();

        let hint = tokio::time::timeout(Duration::from_secs(10), hints.recv()).await;
        assert!(hint.unwrap().is_some(), "{program:?}");
    }
}

#[tokio::test]
async fn scripts_that_the_engine_forgot_are_loaded_again() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        engine.call(&DRAW).await.unwrap();
        server.command(&["SCRIPT", "FLUSH"]).await;
        assert!(matches!(engine.call(&DRAW).await, Ok(Reply::Drawn(_))), "{program:?}");
    }
}

#[tokio::test]
async fn an_engine_that_ends_is_away_and_one_that_reads_only_is_unwritable() {
    for program in Program::ALL {
        let mut server = Server::start(program).await;
        let mut options = server.options();
        options.timing = options.timing.scaled(1_000);
        let mut engine = Engine::new(options);
        engine.call(&DRAW).await.unwrap();
        let nowhere = free_port().to_string();
        server.command(&["REPLICAOF", "127.0.0.1", &nowhere]).await;
        assert_eq!(engine.call(&DRAW).await, Err(CallError::Unwritable), "{program:?}");
        server.kill();
        assert_eq!(engine.call(&DRAW).await, Err(CallError::Away), "{program:?}");
    }
}
