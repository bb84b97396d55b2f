//! Addresses that outlive their lookup, that replace it, and that are ours.

use super::*;

#[tokio::test]
async fn addresses_found_for_one_port_serve_another() {
    let resolver = Resolver::new(Handle::current());
    assert_eq!(resolver.cached("localhost", 443), None);

    // As the client of the token endpoint does.
    let found = resolver.resolve("localhost", 0).await.unwrap();

    let again = resolver.cached("localhost", 443).unwrap();
    assert_eq!(again.len(), found.len());
    assert!(again.iter().all(|address| address.port() == 443), "{again:?}");
}

#[tokio::test]
async fn a_given_address_is_that_of_its_origin_alone() {
    let origin = Origin::new("nexudus.invalid", 443);
    let address = UpstreamAddress::new([203, 0, 113, 7].into(), Some(8443));
    let resolver = Resolver::new(Handle::current()).with_address(&origin, Some(address));

    let found = resolver.resolve("nexudus.invalid", 443).await.unwrap();

    assert_eq!(found, ["203.0.113.7:8443".parse().unwrap()]);
    assert!(resolver.resolve("nexudus.invalid", 8443).await.is_err(), "another origin");
}

#[tokio::test]
async fn a_name_with_an_address_of_ours_is_refused_and_the_address_named() {
    let own = OwnSockets::new(["127.0.0.1:6398".parse().unwrap()]);
    let resolver = Resolver::new(Handle::current()).without(own.clone());

    let error = resolver.resolve("127.0.0.1", 6398).await.unwrap_err();

    assert_eq!(own_socket(&error), Some(OwnSocket("127.0.0.1:6398".parse().unwrap())));
    assert!(error.to_string().contains("127.0.0.1:6398 is a socket of this daemon"), "{error}");
    assert!(resolver.resolve("127.0.0.1", 443).await.is_ok(), "any other loopback upstream");
    let origin = Origin::new("nexudus.invalid", 443);
    let address = UpstreamAddress::new([127, 0, 0, 1].into(), Some(6398));
    let fixed = resolver.with_address(&origin, Some(address));
    assert!(fixed.resolve("nexudus.invalid", 443).await.is_err(), "a given address too");
}
