//! Who a cluster and a data directory are.

use super::values::Members;
use quorate_core::types::ClusterId;
use siphasher::sip::SipHasher24;
use std::{hash::Hasher, io::Read as _};

/// The id of a cluster: a hash (SipHash-2-4, key 0) of its first members' ids and peer addresses, in order of the ids, and of
/// its token. Never 0. Part of the format of a data directory: it must never change.
pub(crate) fn cluster_id(members: &Members, token: &str) -> ClusterId {
    let mut hasher = SipHasher24::new();
    hasher.write(b"quorate cluster 1\0");
    for (id, address) in members {
        hasher.write(&id.0.to_le_bytes());
        hasher.write(&(address.peer.len() as u64).to_le_bytes());
        hasher.write(address.peer.as_bytes());
    }
    // No member has the id 0, so a token is never taken for one.
    hasher.write(&0_u64.to_le_bytes());
    hasher.write(token.as_bytes());
    ClusterId(hasher.finish().max(1))
}

/// A random number that is not 0, from the system's source.
///
/// # Errors
/// If the system has none to give.
pub(crate) fn random_id() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::parse_members;

    #[test]
    fn the_cluster_id_follows_from_members_and_token() {
        let id = |members: &str, token: &str| cluster_id(&parse_members(members).unwrap(), token);
        let one = id("1=a:2/a:1,2=b:2/b:1", "t");
        assert_eq!(one, id("2=b:2/b:1,1=a:2/a:1", "t"), "the order does not matter");
        assert_ne!(one, id("1=a:2/a:1,2=b:2/b:1", "u"));
        assert_ne!(one, id("1=a:2/a:1", "t"));
        assert_ne!(one, id("1=a:2/a:1,2=c:2/b:1", "t"));
        assert_eq!(one, ClusterId(GOLDEN), "this value is in data directories: it must never change");
    }

    const GOLDEN: u64 = 18_051_797_236_336_813_536;
}
