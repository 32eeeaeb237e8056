//! How keys and numbers are written in the state: as people see them elsewhere, and in full.

use cloudtaser_tls::raw::PublicKey;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

macro_rules! hex {
    ($name:ident, $len:literal) => {
        pub(super) mod $name {
            use super::{Deserialize as _, HEXLOWER};

            pub(in crate::enrol) fn serialize<S: serde::Serializer>(
                bytes: &[u8; $len],
                to: S,
            ) -> Result<S::Ok, S::Error> {
                to.serialize_str(&HEXLOWER.encode(bytes))
            }

            pub(in crate::enrol) fn deserialize<'de, D: serde::Deserializer<'de>>(
                from: D,
            ) -> Result<[u8; $len], D::Error> {
                let text = String::deserialize(from)?;
                let bytes = HEXLOWER.decode(text.as_bytes()).ok();
                let odd =
                    || serde::de::Error::custom(concat!("not ", $len, " bytes in hexadecimal"));
                bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(odd)
            }
        }
    };
}

hex!(hex16, 16);
hex!(hex32, 32);

pub(super) mod one_key {
    use super::{Deserialize as _, PublicKey};

    pub(in crate::enrol) fn serialize<S: serde::Serializer>(
        key: &PublicKey,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(in crate::enrol) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<PublicKey, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

pub(super) mod key {
    use super::{Deserialize as _, PublicKey, Serialize as _};

    pub(in crate::enrol) fn serialize<S: serde::Serializer>(
        key: &Option<PublicKey>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.map(|key| key.to_string()).serialize(to)
    }

    pub(in crate::enrol) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PublicKey>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}
