//! Several machines, each with its file, and a fleet that keeps the newest record of each client.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clients::{ClientPolicy, LimitChange, add, list, revoke, rotate, set};

/// The records, as the engine and every connected member have them.
#[derive(Default)]
struct Fleet {
    records: FleetRecords,
    fence: u64,
}

impl Fleet {
    /// Lets a machine take over what there is, and takes what it offers. Returns what it says.
    fn meet(&mut self, machine: &Path) -> Vec<SharingNote> {
        let result = reconcile(machine, &self.records, true, SystemTime::now()).unwrap();
        for id in result.revocations {
            self.records.insert(id, FleetRecord::Revoked);
        }
        for Offer { id, payload, .. } in result.offers {
            self.fence += 1;
            let record = FleetRecord::Live { fence: self.fence, payload };
            if self.records.get(&id) != Some(&FleetRecord::Revoked) {
                self.records.insert(id, record);
            }
        }
        result.notes
    }

    /// Meets both until nothing changes any more.
    fn settle(&mut self, machines: [&Path; 2]) {
        for _ in 0..8 {
            let before = self.records.clone();
            machines.iter().for_each(|machine| drop(self.meet(machine)));
            if self.records == before {
                return;
            }
        }
        panic!("the machines do not come to an end");
    }
}

fn names(machine: &Path) -> Vec<String> {
    let mut names: Vec<_> = list(machine).unwrap().into_iter().map(|one| one.name).collect();
    names.sort();
    names
}

fn machines() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]
}

fn read_only() -> ClientPolicy {
    ClientPolicy { read_only: true, ..ClientPolicy::default() }
}

fn change(given: ClientPolicy) -> LimitChange {
    LimitChange { given, ..LimitChange::default() }
}

#[test]
fn what_one_machine_has_the_other_gets_and_a_revocation_ends_it_on_both() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    add(one, "etl", read_only()).unwrap();

    fleet.settle([one, other]);
    assert_eq!(names(other), ["etl"]);
    assert_eq!(list(other).unwrap()[0].hash, list(one).unwrap()[0].hash);
    assert_eq!(list(other).unwrap()[0].limits, read_only());
    let backup = std::fs::read(other.join("clients.json")).unwrap();

    revoke(other, "etl").unwrap();
    assert_eq!(fleet.meet(other), []);
    assert_eq!(fleet.meet(one), [SharingNote::Revoked("etl".to_owned())]);
    fleet.settle([one, other]);
    assert_eq!((names(one), names(other)), (vec![], vec![]));
    // An older file says nothing against it.
    std::fs::write(other.join("clients.json"), backup).unwrap();
    fleet.settle([one, other]);
    assert_eq!((names(one), names(other)), (vec![], vec![]));
}

#[test]
fn a_revocation_without_the_fleet_reaches_it_later() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    add(one, "etl", read_only()).unwrap();
    fleet.settle([one, other]);

    revoke(one, "etl").unwrap();
    set(other, "etl", &change(ClientPolicy { max_requests: Some(7), ..read_only() })).unwrap();
    fleet.meet(other);
    fleet.settle([one, other]);

    assert_eq!((names(one), names(other)), (vec![], vec![]));
}

#[test]
fn a_new_key_and_new_limits_of_two_machines_both_stay() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    add(one, "etl", ClientPolicy::default()).unwrap();
    fleet.settle([one, other]);
    let old = list(one).unwrap()[0].hash.clone();

    rotate(one, "etl").unwrap();
    set(other, "etl", &change(read_only())).unwrap();
    // The second one writes over what the first one has written.
    let stale = fleet.records.clone();
    fleet.meet(one);
    fleet.records = stale;
    fleet.settle([other, one]);

    let [first, second] = [one, other].map(|machine| list(machine).unwrap().remove(0));
    assert!(first.hash != old && first.hash == second.hash, "the old key is dead everywhere");
    assert_eq!((first.limits, second.limits), (read_only(), read_only()));
}

#[test]
fn two_clients_of_one_name_keep_their_keys_and_the_older_one_its_name() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    add(one, "etl", ClientPolicy::default()).unwrap();
    fleet.meet(one);
    add(other, "etl", read_only()).unwrap();
    let (first, second) = (list(one).unwrap().remove(0), list(other).unwrap().remove(0));

    let notes = fleet.meet(other);
    fleet.settle([one, other]);

    let renamed = second_name("etl", &second.id);
    let said = SharingNote::Renamed { from: "etl".to_owned(), to: renamed.clone() };
    assert!(notes.contains(&said), "{notes:?}");
    for machine in [one, other] {
        assert_eq!(names(machine), ["etl".to_owned(), renamed.clone()]);
        let hash = |name: &str| {
            list(machine).unwrap().into_iter().find(|it| it.name == name).map(|it| it.hash)
        };
        assert_eq!(hash("etl"), Some(first.hash.clone()));
        assert_eq!(hash(&renamed), Some(second.hash.clone()));
    }
}

#[test]
fn an_expired_client_makes_room_everywhere() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    add(one, "etl", read_only()).unwrap();
    fleet.settle([one, other]);
    let ended = Some(SystemTime::now() - Duration::from_secs(1));
    set(one, "etl", &change(ClientPolicy { expires: ended, ..read_only() })).unwrap();
    fleet.settle([one, other]);

    add(one, "etl", ClientPolicy::default()).unwrap();
    fleet.settle([one, other]);

    for machine in [one, other] {
        assert_eq!(names(machine), ["etl"]);
        assert_eq!(list(machine).unwrap()[0].limits, ClientPolicy::default());
    }
}

#[test]
fn a_client_of_one_command_stays_where_it_is() {
    let [one, other] = machines();
    let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
    crate::clients::store::add_here(one, "run-1", ClientPolicy::default()).unwrap();

    fleet.settle([one, other]);
    assert_eq!((names(one), names(other)), (vec!["run-1".to_owned()], vec![]));
    revoke(one, "run-1").unwrap();
    fleet.settle([one, other]);
    assert!(fleet.records.is_empty());
}

#[test]
fn what_cannot_be_read_is_named_and_left_as_it_is() {
    let [one, _] = machines();
    let (one, mut fleet) = (one.path(), Fleet::default());
    add(one, "etl", ClientPolicy::default()).unwrap();
    fleet.meet(one);
    let id = list(one).unwrap()[0].id.clone();
    let records = [
        FleetRecord::Unopened,
        FleetRecord::Live { fence: 9, payload: "{}".to_owned() },
        // The record of another client under this identifier.
        FleetRecord::Live { fence: 9, payload: contents(&list(one).unwrap()[0]).replace(&id, "x") },
    ];

    for record in records {
        fleet.records.insert(id.clone(), record);
        let result = reconcile(one, &fleet.records, true, SystemTime::now()).unwrap();
        assert_eq!(result.unreadable.iter().collect::<Vec<_>>(), [&id]);
        assert_eq!((result.offers.len(), names(one)), (0, vec!["etl".to_owned()]));
    }
}

#[test]
fn a_machine_that_has_not_read_the_fleet_offers_nothing() {
    let [one, _] = machines();
    add(one.path(), "etl", ClientPolicy::default()).unwrap();
    let before = std::fs::read(one.path().join("clients.json")).unwrap();

    let result = reconcile(one.path(), &FleetRecords::new(), false, SystemTime::now()).unwrap();

    assert!(result.offers.is_empty());
    assert_eq!(std::fs::read(one.path().join("clients.json")).unwrap(), before);
    let text = String::from_utf8(before).unwrap();
    assert!(!text.contains("sharing") && !text.contains("revoked"), "as earlier versions: {text}");
}

/// A change on one of two machines.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Set,
    Rotate,
    Revoke,
    Meet,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever two machines do, in whatever order they meet the fleet, they come to the same; and
    /// what was revoked on one of them is not there in the end.
    #[test]
    fn machines_agree_in_any_order(
        steps in proptest::collection::vec((any::<bool>(), prop::sample::select(vec![
            Step::Add, Step::Set, Step::Rotate, Step::Revoke, Step::Meet,
        ])), 1..20),
    ) {
        let [one, other] = machines();
        let (one, other, mut fleet) = (one.path(), other.path(), Fleet::default());
        let mut revoked = BTreeSet::new();
        for (is_first, step) in steps {
            let machine = if is_first { one } else { other };
            match step {
                Step::Add => drop(add(machine, "etl", ClientPolicy::default())),
                Step::Set => drop(set(machine, "etl", &change(read_only()))),
                Step::Rotate => drop(rotate(machine, "etl")),
                Step::Revoke => {
                    let ended = list(machine).unwrap().into_iter().filter(|it| it.name == "etl");
                    revoked.extend(ended.map(|it| it.id));
                    drop(revoke(machine, "etl"));
                }
                Step::Meet => drop(fleet.meet(machine)),
            }
        }
        fleet.settle([one, other]);
        fleet.settle([one, other]);

        let of = |machine: &Path| {
            let mut all: Vec<_> = list(machine).unwrap().iter().map(contents).collect();
            all.sort();
            all
        };
        prop_assert_eq!(of(one), of(other));
        prop_assert!(list(one).unwrap().iter().all(|it| !revoked.contains(&it.id)));
    }
}
