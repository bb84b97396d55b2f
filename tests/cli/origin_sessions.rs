//! A stored session belongs to one origin and one profile.

use nexudus_simulator::DEMO_PASSWORD;

use crate::support::origins::{SESSION_ONLY, assert_untouched, kept, place};

#[test]
fn each_origin_has_its_session_and_a_logout_ends_them_all() {
    let place = place();
    place.log_in();
    place.configure(&place.b);
    place.log_in();
    assert_untouched(&place.b, &place.a);
    assert_untouched(&place.a, &place.b);
    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        assert!(place.run("whoami").ends_with("=> 0\n"));
        assert_eq!(upstream.token_calls().len(), 1, "each is resumed");
    }
    let backups: Vec<_> =
        kept(&place).into_iter().filter(|(name, _)| name.starts_with("session.sealed")).collect();
    assert_eq!(backups.len(), 2);

    let told = place.run("logout");
    let mut origins = [place.a.origin(), place.b.origin()];
    origins.sort();
    let said = format!("! note: cleared the logins at {}\n", origins.join(" and "));
    assert!(told.contains(&said) && told.ends_with("=> 0\n"), "{told}");

    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        assert!(place.run("whoami").ends_with("=> 3\n"));
    }
    // Nor does a backup bring one back.
    for (name, bytes) in backups {
        let path = place.home.write(&format!(".local/state/nexudus-proxy/{name}"), bytes);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
    }
    for upstream in [&place.a, &place.b] {
        place.configure(upstream);
        let told = place.run("whoami");
        assert!(told.contains("is from before the last login or logout"), "{told}");
        assert!(told.ends_with("=> 3\n"), "{told}");
        assert_eq!(upstream.token_calls().len(), 1);
    }
}

/// As on a machine with one `nexudus-key` for all.
#[test]
fn two_profiles_with_one_key_cannot_exchange_their_sessions() {
    let place = place();
    place.log_in();
    let told = place.given(&format!("{SESSION_ONLY} --profile work"), DEMO_PASSWORD);
    assert!(told.ends_with("=> 0\n"), "{told}");
    let state = place.home.path(".local/state/nexudus-proxy");
    let name = kept(&place).into_keys().find(|name| name.starts_with("session.sealed")).unwrap();
    let (own, other) = (state.join(&name), state.join("profiles/work").join(&name));

    let [of_own, of_other] = [&own, &other].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&own, of_other).unwrap();
    std::fs::write(&other, of_own).unwrap();

    for (line, whose) in [("whoami", "work"), ("whoami --profile work", "default")] {
        let told = place.run(line);
        let said = format!("was made in the profile \"{whose}\" and is used in no other");
        assert!(told.contains(&said) && told.ends_with("=> 3\n"), "{told}");
    }
    assert_eq!(place.a.token_calls().len(), 2, "no token of either was spent");
}

/// A file of version 1 has no origin: it counts as Nexudus's, and no simulator gets anything of it.
#[test]
fn a_session_of_an_earlier_version_is_set_aside_under_another_origin_and_that_is_said() {
    let place = place();
    let old = include_bytes!("../../src/session/store/sealed_file/version-1.sealed");
    let path = place.home.write(".local/state/nexudus-proxy/session.sealed", old);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let said =
        format!("the stored login is for https://spaces.nexudus.com, not for {}", place.a.origin());

    let daemon = place.serve("serve");
    let (status, answer) = place.ask();
    assert!(status == 503 && answer.contains("session.not-logged-in"), "{answer}");
    assert!(place.run("status").contains(&said));
    assert!(place.run("doctor").contains(&said));
    drop(daemon);
    let log = std::fs::read_to_string(place.home.path("serve.log")).unwrap();
    assert!(log.contains("a session of another origin is left alone"), "{log}");
    assert!(log.contains("https://spaces.nexudus.com"), "{log}");
    assert!(
        place.a.requests().iter().all(|seen| seen.bearer.is_none()),
        "{:?}",
        place.a.requests()
    );
    assert!(place.a.token_calls().is_empty());

    place.log_in();
    let aside = kept(&place).into_values().any(|bytes| bytes == old);
    assert!(aside, "it stays for the origin that issued it");
}
