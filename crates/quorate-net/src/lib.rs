//! Endpoint, links and finding peers: the only crate of Quorate that names iroh.
