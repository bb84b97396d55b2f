//! Where the primary is, as the sentinels say.

use redis::Value;

use super::address::{Address, Place, Server};
use super::connection::{ConnectError, Connection, Dial};

/// Returns the server to connect to now.
///
/// The sentinels are asked one after the other. One that is cut off answers with what it last knew;
/// the caller asks the server for its role before it writes.
pub(super) async fn find(address: &Address, dial: &Dial) -> Result<Server, ConnectError> {
    let (sentinels, primary, tls) = match &address.place {
        Place::Server(server) => return Ok(server.clone()),
        Place::Sentinel { sentinels, primary, tls } => (sentinels, primary, *tls),
    };
    // Sentinels have users of their own, and no databases.
    let dial = Dial { username: None, password: None, database: 0, ..dial.clone() };
    let mut last = ConnectError::NoPrimary;
    for (host, port) in sentinels {
        let sentinel = Server::Tcp { host: host.clone(), port: *port, tls };
        match ask(&sentinel, primary, &dial).await {
            Ok(Some((host, port))) => return Ok(Server::Tcp { host, port, tls }),
            Ok(None) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(
    sentinel: &Server,
    primary: &str,
    dial: &Dial,
) -> Result<Option<(String, u16)>, ConnectError> {
    let mut connection = Connection::open(sentinel, dial, None).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
    let answer = tokio::time::timeout(dial.timeout, connection.redis.send_packed_command(&command))
        .await
        .map_err(|_elapsed| ConnectError::Timeout)?
        .map_err(ConnectError::Greeting)?;
    let Value::Array(parts) = answer else { return Ok(None) };
    let texts: Option<Vec<String>> =
        parts.into_iter().map(|part| redis::from_redis_value(part).ok()).collect();
    let Some([host, port]) = texts.and_then(|texts| <[String; 2]>::try_from(texts).ok()) else {
        return Ok(None);
    };
    Ok(port.parse().ok().map(|port| (host, port)))
}
