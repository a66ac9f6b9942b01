//! Tells programs and group robots that something happened, each in its own form and with its own signature.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Url;
use ring::hmac;
use serde_json::{Value, json};
use wire::notifications::NotificationKind;
use wire::secret::Secret;
use wire::time::Timestamp;

use super::http_out::{self, Outbound, Request, Trust};
use crate::error::{Error, ErrorKind, Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 16 << 10;

/// Whom to tell, and how.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// How.
    pub kind: NotificationKind,
    /// Where.
    pub address: &'a Secret,
    /// What it is signed with.
    pub secret: Option<&'a Secret>,
}

/// What to tell.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The same for each try, so that whoever hears twice can tell.
    pub id: &'a str,
    /// For people.
    pub text: &'a str,
    /// For programs.
    pub body: &'a Value,
    /// The time.
    pub now: Timestamp,
}

/// Tells it; an error says in plain words what the other side made of it.
pub async fn send(
    outbound: &Outbound,
    trust: Trust,
    target: &Target<'_>,
    message: &Message<'_>,
) -> Result<()> {
    let mut url: Url = target
        .address
        .expose()
        .parse()
        .map_err(|_| Error::invalid("address", "this is not an address such as `https://…`"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = match target.kind {
        NotificationKind::Webhook => {
            let body = message.body.to_string();
            sign_standard(&mut headers, target.secret, message, &body)?;
            body
        }
        NotificationKind::Feishu => feishu(target.secret, message).to_string(),
        NotificationKind::Dingtalk => {
            sign_dingtalk(&mut url, target.secret, message);
            json!({"msgtype": "text", "text": {"content": message.text}}).to_string()
        }
        NotificationKind::Email => return Err(Error::internal("a letter is not sent by HTTP")),
        NotificationKind::Wecom => json!({"msgtype": "text", "text": {"content": message.text}}).to_string(),
    };
    let request =
        Request { method: Method::POST, headers, body: Some(Bytes::from(body)), ..Request::get(&url, trust) };
    let told = tokio::time::timeout(PATIENCE, async {
        let answer = outbound.send(request).await?;
        let status = answer.status();
        let text = http_out::read(answer, ANSWER_BYTES).await?;
        Ok::<_, Error>((status, text))
    });
    let timed_out =
        |_| Error::new(ErrorKind::GatewayTimeout, "notification_failed", "it does not answer in time");
    let (status, text) = told.await.map_err(timed_out)??;
    if !status.is_success() {
        return Err(refused(format!("it answered {}", status.as_u16())));
    }
    if target.kind == NotificationKind::Webhook {
        return Ok(());
    }
    // Robots answer 200 to what they refuse.
    let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
    let code = ["errcode", "code", "StatusCode"].iter().find_map(|name| answer[name].as_i64());
    match code {
        None | Some(0) => Ok(()),
        Some(code) => Err(refused(format!("the robot refused it with code {code}"))),
    }
}

fn refused(detail: String) -> Error {
    Error::new(ErrorKind::BadGateway, "notification_failed", detail)
}

fn mac(key: &[u8], text: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text))
}

/// `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,BASE64` over `id.timestamp.body`.
fn sign_standard(
    headers: &mut HeaderMap,
    secret: Option<&Secret>,
    message: &Message<'_>,
    body: &str,
) -> Result<()> {
    let seconds = message.now.unix_secs().to_string();
    let mut put = |name: &'static str, text: &str| -> Result<()> {
        headers.insert(name, HeaderValue::from_str(text).map_err(Error::internal)?);
        Ok(())
    };
    put("webhook-id", message.id)?;
    put("webhook-timestamp", &seconds)?;
    if let Some(secret) = secret {
        let text = secret.expose();
        let key = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let signed = format!("{}.{seconds}.{body}", message.id);
        let signature = mac(key.as_deref().unwrap_or(text.as_bytes()), signed.as_bytes());
        put("webhook-signature", &format!("v1,{signature}"))?;
    }
    Ok(())
}

/// 飞书 takes time and secret as the key and signs nothing with it.
fn feishu(secret: Option<&Secret>, message: &Message<'_>) -> Value {
    let mut body = json!({"msg_type": "text", "content": {"text": message.text}});
    if let Some(secret) = secret {
        let seconds = message.now.unix_secs().to_string();
        body["sign"] = mac(format!("{seconds}\n{}", secret.expose()).as_bytes(), b"").into();
        body["timestamp"] = seconds.into();
    }
    body
}

/// 钉钉 takes milliseconds and signs them together with the secret, in the address.
fn sign_dingtalk(url: &mut Url, secret: Option<&Secret>, message: &Message<'_>) {
    let Some(secret) = secret else { return };
    let millis = message.now.0.div_euclid(1_000).to_string();
    let sign = mac(secret.expose().as_bytes(), format!("{millis}\n{}", secret.expose()).as_bytes());
    url.query_pairs_mut().append_pair("timestamp", &millis).append_pair("sign", &sign);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &Value) -> Message<'_> {
        Message { id: "n1", text: "t", body, now: Timestamp(1_600_000_000_123_000) }
    }

    #[test]
    fn robots_get_their_own_signatures() {
        let body = json!({});
        let secret = Secret::new("SECabc");
        let mut url: Url = "https://oapi.dingtalk.com/robot/send?access_token=x".parse().unwrap();

        sign_dingtalk(&mut url, Some(&secret), &message(&body));
        let feishu = feishu(Some(&secret), &message(&body));

        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs[1], ("timestamp".to_owned(), "1600000000123".to_owned()));
        // printf '1600000000123\nSECabc' | openssl dgst -sha256 -hmac SECabc -binary | base64
        assert_eq!(pairs[2].1, mac(b"SECabc", b"1600000000123\nSECabc"));
        assert_eq!(feishu["timestamp"], "1600000000");
        assert_eq!(feishu["sign"], mac(b"1600000000\nSECabc", b""));
    }
}
