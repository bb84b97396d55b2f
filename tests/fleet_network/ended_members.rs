//! Members that die or are stopped while they renew the session, and come back.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::judge::Excuse;
use crate::namespaces::isolated;
use crate::stage::Fleet;
use crate::{LEASE, until};

/// The member that ends.
const GONE: usize = 1;

/// Another one, which renews the session meanwhile.
const OTHER: usize = 2;

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_member_that_dies_while_it_renews_is_replaced_and_comes_back() {
    isolated(
        "ended_members::a_member_that_dies_while_it_renews_is_replaced_and_comes_back",
        || {
            let mut fleet = Fleet::start();
            // The token was spent and its owner has not heard it: it is tried once more, and then the password.
            let unresolved = Excuse { spent_again: 1, passwords: 1, ..Excuse::gone(GONE) };

            let mark = fleet.mark();
            let held = fleet.refresh_held(GONE);
            fleet.members[GONE].kill();
            drop(held);
            fleet.members[GONE].start_again();
            fleet.refresh(GONE);
            fleet.until_agreed();
            fleet.judge("killed while its request was out, and back at once", mark, unresolved);

            let mark = fleet.mark();
            fleet.members[GONE].kill();
            fleet.refresh(OTHER);
            fleet.members[GONE].start_again();
            fleet.until_agreed();
            fleet.judge("killed while it did nothing", mark, Excuse::gone(GONE));

            fleet.issuer.set(|settings| settings.token.access_life = SHORT_LIFE);
            let mark = fleet.mark();
            let held = fleet.refresh_held(GONE);
            fleet.members[GONE].kill();
            drop(held);
            // The others wait for it, and serve on, until the token is needed soon.
            let issued = fleet.issued();
            until("another member renews the session", || fleet.issued() > issued);
            fleet.members[GONE].start_again();
            fleet.until_agreed();
            fleet.judge("killed while its request was out, and away", mark, unresolved);
        },
    );
}

#[test]
#[ignore = "takes minutes: make check-fleet"]
fn a_member_that_is_stopped_for_longer_than_its_lease_spends_nothing_afterwards() {
    isolated(
        "ended_members::\
         a_member_that_is_stopped_for_longer_than_its_lease_spends_nothing_afterwards",
        || {
            let fleet = Fleet::start();
            let mark = fleet.mark();
            fleet.members[GONE].signal(Signal::SIGSTOP);
            // No event tells that a lease would be over.
            std::thread::sleep(LEASE);
            fleet.refresh(OTHER);
            fleet.members[GONE].signal(Signal::SIGCONT);
            fleet.until_agreed();
            fleet.judge("stopped while it did nothing", mark, Excuse::gone(GONE));

            let mark = fleet.mark();
            let held = fleet.refresh_held(GONE);
            fleet.members[GONE].signal(Signal::SIGSTOP);
            drop(held);
            std::thread::sleep(LEASE);
            fleet.members[OTHER].begin_refresh();
            std::thread::sleep(LEASE);
            fleet.members[GONE].signal(Signal::SIGCONT);
            fleet.until_agreed();
            // Its answer was there all the time, and the others have waited for it.
            fleet.judge("stopped while its request was out", mark, Excuse::gone(GONE));
        },
    );
}

/// So short that the others wait half a minute for a member that is gone.
const SHORT_LIFE: Duration = Duration::from_secs(40);
