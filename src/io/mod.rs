//! Devices: batches of packets in and out. This layer knows bytes only.
