//! Seed 000: accounts and images of the PaaS back end, route by route as its document spells them. Parameters come from
//! a JSON body, an urlencoded form, a multipart form or (GET) the query, whichever a client prefers.
//!
//! - `accounts.rs`: `/user/…`; `images.rs`: `/image/…` and `/images/…`, which are aliases of each other

mod accounts;
mod images;

pub use accounts::*;
pub use images::*;
