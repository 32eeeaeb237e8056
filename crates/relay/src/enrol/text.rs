//! How keys and numbers are written in the state: as people see them elsewhere, and in full.

use cloudtaser_road::issuer::KeySet;
use cloudtaser_tls::raw::PublicKey;
use data_encoding::{BASE64, HEXLOWER};
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

pub(super) mod shown {
    use super::{BASE64, Deserialize as _, KeySet, Serialize as _};

    pub(in crate::enrol) fn serialize<S: serde::Serializer>(
        shown: &Option<KeySet>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        shown.as_ref().map(|shown| BASE64.encode(&shown.encode())).serialize(to)
    }

    pub(in crate::enrol) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<KeySet>, D::Error> {
        let read = |text: String| {
            let bytes = BASE64.decode(text.as_bytes()).ok();
            let shown = bytes.and_then(|bytes| KeySet::decode(&bytes));
            shown.ok_or_else(|| serde::de::Error::custom("not the keys of an issuer"))
        };
        Option::<String>::deserialize(from)?.map(read).transpose()
    }
}
