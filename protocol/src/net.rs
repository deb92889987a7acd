//! Addresses on the wire.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// A socket address: the address's 4 or 16 bytes and the port. Flow and scope are not sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub SocketAddr);

impl Address {
    /// IPv4 in IPv6 clothes, as a dual-stack socket shows it, is IPv4.
    pub fn canonical(self) -> Self {
        Self(SocketAddr::new(self.0.ip().to_canonical(), self.0.port()))
    }
}

/// What one party can have many addresses of: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// This very host: whoever is here needs no socket to do harm, and a demonstration runs a whole fleet from it.
    Here,
    At(IpAddr),
}

impl Source {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            here if here.is_loopback() => Self::Here,
            IpAddr::V4(address) => Self::At(address.into()),
            IpAddr::V6(address) => {
                let prefix = (u128::from(address) >> INTERFACE_BITS) << INTERFACE_BITS;
                Self::At(Ipv6Addr::from(prefix).into())
            }
        }
    }
}

/// What of an IPv6 address its holder chooses (RFC 4291 2.5.1).
const INTERFACE_BITS: u32 = 64;

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<C> Encode<C> for Address {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?;
        match self.0.ip() {
            IpAddr::V4(ip) => e.bytes(&ip.octets())?,
            IpAddr::V6(ip) => e.bytes(&ip.octets())?,
        };

        e.u16(self.0.port())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Address {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let invalid = || minicbor::decode::Error::message("not an address");
        if d.array()? != Some(2) {
            return Err(invalid());
        }
        let bytes = d.bytes()?;
        let ip = match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).map(IpAddr::from),
        };

        Ok(Self(SocketAddr::new(ip.map_err(|_| invalid())?, d.u16()?)))
    }
}

/// A block of addresses, in its text form (RFC 4632, RFC 4291).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub ipnet::IpNet);

impl Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, ipnet::AddrParseError> {
        text.parse().map(Self)
    }
}

impl<C> Encode<C> for Cidr {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0.to_string())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Cidr {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a block of addresses"))
    }
}
