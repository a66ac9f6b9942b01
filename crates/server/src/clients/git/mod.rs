//! Git servers, spoken to through the `git` program.
//!
//! - `url.rs`: which addresses there are, and what is in them
//! - `program.rs`: how `git` is started: what it may read, speak to, and take
//! - `submodules.rs`: what a repository brings along
//! - `lfs.rs`: large files that are kept beside a repository
//! - `fetch.rs`: asking for refs, fetching one commit, packing a folder of it

mod fetch;
mod lfs;
mod program;
mod submodules;
mod url;

pub use fetch::{Commit, Fetched, Limits, Remote, Wanted, fetch, inner_path, is_commit_id, is_ref, resolve};
pub use program::GitError;
pub use submodules::Reach;
pub use url::{Credential, GitUrl, Given, Scheme, UrlError};
