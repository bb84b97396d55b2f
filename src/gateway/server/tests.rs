//! The size of what each request costs.

use super::*;

/// The future is moved once for each request, and wiped when its memory is given back.
#[test]
fn the_future_of_a_request_is_small() {
    fn size<'a, F>(
        _: fn(
            &'a ConnectionContext,
            &'a ArcSwap<Gateway>,
            Request<ClientBody>,
            InFlightRequest,
            &'a PendingUpgrade,
        ) -> F,
    ) -> usize {
        size_of::<F>()
    }

    let size = size(ConnectionContext::respond);
    assert!(size <= 3_072, "{size} bytes");
}
