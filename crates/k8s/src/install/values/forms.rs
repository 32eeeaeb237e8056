//! Values that have a form: parsed where they are read, so that nobody has a wrong one.

use cloudtaser_core::level::Requirement;
use serde::{Deserialize, Serialize};

/// Why a value cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValuesError {
    /// An image reference that no runtime would take.
    #[error("is no image: HOST/PATH:TAG or HOST/PATH@sha256:… is expected, without spaces")]
    Image,
    /// A name that the API server would refuse.
    #[error(
        "is no name: at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
    )]
    Label,
    /// An amount in no form of Kubernetes.
    #[error("is no quantity: 50m, 0.5, 64Mi and 1G are")]
    Quantity,
    /// A number outside of what the API server takes.
    #[error("must be from {min} to {max}")]
    Range {
        /// The least.
        min: u16,
        /// The most.
        max: u16,
    },
    /// A level that nobody knows.
    #[error("is no level: memory=sealed, agent=enforcing and the like are")]
    Level,
    /// A key that no bridge has.
    #[error("is no key of a bridge: ed25519:… is expected, as `cloudtaser bridge init` prints it")]
    BridgeKey,
    /// An address that nobody could dial.
    #[error("is no address of a broker: HOST:PORT is expected")]
    Broker,
    /// An address that is not https, or has more than host and port.
    #[error("is no address of an OpenBao: https://HOST:PORT is expected")]
    Address,
}

/// Makes a type of a string or number that has a form.
macro_rules! parsed {
    ($(#[$doc:meta])* $name:ident($inner:ty), $repr:literal, |$given:ident| $fits:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = $repr, into = $repr)]
        pub struct $name(pub(super) $inner);

        impl TryFrom<$inner> for $name {
            type Error = ValuesError;

            fn try_from($given: $inner) -> Result<Self, Self::Error> {
                if $fits { Ok(Self($given)) } else { Err($error) }
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

parsed!(
    /// A reference of an image.
    Image(String), "String", |given| is_image(&given), ValuesError::Image
);
parsed!(
    /// A DNS label.
    Label(String), "String", |given| is_label(&given), ValuesError::Label
);
parsed!(
    /// An amount, as Kubernetes writes it.
    Quantity(String), "String", |given| is_quantity(&given), ValuesError::Quantity
);
parsed!(
    /// An address of an OpenBao.
    Address(String), "String", |given| is_address(&given), ValuesError::Address
);
parsed!(
    /// The key of a bridge, or nothing.
    #[derive(Default)]
    BridgeKey(String), "String", |given| is_bridge_key(&given), ValuesError::BridgeKey
);
parsed!(
    /// Where pods find the broker, or nothing.
    #[derive(Default)]
    Broker(String), "String", |given| is_broker(&given), ValuesError::Broker
);
parsed!(
    /// A level that is required.
    Level(String), "String", |given| given.parse::<Requirement>().is_ok(), ValuesError::Level
);
parsed!(
    /// How many operators run.
    Replicas(u16), "u16", |given| (1..=9).contains(&given), ValuesError::Range { min: 1, max: 9 }
);
parsed!(
    /// How long an API server waits; it takes no more than 30.
    TimeoutSeconds(u16), "u16", |given| (1..=30).contains(&given),
    ValuesError::Range { min: 1, max: 30 }
);

impl Label {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_image(text: &str) -> bool {
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, d)| (name, Some(d)));
    let letters = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
    let digest_fits = digest.is_none_or(|digest| {
        digest.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        })
    });
    !name.is_empty()
        && name.len() <= 255
        && name.chars().all(letters)
        && digest_fits
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_quantity(text: &str) -> bool {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number_fits = number.parse::<f64>().is_ok() && !number.starts_with('.');
    let units = ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    number_fits && units.contains(&unit)
}

/// 32 bytes in base64.
fn is_bridge_key(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    let fits = |key: &str| {
        key.strip_suffix('=').is_some_and(|key| key.len() == 43 && key.bytes().all(base64))
    };
    text.is_empty() || text.strip_prefix("ed25519:").is_some_and(fits)
}

fn is_broker(text: &str) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let fits = |(name, port): (&str, &str)| {
        !name.is_empty() && name.chars().all(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    text.is_empty() || text.rsplit_once(':').is_some_and(fits)
}

fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_a_form_and_digests_a_length() {
        let digest = "a".repeat(64);
        for good in
            ["r.example/c/operator:0.1", "localhost:5000/x", &format!("r/x@sha256:{digest}")]
        {
            assert!(is_image(good), "{good}");
        }
        for bad in ["", "r/x y", "r/x@sha256:12", "-x", "r/x:", "r/x\n"] {
            assert!(!is_image(bad), "{bad:?}");
        }
    }

    #[test]
    fn quantities_are_as_kubernetes_writes_them() {
        for good in ["50m", "0.5", "64Mi", "1G", "2"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "64MB", "-1", ".5", "1 Gi", "1e"] {
            assert!(!is_quantity(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_bridge_is_named_by_a_whole_key() {
        let key = format!("ed25519:{}=", "A".repeat(43));
        assert!(is_bridge_key(&key) && is_bridge_key(""));
        let cut = key.get(1..).zip(key.get(..50)).unwrap();
        for bad in ["ed25519:", "A", cut.0, cut.1, &format!("{key}=")] {
            assert!(!is_bridge_key(bad), "{bad}");
        }
        assert!(is_broker("") && is_broker("10.96.0.9:7443") && is_broker("[fd00::1]:7443"));
        for bad in ["broker", ":7443", "broker:0", "broker:x", "https://broker:1"] {
            assert!(!is_broker(bad), "{bad}");
        }
    }

    #[test]
    fn an_openbao_in_plain_http_cannot_be_allowed() {
        assert!(is_address("https://bao.example:8200"));
        for bad in [
            "http://bao.example",
            "bao",
            "https://",
            "https://u@h",
            "https://h/p",
            "https://a,https",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
