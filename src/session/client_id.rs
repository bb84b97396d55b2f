//! The `client_id` of the newest token call, by which a call that comes back is recognised.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;

/// The `client_id` of the newest token call. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ClientIdInUse(Arc<ArcSwapOption<String>>);

impl ClientIdInUse {
    /// Records the client id of a call that is about to be sent.
    pub(crate) fn record(&self, client_id: &str) {
        if self.0.load().as_deref().is_none_or(|known| known != client_id) {
            self.0.store(Some(Arc::new(client_id.to_owned())));
        }
    }

    /// Returns the client id, once there was a call.
    pub(crate) fn value(&self) -> Option<Arc<String>> {
        self.0.load_full()
    }

    /// Says whether a call carries this client id. The time of the answer tells nothing of it.
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        let known = self.0.load();
        known
            .as_deref()
            .is_some_and(|known| verify_slices_are_equal(known.as_bytes(), value).is_ok())
    }
}
