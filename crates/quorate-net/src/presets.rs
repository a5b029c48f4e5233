//! Endpoints as Quorate wants them, and the QUIC parameters behind.
//!
//! Nothing here waits for the Internet: no relay, no lookup service, no port mapping. What adds
//! reach is added by the application, on top.
//!
//! iroh's defaults are made for one transfer between two homes: a stream window of 1.25 MB, death
//! noticed after 15 s. Here one connection per pair carries everything for a long time, mostly on
//! one machine or one LAN, and a quorum waits for whoever is silent; so windows are larger, and
//! silence is noticed earlier (still as a backstop: the core's heartbeats are faster).
//!
//! Acknowledgements are left as they are: asking for fewer of them (QUIC's ACK_FREQUENCY) would
//! save some work, but with noq 1.4 a peer that dies then makes, one time in twenty or so, the
//! probe that looks for it overflow its packet, which is a panic, and ends the surviving process.
//!
//! A connection begins with the window of a stranger and is widened once the peer has proven
//! itself: see [`STRANGER_WINDOW`]. On an endpoint that the application configured this holds
//! only for the links that we dial, since a router accepts with the endpoint's own parameters;
//! give such an endpoint [`Tuning::quic`] too.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use iroh::{
    Endpoint, SecretKey,
    endpoint::{
        Builder, NetReportConfig, PortmapperConfig, QuicTransportConfig, VarInt,
        presets::{Minimal, Preset},
    },
};
use noq_proto::congestion::CubicConfig;

use crate::limits::{BULK_STREAMS, ENTRIES_LANES, STRANGER_WINDOW, STREAM_WINDOW};

/// QUIC parameters of links.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Bytes a proven peer may send on all streams of a link before we have read them.
    pub link_window: u32,
    /// Bytes we keep per link until the peer has acknowledged them.
    pub send_window: u64,
    /// Bytes of bulk on their way at a time: what a control frame may have to wait for. Well below
    /// the send window.
    pub bulk_in_flight: usize,
    /// Silence after which a link is down.
    pub idle: Duration,
    /// Silence after which we say something.
    pub keep_alive: Duration,
    /// The round trip assumed before one is measured.
    pub initial_rtt: Duration,
    /// Size of the first packets; must fit the path.
    pub initial_mtu: u16,
    /// Bytes on the way before the first acknowledgement.
    pub initial_window: u64,
}

impl Tuning {
    /// Parameters for one machine or one LAN: the default.
    pub fn lan() -> Self {
        Self {
            link_window: 64 << 20,
            send_window: 16 << 20,
            bulk_in_flight: 2 << 20,
            idle: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            initial_rtt: Duration::from_millis(20),
            initial_mtu: 1_452,
            initial_window: 256 << 10,
        }
    }

    /// Parameters for peers far apart: bulk for 1 Gbit/s at 100 ms, patience, careful starts.
    pub fn wan() -> Self {
        Self {
            link_window: 64 << 20,
            send_window: 32 << 20,
            bulk_in_flight: 16 << 20,
            idle: Duration::from_secs(15),
            keep_alive: Duration::from_secs(4),
            initial_rtt: Duration::from_millis(333),
            initial_mtu: 1_200,
            initial_window: 12_000,
        }
    }

    /// Makes iroh's form of these parameters, for an endpoint's builder or a dial.
    pub fn quic(&self) -> QuicTransportConfig {
        let mut congestion = CubicConfig::default();
        congestion.initial_window(self.initial_window);
        let idle = self.idle.min(Duration::from_secs(3_600));
        let idle = idle
            .try_into()
            .expect("an hour in milliseconds fits a QUIC integer");
        QuicTransportConfig::builder()
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(STRANGER_WINDOW))
            .send_window(self.send_window)
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .initial_mtu(self.initial_mtu)
            .initial_rtt(self.initial_rtt)
            .congestion_controller_factory(Arc::new(congestion))
            .keep_alive_interval(self.keep_alive)
            .max_idle_timeout(Some(idle))
            .default_path_keep_alive_interval(self.keep_alive.min(PATH_KEEP_ALIVE))
            .default_path_max_idle_timeout(self.idle.min(PATH_IDLE))
            .build()
    }

    /// Returns how many streams a proven peer may have open at a time.
    pub(crate) fn streams() -> VarInt {
        VarInt::from_u32((ENTRIES_LANES + BULK_STREAMS) as u32)
    }
}

/// The longest intervals iroh accepts for a path.
const PATH_KEEP_ALIVE: Duration = Duration::from_secs(5);
const PATH_IDLE: Duration = Duration::from_secs(15);

impl Default for Tuning {
    fn default() -> Self {
        Self::lan()
    }
}

/// An endpoint on this machine only: 127.0.0.1, any free port unless one is given.
#[derive(Clone, Debug, Default)]
pub struct Loopback {
    /// The UDP port; 0 for any free one.
    pub port: u16,
    /// QUIC parameters of the links.
    pub tuning: Tuning,
}

impl Preset for Loopback {
    fn apply(self, builder: Builder) -> Builder {
        Lan {
            listen: (Ipv4Addr::LOCALHOST, self.port).into(),
            tuning: self.tuning,
        }
        .apply(builder)
    }
}

/// An endpoint on one address of this machine, reached directly.
#[derive(Clone, Debug)]
pub struct Lan {
    /// Where to listen; an unspecified address listens on all interfaces of its family.
    pub listen: SocketAddr,
    /// QUIC parameters of the links.
    pub tuning: Tuning,
}

impl Preset for Lan {
    fn apply(self, builder: Builder) -> Builder {
        // The builder starts out listening on every interface: clear that first.
        Minimal
            .apply(builder)
            .clear_ip_transports()
            .bind_addr(self.listen)
            .expect("a socket address needs no parsing, and this is the first of its family")
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .transport_config(self.tuning.quic())
    }
}

/// The endpoint could not be bound: most often its port is in use.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint cannot be bound")]
pub struct BindError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Binds an endpoint whose identity is `secret_key`; returns as soon as its sockets are open.
///
/// # Errors
/// A socket cannot be opened: the port is in use, or the address is not one of this machine.
pub async fn bind(preset: impl Preset, secret_key: &[u8; 32]) -> Result<Endpoint, BindError> {
    Endpoint::builder(preset)
        .secret_key(SecretKey::from_bytes(secret_key))
        .bind()
        .await
        .map_err(|error| BindError(Box::new(error)))
}
