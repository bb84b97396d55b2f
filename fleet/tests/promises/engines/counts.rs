//! What the engines count for clients, beside the model of it.

use std::time::{Duration, SystemTime};

use shared_session::call::{Call, Reply};
use shared_session::engine::Engine;
use shared_session::quota::{Allowance, Ask, Counted, Span};
use shared_session::record::Incarnation;

use super::server::{Program, Server};
use crate::counts::Counts;

const HORIZON: Duration = Duration::from_millis(100);

fn ask(name: &str, allowance: Allowance, wants: u64) -> Ask {
    Ask { name: name.to_owned(), allowance, wants, owes: 0, knows: Span::default() }
}

async fn count(engine: &mut Engine, name: &str, asks: Vec<Ask>) -> Vec<Counted> {
    let call = Call::Count { me: Incarnation::named(name), asks, horizon: HORIZON };
    let Reply::Counted(counted) = engine.call(&call).await.unwrap() else { panic!("no counts") };
    counted
}

fn wall() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}

struct Script {
    random: fastrand::Rng,
}

impl Script {
    fn asks(&mut self) -> Vec<Ask> {
        (0..self.random.usize(1..4)).map(|_| self.ask()).collect()
    }

    fn ask(&mut self) -> Ask {
        let name = ["a/requests", "b/writes", "b/bytes"][self.random.usize(..3)];
        let hour = Duration::from_secs(3_600);
        let most = if self.random.u8(..12) == 0 { 0 } else { self.random.u64(1..60) };
        let is_total = name == "a/requests" || most == 0;
        let allowance =
            if is_total { Allowance::Total(most) } else { Allowance::Span { most, per: hour } };
        // Begun half an hour ago, or over for long; of a total there is one beginning.
        let begun = wall() - [1_800_000, 9_000_000][self.random.usize(..2)];
        let since = [0, if is_total { 1 } else { begun }][self.random.usize(..2)];
        let knows = Span { since, taken: self.random.u64(..30) };
        let (wants, owes) = (self.random.u64(..12), self.random.u64(..3));
        Ask { name: name.to_owned(), allowance, wants, owes, knows }
    }
}

/// Equal but for the time that passed between the two.
fn agree(one: &[Counted], other: &[Counted]) -> bool {
    let is_near = |a: u64, b: u64| a.abs_diff(b) < 5_000;
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            let left = |counted: &Counted| u64::try_from(counted.left.as_millis()).unwrap();
            (one.granted, one.span.taken) == (other.granted, other.span.taken)
                && is_near(one.span.since, other.span.since)
                && is_near(left(one), left(other))
        })
}

#[tokio::test]
async fn the_model_and_the_engines_count_the_same() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        for seed in 0..12 {
            server.command(&["FLUSHALL"]).await;
            let mut model = Counts::default();
            let mut script = Script { random: fastrand::Rng::with_seed(seed) };
            for round in 0..60 {
                let asks = script.asks();
                let expected = model.count(&asks, wall());
                let said = count(&mut engine, "a", asks.clone()).await;
                let is_same = agree(&said, &expected);
                assert!(
                    is_same,
                    "{program:?}, seed {seed}, {round}: {asks:?}\n{said:?}\n{expected:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn members_that_share_a_budget_get_no_more_than_it() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let (mut a, mut b) = (server.engine(), server.engine());
        let budget = Allowance::Span { most: 50, per: Duration::from_secs(3_600) };
        let mut granted = 0;
        for _ in 0..20 {
            granted += count(&mut a, "a", vec![ask("k/writes", budget, 3)]).await[0].granted;
            granted += count(&mut b, "b", vec![ask("k/writes", budget, 4)]).await[0].granted;
        }
        assert_eq!(granted, 50, "{program:?}");
        let spent = count(&mut b, "b", vec![ask("k/writes", budget, 1)]).await[0];
        assert!(spent.left > Duration::from_secs(3_500), "{program:?}: {spent:?}");
    }
}

#[tokio::test]
async fn a_rate_is_shared_fairly_and_fills_again() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let (mut a, mut b) = (server.engine(), server.engine());
        let rate = Allowance::Rate { most: 20, per: Duration::from_secs(2) };
        let first = count(&mut a, "a", vec![ask("k/rate", rate, 100)]).await[0];
        assert_eq!(first.granted, 20, "{program:?}: a full bucket");
        let (began, mut got) = (std::time::Instant::now(), [0, 0]);
        while began.elapsed() < Duration::from_secs(3) {
            got[0] += count(&mut a, "a", vec![ask("k/rate", rate, 10)]).await[0].granted;
            got[1] += count(&mut b, "b", vec![ask("k/rate", rate, 10)]).await[0].granted;
            tokio::time::sleep(HORIZON).await;
        }
        // Ten a second, whatever each asks for.
        let most = 10.0 * began.elapsed().as_secs_f64() + 1.0;
        let all = got[0] + got[1];
        assert!((all as f64) <= most && all >= 20, "{program:?}: {got:?} of {most}");
        assert!(got.iter().all(|part| *part >= 5), "{program:?}: {got:?}");
    }
}

#[tokio::test]
async fn spans_that_are_over_leave_the_engine() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let mut engine = server.engine();
        let short = Allowance::Span { most: 5, per: Duration::from_millis(1) };
        count(&mut engine, "a", vec![ask("old/writes", short, 1)]).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let long = Allowance::Span { most: 5, per: Duration::from_secs(3_600) };
        count(&mut engine, "a", vec![ask("new/writes", long, 1), ask("gone", long, 1)]).await;
        count(&mut engine, "a", vec![ask("gone", Allowance::Total(0), 0)]).await;

        let fields = server.command(&["HKEYS", "{shared:default}:counts"]).await;
        let fields: Vec<String> = redis::from_redis_value(fields).unwrap();
        assert_eq!(fields, ["span:new/writes"], "{program:?}");
    }
}
