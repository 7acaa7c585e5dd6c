//! What more than one test file needs: packets, programs that we did not write, and a client that
//! is only a socket and the codec. No assertions here about what is tested.

pub mod bridge;
pub mod mosquitto;
pub mod no_files;
pub mod packets;
pub mod wire;
pub mod broker;
pub mod drivers;
pub mod tls;
pub mod paho;
pub mod paper;
pub mod pki;
pub mod program;
pub mod random;
pub mod scenario_files;
pub mod skip;
pub mod ws;
