//! Seed 000: accounts and images of the PaaS back end, route by route as its document spells them. Parameters come from
//! a JSON body, an urlencoded form, a multipart form or (GET) the query, whichever a client prefers.
//!
//! - `accounts.rs`: `/user/…`; `images.rs`: `/image/…` and `/images/…`, which are aliases of each other; `deploy.rs`: nodes and
//!   namespaces of Kubernetes clusters; `workloads.rs`: what runs in them

mod accounts;
mod deploy;
mod images;
mod workloads;

pub use accounts::*;
pub use deploy::*;
pub use images::*;
pub use workloads::*;
