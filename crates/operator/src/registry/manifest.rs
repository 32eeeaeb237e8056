//! Documents of registries: indexes, manifests, configurations (OCI image specification, and the
//! older Docker forms of the same).

use cloudtaser_k8s::Entrypoint;
use serde::Deserialize;

/// What is asked for.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// What stands at a tag or digest.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Document {
    /// Several manifests, one for each platform.
    Index {
        /// Them.
        manifests: Vec<Entry>,
    },
    /// One image.
    Manifest {
        /// Its configuration.
        config: Descriptor,
    },
}

/// One platform of an index.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) digest: String,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
}

/// For which machines.
#[derive(Debug, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

/// A pointer to content.
#[derive(Debug, Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: String,
}

/// An image's configuration, as far as it says what is started.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    config: Started,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Started {
    #[serde(rename = "Entrypoint")]
    entrypoint: Option<Vec<String>>,
    #[serde(rename = "Cmd")]
    cmd: Option<Vec<String>>,
}

impl Configuration {
    pub(super) fn into_entrypoint(self) -> Entrypoint {
        Entrypoint {
            entrypoint: self.config.entrypoint.unwrap_or_default(),
            cmd: self.config.cmd.unwrap_or_default(),
        }
    }
}

impl Document {
    /// The digests of an index that could run here: those of one architecture where it is known,
    /// otherwise all that are for Linux.
    pub(super) fn candidates(entries: &[Entry], architecture: Option<&str>) -> Vec<String> {
        let fits = |entry: &&Entry| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os == "linux"
                    && platform.architecture != "unknown"
                    && architecture.is_none_or(|wanted| platform.architecture == wanted)
            })
        };
        let mut digests: Vec<String> =
            entries.iter().filter(fits).map(|entry| entry.digest.clone()).collect();
        digests.dedup();
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_what_fits_and_attestations_are_no_images() {
        let document: Document = serde_json::from_str(
            r#"{"schemaVersion": 2, "manifests": [
            {"digest": "1", "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "2", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"digest": "3", "platform": {"os": "windows", "architecture": "amd64"}},
            {"digest": "4", "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": "5"}]}"#,
        )
        .unwrap();
        let Document::Index { manifests } = document else { panic!() };
        assert_eq!(Document::candidates(&manifests, None), ["1", "2"]);
        assert_eq!(Document::candidates(&manifests, Some("arm64")), ["2"]);
        assert!(Document::candidates(&manifests, Some("s390x")).is_empty());
    }

    #[test]
    fn a_configuration_without_either_part_starts_nothing() {
        let read = |text| serde_json::from_str::<Configuration>(text).unwrap().into_entrypoint();
        assert_eq!(read("{}"), Entrypoint::default());
        assert_eq!(read(r#"{"config": {"Entrypoint": null, "Cmd": ["a"]}}"#).cmd, ["a"]);
    }
}
