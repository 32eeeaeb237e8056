//! Names of images, as container runtimes read them.
//!
//! Invariant: a [`Reference`] has no part that could leave its place in a URL.

/// Where an image is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The registry as people name it, such as `docker.io`.
    pub host: String,
    /// Path inside the registry.
    pub repository: String,
    /// `sha256:…`, which wins over a tag.
    pub digest: Option<String>,
    /// Tag; `latest` when absent.
    pub tag: String,
}

/// The registry of names without a host.
const DEFAULT_HOST: &str = "docker.io";
/// Where that one is really asked.
const DEFAULT_ENDPOINT: &str = "registry-1.docker.io";

impl Reference {
    /// Reads `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (rest, "latest"),
        };
        let (host, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, path.to_owned())
            }
            Some(_) => (DEFAULT_HOST, rest.to_owned()),
            None => (DEFAULT_HOST, format!("library/{rest}")),
        };
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let is_tag = !tag.is_empty()
            && tag.len() <= 128
            && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_host(host) || !is_tag || !is_path(&path) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            repository: path,
            digest: digest.map(str::to_owned),
            tag: tag.to_owned(),
        })
    }

    /// What stands behind `manifests/`.
    #[must_use]
    pub fn selector(&self) -> &str {
        self.digest.as_deref().unwrap_or(&self.tag)
    }

    /// The address of the registry itself.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let host = if self.host == DEFAULT_HOST { DEFAULT_ENDPOINT } else { &self.host };
        format!("https://{host}")
    }
}

/// `sha256:` and 64 digits: the only digests that are checked here.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Labels, and a port as a number; addresses of IPv6 are no registries.
fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let labels = name.split('.').all(|label| !label.is_empty() && label.bytes().all(fits));
    labels && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_path(path: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    path.len() <= 255
        && path.split('/').all(|segment| {
            !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(fits)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, String)> {
        let reference = Reference::parse(text)?;
        let selector = reference.selector().to_owned();
        Some((reference.host, reference.repository, selector))
    }

    #[test]
    fn names_are_read_as_container_runtimes_read_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, host, path, selector) in [
            ("nginx", "docker.io", "library/nginx", "latest"),
            ("nginx:1.2", "docker.io", "library/nginx", "1.2"),
            ("team/app:v1", "docker.io", "team/app", "v1"),
            ("index.docker.io/team/app", "docker.io", "team/app", "latest"),
            ("localhost/app:1", "localhost", "app", "1"),
            ("reg.example:5000/a/b/c", "reg.example:5000", "a/b/c", "latest"),
            (&format!("reg.example/a:1@{digest}"), "reg.example", "a", &digest),
        ] {
            let wanted = (host.to_owned(), path.to_owned(), selector.to_owned());
            assert_eq!(parts(text), Some(wanted), "{text}");
        }
        assert_eq!(Reference::parse("nginx").unwrap().endpoint(), "https://registry-1.docker.io");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for text in [
            "",
            ":",
            "a:",
            "UPPER",
            "a@sha256:00",
            "a@md5:00",
            "reg.example/",
            "reg.example/../b",
            "reg.example/a//b",
            "user:pw@host/a",
            "reg.example/a?x",
            "reg.example/a#x",
            "a b",
        ] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }
}
