//! How the values of settings are written: durations, numbers, members, addresses.

use quorate_core::{contract::MemberAddress, types::NodeId};
use std::{collections::BTreeMap, time::Duration};

/// The masters of a cluster by their ids.
pub(crate) type Members = BTreeMap<NodeId, MemberAddress>;

const UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];
const MEMBER_FORM: &str = "1=host:peerport/host:clientport,2=...";

/// Reads a duration such as `500ms`, `5s`, `2m` or `1m30s`.
///
/// # Errors
/// What would be right, for a text that is none.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration: write a number with a unit (us, ms, s, m, h), such as 500ms, 5s or 2m"
        )
    };
    let mut rest = text.trim();
    let mut sum: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        sum = number.checked_mul(*factor).and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
        rest = behind;
    }
    Ok(Duration::from_micros(sum))
}

/// Reads a duration of at least a millisecond.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_period(text: &str) -> Result<Duration, String> {
    let period = parse_duration(text)?;
    if period < Duration::from_millis(1) {
        return Err(format!("`{text}` is too short: it must be at least 1ms"));
    }
    Ok(period)
}

/// Reads how far clocks may run apart: 0 to 100,000 parts of a million.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_drift(text: &str) -> Result<u32, String> {
    parse_number(text, 0, 100_000).map(|number| number as u32)
}

/// Writes a duration so that [`parse_duration`] reads the same one; below a microsecond it is cut.
pub(crate) fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (unit, factor) =
        UNITS.iter().rev().find(|(_, factor)| micros != 0 && micros % factor == 0).unwrap_or(&("s", 1));
    format!("{}{unit}", micros / factor)
}

/// Whole milliseconds of a duration; saturates.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads `true` or `false`.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Reads a number within its range.
///
/// # Errors
/// The range, for a text that is no number in it.
pub(crate) fn parse_number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ if most == u64::MAX => {
            Err(format!("`{text}` is wrong: it must be a whole number of at least {least}"))
        }
        _ => Err(format!("`{text}` is wrong: it must be a whole number from {least} to {most}")),
    }
}

/// Reads a number of bytes, or of KiB, MiB or GiB: at least 1 KiB.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift))).unwrap_or((text, 0));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|&bytes| bytes >= 1024).ok_or_else(|| {
        format!("`{text}` is wrong: it must be a number of bytes of at least 1024, or such as 64KiB, 256MiB or 1GiB")
    })
}

/// Reads `host:port`. Port 0 is taken only where the system may choose one.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_address(text: &str, any_port: bool) -> Result<String, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is no address: write host:port, such as 127.0.0.1:7701");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || host.contains(['/', ',', '=', ' ']) || (port == 0 && !any_port) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// Reads a comma list of addresses, such as `127.0.0.1:7701,127.0.0.1:7711`.
///
/// # Errors
/// The first address that is wrong.
pub(crate) fn parse_endpoints(text: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(
            "the list of endpoints is empty: name at least one master, such as 127.0.0.1:7701".to_owned()
        );
    }
    parts.into_iter().map(|part| parse_address(part.trim_start_matches("http://"), false)).collect()
}

/// Reads the masters of a cluster: `1=host:peerport/host:clientport,2=...`.
///
/// # Errors
/// The first member that is wrong, or that has an id or an address of another.
pub(crate) fn parse_members(text: &str) -> Result<Members, String> {
    let mut members = Members::new();
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || format!("`{part}` is no member: write {MEMBER_FORM}");
        let (id, addresses) = part.split_once('=').ok_or_else(wrong)?;
        let (peer, client) = addresses.split_once('/').ok_or_else(wrong)?;
        let id = parse_number(id.trim(), 1, u64::MAX).map_err(|why| format!("member id {why}"))?;
        let address = MemberAddress {
            peer: parse_address(peer, false).map_err(|why| format!("member {id}, peer address: {why}"))?,
            client: parse_address(client, false)
                .map_err(|why| format!("member {id}, client address: {why}"))?,
        };
        for used in [&address.peer, &address.client] {
            if let Some(other) = taken.insert(used.clone(), id) {
                return Err(format!(
                    "{used} is named for member {other} and for member {id}: each address can be used once"
                ));
            }
        }
        if members.insert(NodeId(id), address).is_some() {
            return Err(format!("member {id} is named twice: give each member an id of its own"));
        }
    }
    if members.is_empty() {
        return Err(format!("the list of members is empty: write {MEMBER_FORM}"));
    }
    Ok(members)
}

/// Writes members so that [`parse_members`] reads the same ones.
pub(crate) fn format_members(members: &Members) -> String {
    let parts: Vec<String> =
        members.iter().map(|(id, address)| format!("{id}={}/{}", address.peer, address.client)).collect();
    parts.join(",")
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// What would be right.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is wrong: write NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, micros) in
            [("500ms", 500_000), ("5s", 5_000_000), ("2m", 120_000_000), ("1h", 3_600_000_000), ("7us", 7)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)));
            assert_eq!(format_duration(Duration::from_micros(micros)), text);
        }
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(parse_duration(&format_duration(Duration::ZERO)), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in
            ["", "5", "s", "5 s", "-5s", "5d", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            let why = parse_duration(text).unwrap_err();
            assert!(why.contains(text) && why.contains("500ms"), "{why}");
        }
    }

    #[test]
    fn sizes_are_read_and_what_is_none_is_refused() {
        for (text, bytes) in [("1024", 1024), ("64KiB", 65_536), ("3 MiB", 3 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "1023", "1MB", "-1KiB", "1.5GiB", "99999999999GiB"] {
            let why = parse_size(text).unwrap_err();
            assert!(why.contains(text) && why.contains("256MiB"), "{why}");
        }
    }

    #[test]
    fn members_are_read_and_written() {
        let text = "1=127.0.0.1:7702/127.0.0.1:7701,2=[::1]:7702/host.example:7701";
        let members = parse_members(text).unwrap();
        assert_eq!(members[&NodeId(2)].peer, "[::1]:7702");
        assert_eq!(format_members(&members), text);
    }

    #[test]
    fn wrong_members_are_named() {
        for (text, part) in [
            ("", "empty"),
            ("1", "`1` is no member"),
            ("1=a:1", "`1=a:1` is no member"),
            ("0=a:1/a:2", "member id `0`"),
            ("x=a:1/a:2", "member id `x`"),
            ("1=a/a:2", "member 1, peer address: `a`"),
            ("1=a:1/a:0", "member 1, client address: `a:0`"),
            ("1=a:1/a:1", "a:1 is named for member 1 and for member 1"),
            ("1=a:1/a:2,1=b:1/b:2", "member 1 is named twice"),
            ("1=a:1/a:2,2=b:1/a:2", "a:2 is named for member 1 and for member 2"),
            ("1=::1:7/a:2", "`::1:7`"),
        ] {
            let why = parse_members(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn endpoints_may_have_a_scheme_but_need_a_port() {
        assert_eq!(parse_endpoints("http://a:1, b:2"), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert!(parse_endpoints("a").unwrap_err().contains("host:port"));
        assert!(parse_endpoints(" , ").unwrap_err().contains("empty"));
    }
}
