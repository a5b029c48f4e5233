//! What plain iroh does between two endpoints of one process on loopback.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use iroh::{
    Endpoint,
    endpoint::{
        Connection, NetReportConfig, PortmapperConfig, QuicTransportConfig, RecvStream, SendStream,
        VarInt, presets,
    },
};

use crate::sample::{median, micros, millis};

const ALPN: &[u8] = b"/quorate-bench/raw/1";
/// The size of an entry in every row.
pub(crate) const ENTRY: usize = 100;
const MIB: usize = 1 << 20;
/// What one write to a stream carries: large enough that the cost per call is none.
const WRITE: usize = 256 << 10;
const ROUNDS: usize = 5;

/// Measures the round trip of one entry on an idle connection, in microseconds.
pub(crate) async fn rtt_us() -> anyhow::Result<f64> {
    const WARM_UP: usize = 1_000;
    const TRIPS: usize = 10_000;
    let pair = Pair::connect().await?;
    let (mut send, mut receive) = pair.here.open_bi().await?;
    let echo = tokio::spawn({
        let there = pair.there.clone();
        async move {
            let (send, receive) = there.accept_bi().await?;
            echo(send, receive).await
        }
    });
    let mut entry = [7; ENTRY];
    let mut trips = Vec::with_capacity(TRIPS);
    for trip in 0..WARM_UP + TRIPS {
        let began = Instant::now();
        send.write_all(&entry).await?;
        receive.read_exact(&mut entry).await?;
        if trip >= WARM_UP {
            trips.push(micros(began.elapsed()));
        }
    }
    send.finish()?;
    echo.await??;
    pair.close().await;
    Ok(median(trips))
}

/// Measures the throughput of one stream, in MiB per second.
pub(crate) async fn mib_s() -> anyhow::Result<f64> {
    const BYTES: usize = 512 * MIB;
    let took = transfer(BYTES).await?;
    Ok(BYTES as f64 / MIB as f64 / took.as_secs_f64())
}

/// Measures how long the bytes of `entries` entries take on one stream, in milliseconds.
pub(crate) async fn entries_ms(entries: usize) -> anyhow::Result<f64> {
    Ok(millis(transfer(entries * ENTRY).await?))
}

/// Moves `bytes` bytes over one stream, several times; returns the median time, from the first
/// write to the receiver's word that it has read them all.
async fn transfer(bytes: usize) -> anyhow::Result<Duration> {
    let pair = Pair::connect().await?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    // One round more, to let the congestion window grow first.
    for round in 0..=ROUNDS {
        let reader = tokio::spawn({
            let there = pair.there.clone();
            async move {
                let (mut send, receive) = there.accept_bi().await?;
                let read = drain(receive).await?;
                send.write_all(&(read as u64).to_le_bytes()).await?;
                send.finish()?;
                anyhow::Ok(())
            }
        });
        let (mut send, mut receive) = pair.here.open_bi().await?;
        let block = Bytes::from(vec![7; WRITE]);
        let began = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let size = left.min(WRITE);
            send.write_chunk(block.slice(..size)).await?;
            left -= size;
        }
        send.finish()?;
        let mut read = [0; 8];
        receive.read_exact(&mut read).await?;
        if round > 0 {
            rounds.push(began.elapsed().as_secs_f64());
        }
        anyhow::ensure!(u64::from_le_bytes(read) == bytes as u64, "bytes were lost");
        reader.await??;
    }
    pair.close().await;
    Ok(Duration::from_secs_f64(median(rounds)))
}

async fn echo(mut send: SendStream, mut receive: RecvStream) -> anyhow::Result<()> {
    while let Some(chunk) = receive.read_chunk(WRITE).await? {
        send.write_chunk(chunk).await?;
    }
    send.finish()?;
    Ok(())
}

async fn drain(mut receive: RecvStream) -> anyhow::Result<usize> {
    let mut read = 0;
    while let Some(chunk) = receive.read_chunk(4 * MIB).await? {
        read += chunk.len();
    }
    Ok(read)
}

/// Two endpoints on loopback and the connection between them.
struct Pair {
    endpoints: [Endpoint; 2],
    here: Connection,
    there: Connection,
}

impl Pair {
    async fn connect() -> anyhow::Result<Self> {
        let (here, there) = (endpoint().await?, endpoint().await?);
        let accept = tokio::spawn({
            let there = there.clone();
            async move {
                let incoming = there.accept().await.context("the endpoint is closed")?;
                anyhow::Ok(incoming.await?)
            }
        });
        let dialed = here.connect(there.addr(), ALPN).await?;
        Ok(Self {
            endpoints: [here, there],
            here: dialed,
            there: accept.await??,
        })
    }

    async fn close(self) {
        for endpoint in self.endpoints {
            endpoint.close().await;
        }
    }
}

/// An endpoint on loopback with windows that do not stand in the way.
///
/// The window of a stream stays at its default: beyond about a thousand packets that wait behind a
/// lost one, the receiver gives up the connection.
async fn endpoint() -> anyhow::Result<Endpoint> {
    let transport = QuicTransportConfig::builder()
        .receive_window(VarInt::from_u32(64 << 20))
        .send_window(32 << 20)
        .initial_mtu(1_452)
        .initial_rtt(Duration::from_millis(20))
        .build();
    Ok(Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport)
        .bind()
        .await?)
}
