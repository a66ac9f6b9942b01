//! The server's side of the agent link: who is connected and how to call them. What is asked of a machine is decided in
//! `domain`; here it is only carried.
//!
//! - `hub`: the connections, one pair per machine
//! - `call`: a typed call, and the events of a streaming one
//! - `pipe`: a call whose answer is bytes, such as a command in a container
//! - `accept`: who is at a WebSocket, and the WebSocket as the pipe under a connection

pub mod accept;
pub mod call;
pub mod hub;
pub mod pipe;

pub use call::{CallError, EventStream};
pub use hub::Hub;
