//! What the transport costs above plain iroh, measured in one run.
//!
//! `cargo run --release -p quorate-net --example raw_figures`

#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use quorate_net::{
    Event, Events, GroupId, Lane, LinkId, Transport, Tuning, bind,
    iroh::{
        Endpoint,
        endpoint::{Connection, RecvStream, SendStream},
        protocol::Router,
    },
    limits,
    presets::Loopback,
};

const PINGS: usize = 20_000;
const BYTES: usize = 512 << 20;
const SMALL: usize = 200;
const SMALL_FRAMES: usize = 2_000_000;
const RAW_ALPN: &[u8] = b"/raw/1";
const ORDERS: Lane = Lane::Entries(GroupId([7; 16]));

/// Task switches between two looks at the sockets. Tokio's 61 are too many where few threads are
/// busy with several endpoints: what came to a quiet socket then waits for tens of milliseconds.
const EVENT_INTERVAL: u32 = 7;

fn main() -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(2)
        .event_interval(EVENT_INTERVAL)
        .enable_all();
    runtime.build()?.block_on(rounds())
}

async fn rounds() -> Result<()> {
    for round in 1..=3 {
        println!("round {round}");
        // On workers, as a driver would be: the main thread is woken at a higher price.
        tokio::spawn(raw()).await??;
        tokio::spawn(ours()).await??;
    }
    Ok(())
}

fn report(name: &str, value: f64, unit: &str) {
    println!("  {name:<34} {value:>12.1} {unit}");
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

async fn endpoint(seed: u8) -> Result<Endpoint> {
    Ok(bind(Loopback::default(), &[seed; 32]).await?)
}

async fn raw() -> Result<()> {
    let (a, b) = (endpoint(1).await?, endpoint(2).await?);
    b.set_alpns(vec![RAW_ALPN.to_vec()]);
    let server = b.clone();
    let accepted = tokio::spawn(async move {
        server
            .accept()
            .await
            .context("closed")?
            .await
            .context("handshake")
    });
    let at_a = a.connect(b.addr(), RAW_ALPN).await?;
    let at_b = accepted.await??;
    for connection in [&at_a, &at_b] {
        connection.set_receive_window((Tuning::lan().link_window).into());
        connection.set_max_concurrent_uni_streams(16u32.into());
    }
    raw_round_trips(&at_a, &at_b).await?;
    raw_stream(&at_a, &at_b, 64 << 10, "raw: stream, 64 KiB writes").await?;
    raw_stream(&at_a, &at_b, SMALL + 4, "raw: stream, 204 B writes").await?;
    a.close().await;
    b.close().await;
    Ok(())
}

async fn raw_round_trips(a: &Connection, b: &Connection) -> Result<()> {
    let (mut send, mut recv) = a.open_bi().await?;
    let b = b.clone();
    let echo = tokio::spawn(async move {
        let (mut send, mut recv): (SendStream, RecvStream) = b.accept_bi().await?;
        let mut ping = [0; 16];
        for _ in 0..PINGS {
            recv.read_exact(&mut ping).await?;
            send.write_all(&ping).await?;
        }
        anyhow::Ok((send, recv))
    });
    let mut times = Vec::with_capacity(PINGS);
    let mut pong = [0; 16];
    for _ in 0..PINGS {
        let start = Instant::now();
        send.write_all(&[1; 16]).await?;
        recv.read_exact(&mut pong).await?;
        times.push(start.elapsed());
    }
    echo.await??;
    report("raw: round trip, p50", median(times), "us");
    Ok(())
}

async fn raw_stream(a: &Connection, b: &Connection, write: usize, name: &str) -> Result<()> {
    let total = if write < 1024 { BYTES / 4 } else { BYTES };
    let mut send = a.open_uni().await?;
    let start = Instant::now();
    let writer = tokio::spawn(async move {
        let block = Bytes::from(vec![5; write]);
        for _ in 0..total / write {
            send.write_chunk(block.clone()).await?;
        }
        send.finish()?;
        anyhow::Ok(send)
    });
    let mut recv = b.accept_uni().await?;
    let mut chunks = vec![Bytes::new(); limits::READ_CHUNKS];
    let mut came = 0;
    while let Some(count) = recv.read_many_chunks(&mut chunks).await? {
        came += chunks[..count].iter().map(Bytes::len).sum::<usize>();
    }
    let seconds = start.elapsed().as_secs_f64();
    writer.await??;
    report(name, came as f64 / f64::from(1 << 20) / seconds, "MiB/s");
    Ok(())
}

struct Peer {
    transport: Transport,
    events: Events,
    router: Router,
}

impl Peer {
    async fn start(seed: u8) -> Result<Self> {
        let (transport, events) = Transport::new(endpoint(seed).await?, Tuning::lan());
        let router = transport.serve();
        Ok(Self {
            transport,
            events,
            router,
        })
    }

    async fn link(&mut self) -> Result<LinkId> {
        loop {
            if let Event::LinkUp { link, .. } = self.events.recv().await.context("no events")? {
                return Ok(link);
            }
        }
    }

    async fn frame(&mut self) -> Result<Bytes> {
        match self.events.recv().await.context("no events")? {
            Event::Frame { bytes, .. } => Ok(bytes),
            event => anyhow::bail!("unexpected {event:?}"),
        }
    }
}

async fn ours() -> Result<()> {
    let (mut a, mut b) = (Peer::start(3).await?, Peer::start(4).await?);
    a.transport
        .dial(b.transport.peer(), b.transport.addresses())?;
    let (at_a, at_b) = (a.link().await?, b.link().await?);
    for (peer, link) in [(&a, at_a), (&b, at_b)] {
        peer.transport
            .send(link, Lane::Control, Bytes::from_static(b"hello"))?;
    }
    for (peer, link) in [(&mut a, at_a), (&mut b, at_b)] {
        peer.frame().await?;
        peer.transport.authenticate(link);
    }
    let mut b = round_trips(&mut a, at_a, b, at_b).await?;
    let count = BYTES / (64 << 10);
    let rate = stream(&a, at_a, &mut b, ORDERS, 64 << 10, count).await?;
    report(
        "ours: entries, 64 KiB frames",
        rate * 64.0 / 1024.0,
        "MiB/s",
    );
    let rate = stream(&a, at_a, &mut b, Lane::Bulk, 1 << 20, BYTES >> 20).await?;
    report("ours: bulk, 1 MiB frames", rate, "MiB/s");
    let rate = stream(&a, at_a, &mut b, ORDERS, SMALL, SMALL_FRAMES).await?;
    report("ours: entries, 200 B frames", rate, "frames/s");
    report("", rate * (SMALL + 4) as f64 / f64::from(1 << 20), "MiB/s");
    let b = control_beside_bulk(&mut a, at_a, b, at_b).await?;
    a.router.shutdown().await?;
    b.router.shutdown().await?;
    Ok(())
}

async fn round_trips(a: &mut Peer, at_a: LinkId, mut b: Peer, at_b: LinkId) -> Result<Peer> {
    let echo = tokio::spawn(async move {
        for _ in 0..PINGS {
            let ping = b.frame().await?;
            b.transport.send(at_b, Lane::Control, ping)?;
        }
        anyhow::Ok(b)
    });
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let start = Instant::now();
        a.transport
            .send(at_a, Lane::Control, Bytes::from_static(&[1; 16]))?;
        a.frame().await?;
        times.push(start.elapsed());
    }
    report("ours: control round trip, p50", median(times), "us");
    echo.await?
}

/// Makes control round trips while the line is full of bulk.
async fn control_beside_bulk(
    a: &mut Peer,
    at_a: LinkId,
    mut b: Peer,
    at_b: LinkId,
) -> Result<Peer> {
    const FRAME: usize = 1 << 20;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let start = Instant::now();
    let sink = tokio::spawn(async move {
        while counter.load(Ordering::Relaxed) < BYTES {
            match b.events.recv().await.context("no events")? {
                Event::Frame {
                    lane: Lane::Bulk,
                    bytes,
                    ..
                } => {
                    counter.fetch_add(bytes.len(), Ordering::Relaxed);
                }
                Event::Frame { bytes, .. } => b.transport.send(at_b, Lane::Control, bytes)?,
                event => anyhow::bail!("unexpected {event:?}"),
            }
        }
        b.transport
            .send(at_b, Lane::Control, Bytes::from_static(b"done"))?;
        anyhow::Ok(b)
    });
    let frame = Bytes::from(vec![5; FRAME]);
    let mut sent = 0;
    let mut times = Vec::new();
    loop {
        // As much as a provider has queued for one peer.
        while sent < BYTES && sent - taken.load(Ordering::Relaxed) < 16 * FRAME {
            a.transport.send(at_a, Lane::Bulk, frame.clone())?;
            sent += FRAME;
        }
        let trip = Instant::now();
        a.transport
            .send(at_a, Lane::Control, Bytes::from_static(&[1; 16]))?;
        if a.frame().await? == "done" {
            break;
        }
        times.push(trip.elapsed());
    }
    let rate = BYTES as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64();
    report("ours: bulk with control beside it", rate, "MiB/s");
    times.sort_unstable();
    report(
        "ours: control beside bulk, p50",
        median(times.clone()),
        "us",
    );
    report(
        "ours: control beside bulk, p99",
        times[times.len() * 99 / 100].as_secs_f64() * 1e6,
        "us",
    );
    sink.await?
}

/// Sends frames as fast as the other side takes them, with a window; returns frames per second.
async fn stream(
    a: &Peer,
    at_a: LinkId,
    b: &mut Peer,
    lane: Lane,
    size: usize,
    count: usize,
) -> Result<f64> {
    let window = Arc::new(tokio::sync::Semaphore::new((8 << 20) / size));
    let (transport, credit) = (a.transport.clone(), window.clone());
    let start = Instant::now();
    let sender = tokio::spawn(async move {
        let frame = Bytes::from(vec![5; size]);
        let batch = (16_384 / size).max(1);
        let mut sent = 0;
        while sent < count {
            let now = batch.min(count - sent);
            credit.acquire_many(now as u32).await?.forget();
            let mut batch = transport.batch();
            for _ in 0..now {
                batch.send(at_a, lane, frame.clone())?;
            }
            drop(batch);
            sent += now;
        }
        anyhow::Ok(())
    });
    for _ in 0..count {
        b.frame().await?;
        window.add_permits(1);
    }
    let seconds = start.elapsed().as_secs_f64();
    sender.await??;
    Ok(count as f64 / seconds)
}
