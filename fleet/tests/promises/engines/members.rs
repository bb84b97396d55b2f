//! Whole members on a real engine: what one does, the others have.

use std::time::Duration;

use shared_session::member::{Command, Event};

use super::fleet::{Fleet, Served};
use super::server::{Program, Server};

#[tokio::test]
async fn five_members_share_one_login_through_many_refreshes_and_a_logout() {
    for program in Program::ALL {
        let server = Server::start(program).await;
        let options = (0..5).map(|_| server.options());
        let mut fleet = Fleet::start(Duration::from_secs(4), options).await;

        let all_have = |served: &[Served], count: u64| {
            let token = Some(format!("access-{count}"));
            served.iter().all(|(bearer, _)| *bearer == token)
        };
        fleet.until("first", |served| all_have(served, 1)).await;
        fleet.until("third", |served| all_have(served, 3)).await;
        fleet.members[3].events.send(Event::Asked(Command::Logout)).await.unwrap();
        fleet
            .until("logout", |served| {
                served.iter().all(|(bearer, is_shut)| bearer.is_none() && *is_shut)
            })
            .await;

        let issued = fleet.issuer.issued();
        assert_eq!((issued.logins, issued.refused), (1, 0), "{program:?}");
    }
}
