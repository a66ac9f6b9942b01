//! Public keys in armor.

use formats::key_ring;

/// A key that is read is read again from what is kept of it, and has the same fingerprint.
pub(super) fn feed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(keys) = key_ring::read(&text) else { return };
    assert!(!keys.is_empty());
    for key in keys {
        let kept = key.armored();
        assert!(kept.len() <= 4 * text.len() + 200, "what is kept is longer than what came");
        let again = key_ring::read(&kept).unwrap();
        assert_eq!(again, [key]);
    }
}
