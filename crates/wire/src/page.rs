//! Lists: what is asked for and how it is answered.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Rows of a page when no limit is given.
pub const DEFAULT_LIMIT: u64 = 20;
/// The most rows that one page holds, whatever is asked for.
pub const MAX_LIMIT: u64 = 2048;

/// Which page of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows at most; 20 by default, 2048 at most.
    pub limit: Option<u64>,
    /// Rows to pass over.
    pub offset: Option<u64>,
}

impl PageQuery {
    /// The limit to use: the default when none is given, never above [`MAX_LIMIT`].
    pub fn limit(self) -> u64 {
        self.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)
    }

    /// The offset to use; capped so that it fits every database's integer.
    pub fn offset(self) -> u64 {
        self.offset.unwrap_or(0).min(i64::MAX.unsigned_abs())
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Rows in the whole list.
    pub total: u64,
    /// The limit that was used.
    pub limit: u64,
    /// The offset that was used.
    pub offset: u64,
}
