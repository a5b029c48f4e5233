//! Peer-to-peer state sync: groups that organize themselves and never lose an acknowledged write.
