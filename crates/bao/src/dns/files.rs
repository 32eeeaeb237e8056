//! `/etc/hosts` and `/etc/resolv.conf`, read as resolv.conf(5) and hosts(5) describe them.
//!
//! What cannot be understood is passed over line by line, as every resolver does: a strange option
//! must not stop a program that would have worked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

/// glibc's `MAXNS`.
const MAX_SERVERS: usize = 3;
/// Kubernetes gives up to 32 domains; more is a mistake.
const MAX_SEARCH: usize = 32;
/// glibc's `RES_MAXNDOTS`.
const MAX_NDOTS: usize = 15;
/// glibc's `RES_MAXRETRANS`, in seconds.
const MAX_TIMEOUT: u64 = 30;
/// glibc's `RES_MAXRETRY`.
const MAX_ATTEMPTS: u32 = 5;

/// What `resolv.conf` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) ndots: usize,
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    /// `options use-vc`: ask by TCP from the start.
    pub(crate) tcp: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp: false,
        }
    }
}

impl ResolvConf {
    /// Reads the file's text.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut conf = Self { servers: Vec::new(), ..Self::default() };
        for line in lines(text, &['#', ';']) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(server);
                    conf.servers.extend(server.filter(|_| conf.servers.len() < MAX_SERVERS));
                }
                // The later of the two wins, and so does the later of two of a kind.
                Some("search" | "domain") => {
                    conf.search = words
                        .map(|domain| domain.trim_end_matches('.').to_owned())
                        .filter(|domain| !domain.is_empty())
                        .take(MAX_SEARCH)
                        .collect();
                }
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers = Self::default().servers;
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let number = |text: &str| text.parse::<u64>().ok();
        match option.split_once(':') {
            Some(("ndots", dots)) => {
                if let Some(dots) = number(dots).and_then(|dots| usize::try_from(dots).ok()) {
                    self.ndots = dots.min(MAX_NDOTS);
                }
            }
            Some(("timeout", seconds)) => {
                if let Some(seconds) = number(seconds) {
                    self.timeout = Duration::from_secs(seconds.clamp(1, MAX_TIMEOUT));
                }
            }
            Some(("attempts", times)) => {
                if let Some(times) = number(times).and_then(|times| u32::try_from(times).ok()) {
                    self.attempts = times.clamp(1, MAX_ATTEMPTS);
                }
            }
            None if option == "use-vc" => self.tcp = true,
            _ => {}
        }
    }

    /// The names to ask for, in order, for the name that somebody wrote.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        let bare = name.trim_end_matches('.');
        if name.ends_with('.') {
            return vec![bare.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{bare}.{domain}"));
        let dots = bare.bytes().filter(|byte| *byte == b'.').count();
        let as_is = std::iter::once(bare.to_owned());
        if dots >= self.ndots {
            as_is.chain(searched).collect()
        } else {
            searched.chain(as_is).collect()
        }
    }
}

/// The addresses that a hosts file gives to a name.
pub(crate) fn hosts(text: &[u8], name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found: Vec<IpAddr> = lines(text, &['#'])
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found
}

/// What needs neither file nor server: an address, or the machine's own name for itself.
pub(crate) fn literal(host: &str) -> Vec<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return vec![address];
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    // RFC 6761 §6.3: never ask a server for it.
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    Vec::new()
}

/// Lines without comments. Bytes that are no UTF-8 lose their line only.
fn lines<'a>(text: &'a [u8], comment: &'a [char]) -> impl Iterator<Item = &'a str> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(move |line| line.split(comment).next().unwrap_or(""))
}

/// An address with an optional interface number, as `fe80::1%2`.
fn server(word: &str) -> Option<SocketAddr> {
    let (address, scope) = match word.split_once('%') {
        Some((address, scope)) => (address, scope.parse().unwrap_or(0)),
        None => (word, 0),
    };
    match address.parse().ok()? {
        IpAddr::V6(ip) => Some(SocketAddrV6::new(ip, 53, 0, scope).into()),
        ip @ IpAddr::V4(_) => Some(SocketAddr::new(ip, 53)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &[u8] = b"# made by kubelet\nsearch app.svc.cluster.local svc.cluster.local cluster.local\n\
        nameserver 10.96.0.10\nnameserver fe80::1%2 ; second\noptions ndots:5 timeout:2 attempts:9 edns0\n";

    #[test]
    fn a_pods_file_is_understood() {
        let conf = ResolvConf::parse(POD);
        assert_eq!(conf.servers[0], "10.96.0.10:53".parse().unwrap());
        assert_eq!(conf.servers[1], SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 2).into());
        assert_eq!(conf.search.len(), 3);
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (5, Duration::from_secs(2), 5));
    }

    #[test]
    fn nothing_means_the_server_on_this_machine() {
        assert_eq!(ResolvConf::parse(b""), ResolvConf::default());
    }

    #[test]
    fn few_dots_are_searched_first_and_many_last() {
        let conf = ResolvConf::parse(POD);
        assert_eq!(
            conf.candidates("bao.vault")[..2],
            ["bao.vault.app.svc.cluster.local", "bao.vault.svc.cluster.local"]
        );
        assert_eq!(conf.candidates("bao.vault")[3], "bao.vault");
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(conf.candidates("bao.example.eu."), ["bao.example.eu"]);
    }

    #[test]
    fn a_hosts_file_gives_all_addresses_of_a_name() {
        let text = b"::1 Bao bao.local # bao2\n10.0.0.1\tother bao\n\xff bao\nbad bao\n";
        let found = hosts(text, "bao");
        assert_eq!(found, ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(hosts(text, "bao2").is_empty());
    }

    #[test]
    fn addresses_and_localhost_need_no_file() {
        assert_eq!(literal("[::1]"), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(literal("127.0.0.1").len(), 1);
        assert_eq!(literal("LocalHost.").len(), 2);
        assert!(literal("localhost.example").is_empty());
    }

    proptest! {
        #[test]
        fn any_file_is_read_and_leaves_a_server(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let conf = ResolvConf::parse(&text);
            prop_assert!(!conf.servers.is_empty() && conf.servers.len() <= MAX_SERVERS);
            prop_assert!(!conf.candidates("x").is_empty());
            drop(hosts(&text, "x"));
        }
    }
}
