//! Notifications: who hears how a git repository's runs end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::NotificationTargetId;
use crate::secret::Secret;
use crate::time::Timestamp;

/// How somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A POST of JSON, signed as Standard Webhooks says.
    Webhook,
    /// A group robot of 飞书 (Lark).
    Feishu,
    /// A group robot of 钉钉.
    Dingtalk,
    /// A group robot of 企业微信.
    Wecom,
    /// A letter to a mailbox.
    Email,
}

/// Who is told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NotificationTargetView {
    /// The target.
    pub id: NotificationTargetId,
    /// How it is told.
    pub kind: NotificationKind,
    /// Scheme and host of its address; the rest is a secret by itself.
    #[schema(example = "https://open.feishu.cn/***")]
    pub address: String,
    /// Whether notifications are signed.
    pub has_secret: bool,
    /// How the last notification went.
    pub last_result: Option<String>,
    /// When that was.
    pub last_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Somebody to tell.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationTargetCreate {
    /// How.
    pub kind: NotificationKind,
    /// Where: the address that the robot or the program gave, or of a mailbox.
    #[schema(value_type = String)]
    pub address: Secret,
    /// What notifications are signed with.
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
}
