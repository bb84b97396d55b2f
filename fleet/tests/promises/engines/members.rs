//! Whole members on a real engine: what one does, the others have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use shared_session::driver::{Clock, Issuer, LocalStore, Workers, run};
use shared_session::engine::{Address, Engine};
use shared_session::member::{
    Command, Event, Grant, GrantError, Local, Member, Now, Password, Redemption, Setup,
};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::seal::Keyring;
use shared_session::secret::Secret;
use shared_session::timing::Timing;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::server::{Program, Server};

/// Single-use refresh tokens, bound to a client id.
#[derive(Clone, Default)]
struct OneIssuer(Arc<Mutex<Issued>>);

#[derive(Default)]
struct Issued {
    live: BTreeMap<String, String>,
    count: u64,
    logins: u64,
    refused: u64,
}

impl Issuer for OneIssuer {
    async fn redeem(&mut self, redemption: Redemption) -> Result<Grant, GrantError> {
        let mut issued = self.0.lock().unwrap();
        match &redemption.refresh {
            Some(token)
                if issued.live.get(&redemption.client_id).map(String::as_str)
                    != Some(token.expose()) =>
            {
                issued.refused += 1;
                return Err(GrantError::Refused);
            }
            Some(_) => {}
            None => issued.logins += 1,
        }
        issued.count += 1;
        let refresh = format!("refresh-{}", issued.count);
        let access = Secret::new(format!("access-{}", issued.count));
        issued.live.insert(redemption.client_id, refresh.clone());
        let refresh = Some(Secret::new(refresh));
        Ok(Grant { access, refresh, lifetime: Duration::from_secs(4), account: None })
    }
}

/// A disk that forgets with the member.
struct Memory;

impl LocalStore for Memory {
    async fn save(&mut self, _local: Local) -> bool {
        true
    }
}

struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Now { boot: self.0.elapsed(), wall: wall.as_millis().try_into().unwrap() }
    }
}

/// What a member serves: the token, and whether it is shut.
type Served = (Option<String>, bool);

struct Running {
    events: mpsc::Sender<Event>,
    served: watch::Receiver<Served>,
    task: JoinHandle<()>,
}

async fn start(server: &Server, name: &str, issuer: &OneIssuer) -> Running {
    let mut options = server.options();
    options.address = Address::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    options.timing = Timing::default().scaled(20);
    let setup = Setup {
        me: Incarnation::random(),
        keys: Arc::new(Keyring::new("default", &[&[7; 32]]).unwrap()),
        timing: options.timing,
        info: MemberInfo { name: name.to_owned(), version: "1".to_owned() },
        client_id: format!("fleet-by-{name}"),
        apart_client_id: format!("apart-{name}"),
        password: Some(Password { account: "a@example.test".to_owned(), needs_code: false }),
        partition_login: false,
    };
    let hints = Engine::hints(options.clone()).await.unwrap();
    let clock = Since(Instant::now());
    let member = Member::new(setup, Local::default(), clock.now());
    let workers = Workers::start(Engine::new(options), issuer.clone(), Memory, Some(hints));
    let (events, taken) = mpsc::channel(8);
    let (seen, served) = watch::channel((None, false));
    let task = tokio::spawn(async move {
        let time = Since(clock.0);
        run(member, workers, &clock, taken, |member, _| {
            let bearer = member.bearer(time.now()).map(|one| one.access.expose().to_owned());
            seen.send_replace((bearer, member.is_shut()));
        })
        .await;
    });
    Running { events, served, task }
}

async fn until(members: &mut [Running], is_so: impl Fn(&[Served]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let served: Vec<_> = members.iter().map(|one| one.served.borrow().clone()).collect();
        if is_so(&served) {
            return;
        }
        assert!(Instant::now() < deadline, "{served:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn five_members_share_one_login_through_many_refreshes_and_a_logout() {
    for program in Program::ALL {
        let (server, issuer) = (Server::start(program).await, OneIssuer::default());
        let mut members = vec![];
        for name in ["a", "b", "c", "d", "e"] {
            members.push(start(&server, name, &issuer).await);
        }

        let all_have = |served: &[Served], count: u64| {
            let token = Some(format!("access-{count}"));
            served.iter().all(|(bearer, _)| *bearer == token)
        };
        until(&mut members, |served| all_have(served, 1)).await;
        until(&mut members, |served| all_have(served, 3)).await;
        members[3].events.send(Event::Asked(Command::Logout)).await.unwrap();
        until(&mut members, |served| {
            served.iter().all(|(bearer, is_shut)| bearer.is_none() && *is_shut)
        })
        .await;

        let issued = issuer.0.lock().unwrap();
        assert_eq!((issued.logins, issued.refused), (1, 0), "{program:?}");
        for member in members {
            member.task.abort();
        }
    }
}
