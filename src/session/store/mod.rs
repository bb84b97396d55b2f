//! The token pair on disk: one sealed file, and the epoch that outlives it.

pub(crate) mod epoch;
pub(crate) mod member_disk;
pub(crate) mod record;
pub(crate) mod sealed_file;
pub(crate) mod session_lock;
pub(crate) mod token_store;
pub(crate) mod write_queue;
