//! How machines join: an admin's invitation is used once, binds a key to the machine's id, and from then on the machine
//! proves itself by that key at every connection. What a machine claims is never believed without it.

use std::net::SocketAddr;
use std::time::Duration;

use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use store::{invites, machine_keys};
use tokio_util::sync::CancellationToken;
use wire::accounts::Role;
use wire::ids::{InviteId, MachineId};
use wire::invites::{
    INVITE_PREFIX, InviteCreate, InviteCreated, InviteView, JoinRequest, Joined, join_statement, secret_part,
};
use wire::link::{Channel, GetFacts, Proof, proof_statement};
use wire::page::{Page, PageQuery};

use super::audit::{self, Event};
use crate::app::App;
use crate::caller::{self, Caller, RequestContext};
use crate::error::{Error, ErrorKind, Result};
use crate::jwt;

/// The points of small order of Ed25519 in every form in which they can be written, as y coordinates with the lowest byte
/// first: order 4, 1, 8, 8 and 2, then 0 and 1 written as p and p + 1. The same list as libsodium's.
const WEAK_KEYS: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Life of an invitation when nobody says otherwise.
const LIFETIME_SECS: u64 = 3_600;
/// Shortest and longest life of an invitation.
const LIFETIMES_SECS: std::ops::RangeInclusive<u64> = 60..=86_400;
/// Invitations that are open at the same time.
const MAX_INVITES: u64 = 1_000;
/// How long the older of two processes with one key has to show that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Makes an invitation for one machine (admin). The secret is in this answer only.
pub async fn create(app: &App, caller: &Caller, new: &InviteCreate) -> Result<InviteCreated> {
    require_admin(caller)?;
    let lifetime_secs = new.expires_in.unwrap_or(LIFETIME_SECS);
    if !LIFETIMES_SECS.contains(&lifetime_secs) {
        let (least, most) = (LIFETIMES_SECS.start(), LIFETIMES_SECS.end());
        return Err(Error::invalid("expires_in", format!("`expires_in` is {least} to {most} seconds")));
    }
    if invites::count(&app.db).await? >= MAX_INVITES {
        let detail = format!("there are {MAX_INVITES} open invitations already");
        return Err(
            Error::conflict("too_many_invites", detail).hint("take some back: `longshore machine invites`")
        );
    }
    let secret = format!("{INVITE_PREFIX}{}", jwt::random_text(&app.random)?);
    let now = app.now();
    let row = invites::Row {
        id: InviteId(uuid::Uuid::now_v7()),
        account_id: caller.account,
        secret_hash: hash_of(&secret),
        created_at: now,
        expires_at: now.plus_secs(i64::try_from(lifetime_secs).map_err(Error::internal)?),
    };
    let tx = app.db.begin().await?;
    invites::insert(&tx, &row).await?;
    let target = row.id.to_string();
    audit::record(app, caller, &tx, Event { action: "invite.create", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    let token = match app.tls.fingerprint() {
        Some(fingerprint) => format!("{secret}.{fingerprint}"),
        None => secret,
    };
    Ok(InviteCreated { id: row.id, token, url: address(app), expires_at: row.expires_at })
}

/// The server's address as machines reach it, as far as the server itself can know it.
fn address(app: &App) -> String {
    if let Some(url) = &app.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let listen = app.config.listen;
    let scheme = if app.tls.is_on() { "https" } else { "http" };
    if listen.ip().is_unspecified() {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return format!("{scheme}://{host}:{}", listen.port());
    }
    format!("{scheme}://{listen}")
}

/// Lists invitations that were not used yet (admin).
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<InviteView>> {
    require_admin(caller)?;
    let found = invites::list(&app.db, page).await?;
    Ok(super::page_of(found, page, |row| InviteView {
        id: row.id,
        created_at: row.created_at,
        expires_at: row.expires_at,
    }))
}

/// Takes an invitation back (admin).
pub async fn delete(app: &App, caller: &Caller, id: InviteId) -> Result<()> {
    require_admin(caller)?;
    let tx = app.db.begin().await?;
    if !invites::delete(&tx, id).await? {
        return Err(Error::not_found("invitation", id));
    }
    let target = id.to_string();
    audit::record(app, caller, &tx, Event { action: "invite.delete", target: &target, acting_for: None })
        .await?;
    Ok(tx.commit().await?)
}

/// Uses an invitation: the key is the machine's from now on. An agent that did not hear the answer may ask again: whose
/// key it is already needs no invitation.
pub async fn join(app: &App, context: &RequestContext, request: &JoinRequest) -> Result<Joined> {
    let refused = || {
        Error::unauthenticated(
            "bad_invite",
            "the invitation is not valid: it was used, taken back, or has ended",
        )
        .hint("ask an admin for another one: `longshore machine invite`")
    };
    let token = request.token.expose();
    if token.len() > 512 || !token.starts_with(INVITE_PREFIX) {
        return Err(refused());
    }
    let machine = &request.machine_id;
    let public_key = request.public_key.to_ascii_lowercase();
    let statement = join_statement(token, machine);
    if !is_signed(&public_key, &statement, &request.signature) {
        return Err(Error::invalid(
            "signature",
            "the signature is not by this key, for this invitation and machine",
        ));
    }
    let tx = app.db.begin().await?;
    let known = machine_keys::get(&tx, machine).await?;
    if known.as_ref().is_some_and(|known| known.public_key == public_key) {
        return Ok(Joined { machine_id: machine.clone(), instance: app.instance });
    }
    let invite = invites::by_secret_hash(&tx, &hash_of(secret_part(token))).await?;
    let now = app.now();
    let Some(invite) = invite.filter(|invite| invite.expires_at > now) else {
        return Err(refused());
    };
    let inviter = store::accounts::get(&tx, invite.account_id).await?;
    let inviter = inviter.filter(|account| account.role == Role::Admin).ok_or_else(refused)?;
    if app.hub.host().as_ref() == Some(machine) {
        return Err(Error::conflict(
            "machine_exists",
            "this is the server's own machine, which needs no invitation",
        ));
    }
    if let Some(known) = known {
        let detail = format!("a machine with the id `{machine}` has joined already, with another key");
        return Err(Error::conflict("machine_exists", detail).hint(format!(
            "if it is this machine, forget its old key first: `longshore machine release {}`; if this one was copied from it, give it an id of its own (`/etc/machine-id`)",
            known.machine_id
        )));
    }
    if machine_keys::by_public_key(&tx, &public_key).await?.is_some() {
        return Err(Error::conflict("key_exists", "another machine has this key")
            .hint("remove the agent's folder, which was copied from another machine, and join again"));
    }
    // Of two who use it at the same time, one finds it gone.
    if !invites::delete(&tx, invite.id).await? {
        return Err(refused());
    }
    let key = machine_keys::Row {
        machine_id: machine.clone(),
        public_key,
        account_id: Some(inviter.id),
        joined_at: now,
        quarantined_at: None,
        quarantine_reason: None,
    };
    machine_keys::insert(&tx, &key).await.map_err(|error| match error {
        store::Error::Duplicate => Error::conflict("machine_exists", "this machine or key has just joined"),
        other => other.into(),
    })?;
    // In the name of who invited: nobody else is known.
    let caller = Caller {
        account: inviter.id,
        name: inviter.account,
        role: inviter.role,
        proof: caller::Proof::Job,
        ip: context.ip,
        request_id: Some(context.id.clone()),
    };
    let event = Event { action: "machine.join", target: machine.as_str(), acting_for: None };
    audit::record(app, &caller, &tx, event).await?;
    tx.commit().await?;
    tracing::info!(machine.id = %machine, "machine joined");
    Ok(Joined { machine_id: machine.clone(), instance: app.instance })
}

/// Decides whether whoever holds a socket is the machine that it claims to be; what is cancelled when it may not connect
/// any more. A process that is newer than the one that is connected takes its place, unless the older one lives: then two
/// machines have one key, and neither is believed any more until an admin has looked.
pub async fn prove(
    app: &App,
    machine: &MachineId,
    channel: Channel,
    nonce: &str,
    proof: &Proof,
    peer: SocketAddr,
) -> Result<CancellationToken> {
    let unknown = || {
        Error::unauthenticated(
            "not_joined",
            format!("machine `{machine}` has not joined this server with this key"),
        )
        .hint("join it: `longshore agent join URL TOKEN`, with a token from `longshore machine invite`")
    };
    let key = machine_keys::get(&app.db, machine).await?;
    let statement = proof_statement(nonce, machine, channel, proof.process);
    let is_right = key.as_ref().is_some_and(|key| is_signed(&key.public_key, &statement, &proof.signature));
    if !is_right {
        return Err(unknown());
    }
    // Read again after this was taken: see there.
    let welcome = app.hub.welcome(machine);
    let key = machine_keys::get(&app.db, machine).await?.ok_or_else(unknown)?;
    if let Some(reason) = key.quarantine_reason.filter(|_| key.quarantined_at.is_some()) {
        return Err(quarantined(machine, &reason));
    }
    let Some(older) = app.hub.process(machine).filter(|older| *older != proof.process) else {
        return Ok(welcome);
    };
    if app.hub.call(machine, &GetFacts {}, SIGN_OF_LIFE).await.is_err() {
        tracing::info!(machine.id = %machine, "a newer process of a machine takes the place of one that is silent");
        app.hub.disconnect(machine, older);
        return Ok(welcome);
    }
    let reason = format!(
        "two machines showed its key at the same time, the second from {}; one was probably copied from the other",
        peer.ip()
    );
    let now = app.now();
    let tx = app.db.begin().await?;
    if machine_keys::quarantine(&tx, machine, &reason, now).await? {
        audit::record_by_nobody(app, &tx, "machine.quarantine", machine.as_str(), Some(peer.ip())).await?;
    }
    tx.commit().await?;
    tracing::error!(machine.id = %machine, "machine quarantined: {reason}");
    app.hub.expel(machine);
    Err(quarantined(machine, &reason))
}

fn quarantined(machine: &MachineId, reason: &str) -> Error {
    Error::forbidden("machine_quarantined", format!("machine `{machine}` may not connect: {reason}")).hint(format!(
        "an admin forgets the key with `longshore machine release {machine}`; then join the right machine again, and give the copy an id of its own"
    ))
}

fn is_signed(public_key: &str, statement: &[u8], signature: &str) -> bool {
    // Bounded before anything is decoded.
    if public_key.len() != 64 || signature.len() != 128 {
        return false;
    }
    let (Ok(public_key), Ok(signature)) = (hex::decode(public_key), hex::decode(signature)) else {
        return false;
    };
    !is_weak(&public_key)
        && UnparsedPublicKey::new(&ED25519, public_key).verify(statement, &signature).is_ok()
}

/// Whether a key is a point of small order. For one of those anybody can make signatures that the equation accepts, and the
/// library checks only the equation. Compared without the sign bit, which such points may carry or not.
fn is_weak(public_key: &[u8]) -> bool {
    let mut y = public_key.to_vec();
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    WEAK_KEYS.contains(&hex::encode(y).as_str())
}

fn hash_of(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

fn require_admin(caller: &Caller) -> Result<()> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Forbidden, "admin_only", "only an admin can invite machines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The point at infinity and zero: what whoever has no key can always send.
    fn forged() -> String {
        format!("01{}", "0".repeat(126))
    }

    #[test]
    fn keys_for_which_anybody_can_sign_are_refused() {
        let statements = || (0..512_u32).map(u32::to_be_bytes);
        let signature = hex::decode(forged()).unwrap();
        for key in WEAK_KEYS {
            for sign in [0, 0x80] {
                let mut bytes = hex::decode(key).unwrap();
                bytes[31] |= sign;
                let weak = UnparsedPublicKey::new(&ED25519, bytes.clone());
                // The control: for some statements the forged signature passes.
                assert!(statements().any(|statement| weak.verify(&statement, &signature).is_ok()), "{key}");
                let key = hex::encode(bytes);
                assert!(!statements().any(|statement| is_signed(&key, &statement, &forged())), "{key}");
            }
        }
    }
}
