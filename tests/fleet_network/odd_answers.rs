//! Answers of the issuer that are slow, lost or given twice, and a password that is changed at the issuer
//! while a member is cut off.

use std::time::Duration;

use nexudus_simulator::{Fault, FaultAction};

use crate::judge::Excuse;
use crate::namespaces::{Cut, ENGINES, isolated};
use crate::stage::Fleet;
use crate::{EMAIL, LEASE, until};

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn slow_lost_and_repeated_token_answers_are_survived() {
    isolated("odd_answers::slow_lost_and_repeated_token_answers_are_survived", || {
        let fleet = Fleet::start();
        let refreshes = || Fault::on(TOKEN, FaultAction::Close).grant("refresh_token").times(1);
        let unresolved = Excuse { spent_again: 1, ..Excuse::default() };
        let slow = Fault::on(TOKEN, FaultAction::Pass).times(1).delayed(Duration::from_secs(1));
        for (told, fault, grace, excuse) in [
            ("slow", slow, Duration::ZERO, Excuse::default()),
            ("lost on its way there", refreshes(), Duration::ZERO, unresolved),
            ("answered twice", refreshes().executed(), Duration::from_secs(60), unresolved),
            (
                "lost on its way back",
                refreshes().executed(),
                Duration::ZERO,
                Excuse { passwords: 1, ..unresolved },
            ),
        ] {
            let mark = fleet.mark();
            fleet.issuer.set(|settings| settings.token.rotation_grace = grace);
            fleet.issuer.fault(fault);
            let calls = fleet.issuer.token_calls().len();
            fleet.members[1].begin_refresh();
            until("the fault has met a request", || fleet.issuer.settings().faults.is_empty());
            let is_over = || {
                let calls = &fleet.issuer.token_calls()[calls..];
                calls.last().is_some_and(|last| last.issued.is_some() && last.status == Some(200))
            };
            until("the session is renewed", is_over);
            fleet.until_agreed();
            fleet.judge(told, mark, excuse);
        }
    });
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_password_that_is_changed_during_a_partition_is_refused_once_a_side() {
    isolated(
        "odd_answers::a_password_that_is_changed_during_a_partition_is_refused_once_a_side",
        || {
            const NEW: &str = "marker-password-9c1e";
            let fleet = Fleet::start();
            let mark = fleet.mark();
            let passwords = || {
                let calls = fleet.issuer.token_calls();
                let since = calls[mark.token_calls..].iter();
                since.filter(|call| call.grant.as_deref() == Some("password")).count()
            };
            let apart = &fleet.members[4];
            apart.node.cut(Cut::Both, ENGINES);
            until("it knows that it is cut off", || apart.fleet_status()["connected"] == false);
            // All tokens die with the password.
            fleet.issuer.change_password(EMAIL, NEW);
            until("the password was tried", || passwords() > 0);
            // The callers go on, and each is refused: no member may try again.
            std::thread::sleep(2 * LEASE);
            apart.node.heal();
            std::thread::sleep(2 * LEASE);
            assert!(passwords() <= 2, "I6: {} passwords were shown", passwords());

            let tried = passwords();
            fleet.members.iter().for_each(|member| member.set_password(NEW));
            let answer = fleet.members[0].admin("POST", "/v1/login");
            assert_eq!(answer.map(|it| it.status), Some(200));
            fleet.until_agreed();
            assert_eq!(passwords(), tried + 1, "one login for all");
        },
    );
}

const TOKEN: &str = "/api/token";
