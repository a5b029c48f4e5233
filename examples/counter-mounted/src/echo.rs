//! The application's own protocol: it says back what it is told.

use quorate::iroh::{
    Endpoint, EndpointAddr,
    endpoint::Connection,
    protocol::{AcceptError, ProtocolHandler},
};

/// What the protocol is called when endpoints agree on one.
pub(crate) const ALPN: &[u8] = b"/echo/1";

/// The longest message, in bytes.
const LONGEST: usize = 1_024;

/// The side that answers.
#[derive(Debug)]
pub(crate) struct Echo;

impl ProtocolHandler for Echo {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let said = recv
            .read_to_end(LONGEST)
            .await
            .map_err(AcceptError::from_err)?;
        send.write_all(&said).await.map_err(AcceptError::from_err)?;
        send.finish()?;
        connection.closed().await;
        Ok(())
    }
}

/// The side that asks.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    other: EndpointAddr,
    text: &str,
) -> anyhow::Result<String> {
    let connection = endpoint.connect(other, ALPN).await?;
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(text.as_bytes()).await?;
    send.finish()?;
    let answer = recv.read_to_end(LONGEST).await?;
    connection.close(0_u32.into(), b"done");
    Ok(String::from_utf8(answer)?)
}
