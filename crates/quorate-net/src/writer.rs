//! From the lanes' queues to QUIC.
//!
//! One task per lane, so that a lane whose stream the peer does not read waits alone. A writer
//! takes all that has gathered and hands it over in one call: under load one wakeup and one lock
//! carry hundreds of frames, without any timer to gather them.
//!
//! Dropping a stream that was not finished would look to the peer like its proper end; every
//! frame has its length, so the peer sees a frame cut short, and by then the link is closed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use iroh::endpoint::{Connection, SendStream};

use crate::{
    limits::WRITE_BATCH,
    link::BULK_TAG,
    outlet::Outlet,
    reader::Fault,
};

/// Priorities of streams; a higher one is sent first, always.
const CONTROL_PRIORITY: i32 = 10;
const BULK_PRIORITY: i32 = -10;

/// Writes the control lane until it ends, and waits until the peer has acknowledged all of it.
pub(crate) async fn control(mut stream: SendStream, outlet: Arc<Outlet>) -> Result<(), Fault> {
    stream.set_priority(CONTROL_PRIORITY).map_err(|_| Fault::Lost)?;
    drain(&mut stream, &outlet).await?;
    stream.finish().map_err(|_| Fault::Lost)?;
    stream.stopped().await.map_err(|_| Fault::Lost)?;
    Ok(())
}

/// Writes one group's entries lane until it ends; its header is the first thing in the queue.
pub(crate) async fn entries(connection: Connection, outlet: Arc<Outlet>) -> Result<(), Fault> {
    let mut stream = connection.open_uni().await?;
    drain(&mut stream, &outlet).await
}

/// Writes bulk messages until the lane ends, each on a stream of its own.
///
/// One after the other, not side by side: they share the line anyway, and the first is whole
/// sooner. The next begins when QUIC has taken the last, not when the peer has it.
pub(crate) async fn bulk(connection: Connection, outlet: Arc<Outlet>) -> Result<(), Fault> {
    let mut frames = Vec::new();
    while let Some(bytes) = outlet.take(&mut frames, 0).await {
        for frame in frames.drain(..) {
            let mut stream = connection.open_uni().await?;
            stream.set_priority(BULK_PRIORITY).map_err(|_| Fault::Lost)?;
            let len = u32::try_from(frame.len()).expect("a lane's limit fits its length field");
            let mut head = BytesMut::with_capacity(5);
            head.put_u8(BULK_TAG);
            head.put_u32_le(len);
            stream.write_all_chunks(&mut [head.freeze(), frame]).await?;
            stream.finish().map_err(|_| Fault::Lost)?;
        }
        outlet.written(bytes);
    }
    Ok(())
}

async fn drain(stream: &mut SendStream, outlet: &Outlet) -> Result<(), Fault> {
    let mut blocks: Vec<Bytes> = Vec::new();
    while let Some(bytes) = outlet.take(&mut blocks, WRITE_BATCH).await {
        stream.write_all_chunks(&mut blocks).await?;
        blocks.clear();
        outlet.written(bytes);
    }
    Ok(())
}
