//! How this machine leaves its fleet.

use super::handle::Session;
use super::refresh::shared::SessionCommand;

impl Session {
    /// Leaves the fleet: the other members go on, and this machine serves no token until a restart.
    pub async fn leave_fleet(&self) {
        self.call(SessionCommand::LeaveFleet).await;
    }
}
