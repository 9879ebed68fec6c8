//! Where events may go. An address that an admin gave is looked up by this node, within the library's own network: so
//! that it cannot be made to talk to its neighbours, to itself or to the machine that lends it its name, nothing goes
//! to any network that whoever runs the node has not allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// What is allowed: everything that the whole internet reaches, and networks by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    allowed: Vec<Network>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Public,
    /// The first bits of an address.
    Range(IpAddr, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is neither public nor a network like 10.0.0.0/8 or fd00::/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        if text == "public" {
            return Ok(Self::Public);
        }
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let is_possible = bits <= if address.is_ipv4() { 32 } else { 128 };
        if is_possible { Ok(Self::Range(address, bits)) } else { Err(wrong()) }
    }
}

impl Networks {
    /// # Errors
    /// If one of them is none.
    pub fn new(texts: &[String]) -> Result<Self, NotANetwork> {
        Ok(Self { allowed: texts.iter().map(|text| text.trim().parse()).collect::<Result<_, _>>()? })
    }

    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| match network {
            Network::Public => is_public(address),
            Network::Range(of, bits) => is_within(address, *of, *bits),
        })
    }
}

fn is_within(address: IpAddr, of: IpAddr, bits: u8) -> bool {
    match (address, of) {
        (IpAddr::V4(address), IpAddr::V4(of)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            (address.to_bits() ^ of.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(of)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            (address.to_bits() ^ of.to_bits()) & mask == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_kept = match a {
        // This network; shared by carriers; protocols; relays that are gone; measurements; multicast and reserved.
        0 => true,
        100 => (64..128).contains(&b),
        192 => (b, c) == (0, 0) || (b, c) == (88, 99),
        198 => b == 18 || b == 19,
        224.. => true,
        _ => false,
    };
    !is_kept
        && !address.is_loopback()
        && !address.is_private()
        && !address.is_link_local()
        && !address.is_documentation()
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only what was handed out for the internet at all; and of that no tunnels, behind which is a v4 address, and no
    // documentation.
    let is_global = segments[0] & 0xe000 == 0x2000;
    let is_kept = segments[0] == 0x2002 || (segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8));
    is_global && !is_kept && segments[0] != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("networks")
    }

    #[test]
    fn the_internet_has_no_neighbours_in_it() {
        let public = networks(&["public"]);
        for address in ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8"] {
            assert!(public.allow(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!public.allow(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn others_are_allowed_by_number() {
        let own = networks(&["10.20.0.0/16", "fd00::/8", "0.0.0.0/32"]);
        for (address, is_allowed) in
            [("10.20.255.1", true), ("10.21.0.1", false), ("fd12::1", true), ("fc00::1", false), ("8.8.8.8", false)]
        {
            assert_eq!(own.allow(address.parse().expect("an address")), is_allowed, "{address}");
        }
        assert!(networks(&["0.0.0.0/0"]).allow("127.0.0.1".parse().expect("an address")));
        for bad in ["", "private", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0/8", "x/8"] {
            assert!(Networks::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
