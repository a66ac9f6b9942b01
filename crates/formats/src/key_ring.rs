//! Public keys as `gpg --armor --export` writes them: unwrapped for the program that verifies with them, and read as far as it takes
//! to say whose they are. Secret keys are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::chart_index::shown;

/// Longest text.
pub const MAX_ARMORED_BYTES: usize = 256 << 10;
/// Keys in one text.
const MAX_KEYS: usize = 20;
/// Longest identity, in characters.
const MAX_IDENTITY_CHARS: usize = 500;

/// Kinds of keys by which Helm verifies: RSA, DSA, ECDSA.
const KINDS: [u8; 4] = [1, 3, 17, 19];

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// A key in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose it says that it is.
    pub identity: String,
    /// Its fingerprint in hex.
    pub fingerprint: String,
    /// Its packets.
    pub packets: Vec<u8>,
}

impl Key {
    /// The key alone, written like it came.
    pub fn armored(&self) -> String {
        let text = STANDARD.encode(&self.packets);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("{BEGIN}\n\n{}\n{END}\n", lines.join("\n"))
    }
}

/// The packets of armored keys, one after the other.
pub fn unwrapped(text: &str) -> Result<Vec<u8>, String> {
    if text.len() > MAX_ARMORED_BYTES {
        return Err(format!("it is longer than {} KiB", MAX_ARMORED_BYTES >> 10));
    }
    if text.contains("PRIVATE KEY BLOCK-----") {
        return Err("it is a secret key, which must not leave its owner; export the public one with `gpg --armor --export`".to_owned());
    }
    let mut packets = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (block, next) = after.split_once(END).ok_or("it ends in the middle")?;
        rest = next;
        let block = block.replace("\r\n", "\n");
        // Headers end with an empty line.
        let (_, body) = block.split_once("\n\n").ok_or("it is no armored key")?;
        let encoded: String = body.lines().map(str::trim).take_while(|line| !line.starts_with('=')).collect();
        packets.extend(STANDARD.decode(encoded).map_err(|_| "it is no armored key")?);
    }
    if packets.is_empty() {
        return Err(format!("it has no `{BEGIN}`; export the key with `gpg --armor --export`"));
    }
    Ok(packets)
}

/// The keys of a text.
pub fn read(text: &str) -> Result<Vec<Key>, String> {
    let packets = unwrapped(text)?;
    let mut keys: Vec<Key> = Vec::new();
    let mut rest = packets.as_slice();
    while !rest.is_empty() {
        let (tag, body, length) = packet(rest).ok_or("it is broken")?;
        let whole = &rest[..length];
        rest = &rest[length..];
        match tag {
            5 | 7 => return Err("it is a secret key, which must not leave its owner".to_owned()),
            6 => {
                if keys.len() == MAX_KEYS {
                    return Err(format!("it has more than {MAX_KEYS} keys"));
                }
                keys.push(Key {
                    identity: String::new(),
                    fingerprint: fingerprint(body)?,
                    packets: whole.to_vec(),
                });
                continue;
            }
            13 => {
                let key = keys.last_mut().ok_or("it does not begin with a key")?;
                if key.identity.is_empty() {
                    key.identity = shown(&String::from_utf8_lossy(body), MAX_IDENTITY_CHARS);
                }
            }
            _ => {}
        }
        let key = keys.last_mut().ok_or("it does not begin with a key")?;
        key.packets.extend_from_slice(whole);
    }
    if keys.iter().any(|key| key.identity.is_empty()) {
        return Err("a key in it does not say whose it is".to_owned());
    }
    Ok(keys)
}

/// The first packet: its kind, its body, its whole length.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let number = |from: usize, count: usize| {
        let digits = bytes.get(from..from + count)?;
        Some(digits.iter().fold(0_usize, |number, digit| (number << 8) | usize::from(*digit)))
    };
    let (tag, head, length) = if first & 0x40 == 0 {
        let count = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        ((first >> 2) & 0x0f, 1 + count, number(1, count)?)
    } else {
        let (head, length) = match *bytes.get(1)? {
            short @ 0..=191 => (2, usize::from(short)),
            long @ 192..=223 => (3, ((usize::from(long) - 192) << 8) + number(2, 1)? + 192),
            255 => (6, number(2, 4)?),
            // Of a length that is not known: no key is written so.
            _ => return None,
        };
        (first & 0x3f, head, length)
    };
    let end = head.checked_add(length)?;
    Some((tag, bytes.get(head..end)?, end))
}

fn fingerprint(body: &[u8]) -> Result<String, String> {
    let length = u16::try_from(body.len()).map_err(|_| "a key in it is too long")?;
    if body.first() != Some(&4) {
        return Err("a key in it is of a version that is not known here; make one of version 4".to_owned());
    }
    if !body.get(5).is_some_and(|kind| KINDS.contains(kind)) {
        return Err("a key in it is of a kind by which Helm cannot verify; sign with an RSA key".to_owned());
    }
    let hash =
        Sha1::new().chain_update([0x99]).chain_update(length.to_be_bytes()).chain_update(body).finalize();
    Ok(hex::encode_upper(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key packet, and who it says that it is.
    fn made(version: u8, identity: &str, tag: u8) -> String {
        of_kind(1, version, identity, tag)
    }

    fn of_kind(kind: u8, version: u8, identity: &str, tag: u8) -> String {
        let body = [version, 0, 0, 0, 1, kind, 9, 9];
        let mut packets = vec![0xc0 | tag, u8::try_from(body.len()).unwrap()];
        packets.extend(body);
        packets.extend([0x80 | (13 << 2), u8::try_from(identity.len()).unwrap()]);
        packets.extend(identity.bytes());
        packets.extend([0xc0 | 2, 192, 0]);
        packets.extend([7; 192]);
        format!("{BEGIN}\nComment: x\n\n{}\n=abcd\n{END}\n", STANDARD.encode(&packets))
    }

    #[test]
    fn keys_say_whose_they_are() {
        let two = made(4, "A <a@example.org>", 6) + &made(4, "B\u{1b}[2J", 6);

        let keys = read(&two).unwrap();

        assert_eq!(
            (keys.len(), keys[0].identity.as_str(), keys[1].identity.as_str()),
            (2, "A <a@example.org>", "B[2J")
        );
        assert_eq!(keys[0].fingerprint.len(), 40);
        assert_eq!(read(&keys[1].armored()).unwrap(), [keys[1].clone()]);
        assert_eq!(unwrapped(&two).unwrap(), [keys[0].packets.clone(), keys[1].packets.clone()].concat());
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let good = made(4, "A", 6);
        for bad in [
            String::new(),
            "x".repeat(MAX_ARMORED_BYTES + 1),
            good.replace("PUBLIC", "PRIVATE"),
            made(4, "A", 5),
            made(3, "A", 6),
            made(6, "A", 6),
            of_kind(22, 4, "A", 6),
            made(4, "", 6),
            good.replace(END, ""),
            format!("{BEGIN}\n\n!!!\n{END}\n"),
            format!("{BEGIN}\n\nxsBN\n{END}\n"),
            format!("{BEGIN}\n\n{}\n{END}\n", STANDARD.encode([0xcd, 1, 65])),
            good.repeat(30),
        ] {
            assert!(read(&bad).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
