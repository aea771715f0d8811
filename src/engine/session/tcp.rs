//! The TCP state machine of one session (RFC 6146 section 3.5.2, RFC 7857 section 2).
//!
//! C is the side that opened the session, S the other one.
//!
//! ```text
//!            C SYN            S SYN
//!   CLOSED ────────▶ INIT ────────▶ ESTABLISHED ──C FIN──▶ C-FIN ──S FIN──▶ C+S-FIN
//!                                     │      ▲   ──S FIN──▶ S-FIN ──C FIN──▶    │
//!                                 RST │      │ any but RST                      │ C SYN
//!                              7200 s ▼      │                                  ▼
//!                                      TRANS ──C SYN──▶ INIT ◀──────────────────┘
//! ```

use crate::wire::tcp::flag::{ACK, FIN, RST, SYN};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum State {
    /// Not TCP: a peer that filtering admits.
    Peer,
    Init,
    Established,
    ClientFin,
    ServerFin,
    BothFin,
    Trans,
}

/// Which side of the session a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Role {
    Client,
    Server,
}

/// The state after a packet, and whether the idle timer starts again.
pub(in crate::engine) fn step(state: State, from: Role, flags: u8) -> (State, bool) {
    use Role::{Client, Server};
    let (syn, fin, rst) = (flags & SYN != 0, flags & FIN != 0, flags & RST != 0);
    let opens = syn && flags & ACK == 0;
    match (state, from) {
        (State::Peer, _) => (State::Peer, true),
        (State::Init, Server) if syn => (State::Established, true),
        (State::Init, Client) if opens => (State::Init, true),
        (State::Init, _) => (State::Init, rst),
        // A new connection over the same tuple must not die with the old one's timer.
        (State::BothFin | State::Trans, Client) if opens => (State::Init, true),
        (State::BothFin, _) => (State::BothFin, rst),
        (State::Trans, _) if rst => (State::Trans, true),
        (State::Trans, _) => (State::Established, true),
        (_, _) if rst => (State::Trans, true),
        (State::Established, Client) if fin => (State::ClientFin, true),
        (State::Established, Server) if fin => (State::ServerFin, true),
        (State::ClientFin, Server) if fin => (State::BothFin, true),
        (State::ServerFin, Client) if fin => (State::BothFin, true),
        (State::Established | State::ClientFin | State::ServerFin, _) => (state, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    #[test]
    fn every_row_of_the_table() {
        const DATA: u8 = ACK;
        for (state, from, flags, next, restarts) in [
            (Init, Role::Server, SYN, Established, true),
            (Init, Role::Server, SYN | ACK, Established, true),
            (Init, Role::Client, SYN, Init, true),
            (Init, Role::Server, RST, Init, true),
            (Init, Role::Client, DATA, Init, false),
            (Init, Role::Server, DATA, Init, false),
            (Established, Role::Client, FIN | ACK, ClientFin, true),
            (Established, Role::Server, FIN | ACK, ServerFin, true),
            (Established, Role::Server, RST, Trans, true),
            (Established, Role::Client, DATA, Established, true),
            (ClientFin, Role::Client, FIN | ACK, ClientFin, true),
            (ClientFin, Role::Server, FIN | ACK, BothFin, true),
            (ClientFin, Role::Server, RST, Trans, true),
            (ServerFin, Role::Client, FIN | ACK, BothFin, true),
            (ServerFin, Role::Server, DATA, ServerFin, true),
            (BothFin, Role::Client, DATA, BothFin, false),
            (BothFin, Role::Server, RST, BothFin, true),
            (BothFin, Role::Client, SYN, Init, true),
            (BothFin, Role::Server, SYN, BothFin, false),
            (Trans, Role::Client, SYN, Init, true),
            (Trans, Role::Client, DATA, Established, true),
            (Trans, Role::Server, SYN, Established, true),
            (Trans, Role::Server, RST, Trans, true),
        ] {
            assert_eq!(step(state, from, flags), (next, restarts), "{state:?} {from:?} {flags:#04x}");
        }
    }
}
