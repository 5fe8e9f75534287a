//! Which master to ask: one that answered, the leader if it was named, else the next in the list.

use super::ClientError;
use std::collections::BTreeMap;

/// The masters that a client knows.
#[derive(Debug)]
pub(crate) struct Endpoints {
    /// As they were given.
    list: Vec<String>,
    /// The one in use.
    current: usize,
    /// A leader that a node named; used until it fails.
    preferred: Option<String>,
    /// Client addresses of the members, as a node named them.
    members: BTreeMap<u64, String>,
}

impl Endpoints {
    /// Takes `host:port`, with or without `http://`. `start` chooses the first one.
    pub(crate) fn new(endpoints: &[String], start: u64) -> Result<Self, ClientError> {
        let list = endpoints.iter().map(|endpoint| parse(endpoint)).collect::<Result<Vec<_>, _>>()?;
        let Some(current) = usize::try_from(start).unwrap_or_default().checked_rem(list.len()) else {
            let why = "is missing: name at least one host:port".to_owned();
            return Err(ClientError::BadEndpoint { endpoint: String::new(), why });
        };
        Ok(Self { list, current, preferred: None, members: BTreeMap::new() })
    }

    /// Whom to ask now.
    pub(crate) fn pick(&self) -> String {
        let listed = self.list.get(self.current).cloned();
        self.preferred.clone().or(listed).unwrap_or_default()
    }

    /// How many were given.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// All that were given.
    pub(crate) fn list(&self) -> &[String] {
        &self.list
    }

    /// Goes on to the next, unless another request already did.
    pub(crate) fn failed(&mut self, endpoint: &str) {
        if self.pick() == endpoint {
            self.preferred = None;
            if self.list.get(self.current).is_some_and(|listed| listed == endpoint) {
                self.current = (self.current + 1) % self.list.len();
            }
        }
    }

    /// A node named the leader. False: its address is not known.
    pub(crate) fn hint(&mut self, leader: u64) -> bool {
        let address = self.members.get(&leader).cloned();
        let known = address.is_some();
        self.preferred = address.or_else(|| self.preferred.take());
        known
    }

    /// A node named the leader's address: it is asked from now on, if it is among those that were given.
    pub(crate) fn leads(&mut self, address: &str) {
        if self.list.iter().any(|listed| listed == address) {
            self.preferred = Some(address.to_owned());
        }
    }

    /// A node named the members' client addresses.
    pub(crate) fn learn(&mut self, members: impl Iterator<Item = (u64, String)>) {
        self.members = members.filter(|(_, address)| parse(address).is_ok()).collect();
    }
}

/// `host:port` of an endpoint.
pub(crate) fn parse(endpoint: &str) -> Result<String, ClientError> {
    let bad = |why: &str| ClientError::BadEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() };
    if endpoint.starts_with("https://") {
        return Err(bad("asks for TLS, which is not there yet: use http://host:port"));
    }
    let rest = endpoint.trim().strip_prefix("http://").unwrap_or(endpoint.trim()).trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("has no port: use host:port"))?;
    if host.is_empty() || host.contains(['/', ' ', '@']) {
        return Err(bad("has no host: use host:port"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(rest.to_owned()),
        _ => Err(bad("has no port of 1 to 65535: use host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        Endpoints::new(&["a:1".into(), "http://b:2".into(), "c:3/".into()], 0).unwrap()
    }

    #[test]
    fn a_failed_endpoint_is_followed_by_the_next_and_the_last_by_the_first() {
        let mut endpoints = three();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let endpoint = endpoints.pick();
            endpoints.failed(&endpoint);
            seen.push(endpoint);
        }
        assert_eq!(seen, ["a:1", "b:2", "c:3", "a:1"]);
    }

    #[test]
    fn many_requests_that_fail_at_once_move_on_once() {
        let mut endpoints = three();
        endpoints.failed("a:1");
        endpoints.failed("a:1");
        assert_eq!(endpoints.pick(), "b:2");
    }

    #[test]
    fn a_named_leader_is_asked_until_it_fails() {
        let mut endpoints = three();
        assert!(!endpoints.hint(3), "no address is known yet");
        assert_eq!(endpoints.pick(), "a:1");
        endpoints.learn([(3, "c:3".into()), (4, "nonsense".into())].into_iter());
        assert!(endpoints.hint(3));
        assert_eq!(endpoints.pick(), "c:3");
        assert!(!endpoints.hint(4));
        endpoints.failed("c:3");
        assert_eq!(endpoints.pick(), "a:1");
    }

    #[test]
    fn a_bad_endpoint_is_named_with_what_would_be_right() {
        for bad in ["", "a", "a:", "a:0", "a:70000", ":1", "https://a:1", "http://a/b:1"] {
            let error = Endpoints::new(&[bad.to_owned()], 0).unwrap_err();
            assert!(
                matches!(&error, ClientError::BadEndpoint { endpoint, .. } if endpoint == bad),
                "{error:?}"
            );
            assert!(error.to_string().contains("host:port"), "{error}");
        }
        assert!(Endpoints::new(&[], 0).is_err());
        assert_eq!(parse("[::1]:80").unwrap(), "[::1]:80");
    }
}
