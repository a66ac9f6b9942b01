//! Which addresses may be reached on behalf of somebody: public ones, what the settings list, and for admins private ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::Trust;
use crate::network::Range;

/// What kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Of the internet.
    Public,
    /// Of an organisation's own network.
    Private,
    /// This host, its link (also the metadata services of clouds), or reserved.
    Special,
    /// No single host.
    Never,
}

/// The class of an address; one that carries another inside it (mapped, translated, tunnelled) is as bad as that.
pub(super) fn class_of(address: IpAddr) -> Class {
    match address.to_canonical() {
        IpAddr::V4(address) => class_of_v4(address),
        IpAddr::V6(address) => class_of_v6(address),
    }
}

fn class_of_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        _ if address.is_unspecified() || address.is_broadcast() || address.is_multicast() => Class::Never,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
        (0 | 127 | 240..=255, ..)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Class::Special,
        _ => Class::Public,
    }
}

fn class_of_v6(address: Ipv6Addr) -> Class {
    let segments = address.segments();
    let embedded = |at: usize| {
        class_of_v4(Ipv4Addr::from_bits(u32::from(segments[at]) << 16 | u32::from(segments[at + 1])))
    };
    match segments[0] {
        _ if address.is_unspecified() || address.is_multicast() => Class::Never,
        // Loopback and the old form that is compatible with IPv4.
        0 if segments[1..6] == [0; 5] => Class::Special.max(embedded(6)),
        // Translation to IPv4.
        0x64 if segments[1..6] == [0xff9b, 0, 0, 0, 0] => embedded(6),
        // 6to4 and Teredo.
        0x2002 => embedded(1),
        0xfc00..=0xfdff => Class::Private,
        0x2001 if matches!(segments[1], 0 | 0xdb8) => Class::Special,
        0x2000..=0x3fff => Class::Public,
        _ => Class::Special,
    }
}

/// The rule.
#[derive(Debug)]
pub(super) struct Rule {
    allowed: Vec<Range>,
}

impl Rule {
    pub(super) fn new(allowed: &[String]) -> Self {
        // What is no range was refused with the settings.
        Self { allowed: allowed.iter().filter_map(|range| Range::parse(range)).collect() }
    }

    /// Whether an address may be reached, our own listeners aside.
    pub(super) fn allows(&self, address: IpAddr, trust: Trust) -> bool {
        match class_of(address) {
            Class::Public => true,
            Class::Never => false,
            Class::Private if trust == Trust::Admin => true,
            Class::Private | Class::Special => self.allowed.iter().any(|range| range.contains(address)),
        }
    }
}

/// Whether `target` is where `own` listens.
pub(super) fn is_same_listener(own: SocketAddr, target: SocketAddr) -> bool {
    let (own_ip, ip) = (own.ip().to_canonical(), target.ip().to_canonical());
    own.port() == target.port() && (own_ip == ip || (own_ip.is_unspecified() && is_of_this_host(ip)))
}

/// Whether an address is one of this host's: then the way to it begins with itself. Nothing is sent.
fn is_of_this_host(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    // Without a way to it, it is not ours.
    local.is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Class {
        class_of(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_told_apart_by_every_spelling() {
        let cases = [
            (Class::Public, "1.1.1.1 93.184.216.34 2606:4700::1111 64:ff9b::101:101 2002:101:101::1"),
            (
                Class::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fd00::1 fc00::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1",
            ),
            (
                Class::Special,
                "127.0.0.1 127.255.0.1 169.254.169.254 0.1.2.3 192.0.0.1 198.18.0.1 203.0.113.9 240.0.0.1 ::1 fe80::1 ::ffff:127.0.0.1 \
                 ::ffff:169.254.169.254 ::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1::1 2001::1 2001:db8::1 100::1 fec0::1 5f00::1",
            ),
            (Class::Never, "0.0.0.0 255.255.255.255 224.0.0.1 :: ff02::1 ::ffff:0.0.0.0 64:ff9b::e000:1"),
        ];
        for (expected, addresses) in cases {
            for address in addresses.split_whitespace() {
                assert_eq!(class(address), expected, "{address}");
            }
        }
        assert_eq!(
            (class("172.32.0.1"), class("100.128.0.1"), class("11.0.0.1")),
            (Class::Public, Class::Public, Class::Public)
        );
    }

    #[test]
    fn private_addresses_are_for_admins_and_special_ones_for_the_list() {
        let rule =
            Rule::new(&["127.0.0.0/8".to_owned(), "10.9.0.0/16".to_owned(), "0.0.0.0/0".to_owned()][..2]);
        let allows = |address: &str, trust| rule.allows(address.parse().unwrap(), trust);

        assert!(allows("8.8.8.8", Trust::Account));
        assert!(!allows("10.0.0.1", Trust::Account));
        assert!(allows("10.9.1.1", Trust::Account));
        assert!(allows("10.0.0.1", Trust::Admin));
        assert!(allows("127.0.0.1", Trust::Account));
        assert!(allows("::ffff:127.0.0.1", Trust::Account));
        assert!(!allows("169.254.169.254", Trust::Admin));
        assert!(!allows("::1", Trust::Admin));
        assert!(!Rule::new(&["0.0.0.0/0".to_owned()]).allows("0.0.0.0".parse().unwrap(), Trust::Admin));
    }

    #[test]
    fn own_listeners_are_known_by_every_address_of_this_host() {
        let same = |own: &str, target: &str| is_same_listener(own.parse().unwrap(), target.parse().unwrap());

        assert!(same("127.0.0.1:80", "127.0.0.1:80"));
        assert!(same("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(same("0.0.0.0:80", "127.0.0.7:80"));
        assert!(same("[::]:80", "127.0.0.1:80"));
        assert!(!same("0.0.0.0:80", "192.0.2.1:80"));
        assert!(!same("127.0.0.1:80", "127.0.0.1:81"));
    }
}
