//! Addresses that outlive their lookup.

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
