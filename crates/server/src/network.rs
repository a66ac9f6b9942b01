//! Address ranges: who is a trusted proxy, and what addresses given by users may reach.

use std::net::IpAddr;

/// An address range in CIDR notation; a bare address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: u128,
    prefix: u32,
    is_v4: bool,
}

impl Range {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a bare address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, Some(prefix.parse::<u32>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let (base, bits, is_v4) = bits_of(address);
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { base, prefix, is_v4 })
    }

    /// Whether the address lies in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (value, bits, is_v4) = bits_of(address.to_canonical());
        if is_v4 != self.is_v4 {
            return false;
        }
        let shift = bits - self.prefix;
        shift == 128 || (value >> shift) == (self.base >> shift)
    }
}

fn bits_of(address: IpAddr) -> (u128, u32, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, true),
        IpAddr::V6(v6) => (v6.to_bits(), 128, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let range = Range::parse("10.1.0.0/16").unwrap();

        assert!(range.contains("10.1.255.3".parse().unwrap()));
        assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!range.contains("10.2.0.0".parse().unwrap()));
        assert!(!range.contains("fd00::1".parse().unwrap()));
        assert!(Range::parse("::/0").unwrap().contains("fd00::1".parse().unwrap()));
        assert!(Range::parse("127.0.0.1").unwrap().contains("127.0.0.1".parse().unwrap()));
        assert!(Range::parse("10.0.0.0/33").is_none());
        assert!(Range::parse("example.org").is_none());
    }
}
