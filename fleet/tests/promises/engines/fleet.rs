//! Whole members on a real engine, an issuer that counts, and programs that send requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use shared_session::driver::{Clock, Issuer, LocalStore, Workers, run};
use shared_session::engine::{Engine, Options};
use shared_session::member::{
    Event, Grant, GrantError, Local, Member, Now, Password, Redemption, Setup,
};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::seal::Keyring;
use shared_session::secret::Secret;
use shared_session::timing::Timing;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Single-use refresh tokens, bound to a client id.
#[derive(Clone)]
pub(super) struct OneIssuer {
    issued: Arc<Mutex<Issued>>,
    lifetime: Duration,
}

#[derive(Default)]
pub(super) struct Issued {
    live: BTreeMap<String, String>,
    access: BTreeMap<String, Instant>,
    count: u64,
    pub(super) logins: u64,
    pub(super) refused: u64,
}

impl OneIssuer {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { issued: Arc::default(), lifetime }
    }

    pub(super) fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap()
    }
}

impl Issued {
    fn accepts(&self, access: &str) -> bool {
        self.access.get(access).is_some_and(|ends| Instant::now() < *ends)
    }
}

impl Issuer for OneIssuer {
    async fn redeem(&mut self, redemption: Redemption) -> Result<Grant, GrantError> {
        let mut issued = self.issued();
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
        let (refresh, access) =
            (format!("refresh-{}", issued.count), format!("access-{}", issued.count));
        issued.live.insert(redemption.client_id, refresh.clone());
        issued.access.insert(access.clone(), Instant::now() + self.lifetime);
        let refresh = Some(Secret::new(refresh));
        let lifetime = self.lifetime;
        Ok(Grant { access: Secret::new(access), refresh, lifetime, account: None })
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
pub(super) type Served = (Option<String>, bool);

pub(super) struct Running {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) served: watch::Receiver<Served>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Members with one issuer, and a program beside each that sends its token now and then.
pub(super) struct Fleet {
    pub(super) issuer: OneIssuer,
    pub(super) members: Vec<Running>,
    lost: Arc<AtomicU64>,
    _programs: JoinSet<()>,
}

impl Fleet {
    /// Starts a member for each of the engines' options.
    pub(super) async fn start(lifetime: Duration, options: impl Iterator<Item = Options>) -> Self {
        let (issuer, lost) = (OneIssuer::new(lifetime), Arc::new(AtomicU64::new(0)));
        let (mut members, mut programs) = (vec![], JoinSet::new());
        for (number, options) in options.enumerate() {
            let member = start(options, &format!("m{number}"), &issuer).await;
            programs.spawn(send(member.served.clone(), issuer.clone(), lost.clone()));
            members.push(member);
        }
        Self { issuer, members, lost, _programs: programs }
    }

    /// Waits until every member has the same new token, so many times.
    pub(super) async fn refreshes(&mut self, times: u32, told: &str) {
        for _ in 0..times {
            let before = self.issuer.issued().count;
            let issuer = self.issuer.clone();
            self.until(told, |served| {
                let (first, _) = &served[0];
                let is_new = first.as_ref().is_some_and(|token| {
                    let number = token.trim_start_matches("access-").parse::<u64>();
                    number.unwrap() > before && issuer.issued().accepts(token)
                });
                is_new && served.iter().all(|(token, _)| token == first)
            })
            .await;
        }
    }

    /// Waits for what the members serve.
    pub(super) async fn until(&mut self, told: &str, is_so: impl Fn(&[Served]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let served: Vec<_> =
                self.members.iter().map(|one| one.served.borrow().clone()).collect();
            if is_so(&served) {
                return;
            }
            assert!(Instant::now() < deadline, "{told}: {served:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How often a program had no token, or a dead one, after the first.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn send(served: watch::Receiver<Served>, issuer: OneIssuer, lost: Arc<AtomicU64>) {
    let mut has_begun = false;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let token = served.borrow().0.clone();
        let works = token.is_some_and(|token| issuer.issued().accepts(&token));
        has_begun |= works;
        if has_begun && !works {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts a member whose times are a twentieth of the real ones.
pub(super) async fn start(mut options: Options, name: &str, issuer: &OneIssuer) -> Running {
    options.timing = Timing::default().scaled(20);
    options.timeout = Duration::from_secs(1);
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
