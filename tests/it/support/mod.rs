//! What more than one test file needs. No assertions here.

pub mod packets;
