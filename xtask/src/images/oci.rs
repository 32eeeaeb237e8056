//! An image in the layout of the Open Container Initiative (image-spec 1.1), as one archive.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};

use super::tar::{self, Entry};
use crate::command::program;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Nothing of an image tells when it was made: that is what makes it the same.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What an image is made of.
pub(super) struct Image<'a> {
    pub(super) name: &'a str,
    pub(super) title: &'a str,
    pub(super) version: &'a str,
    pub(super) architecture: &'a str,
    pub(super) user: u32,
    /// What containerd calls it once it is loaded; else whoever loads it says.
    pub(super) reference: Option<&'a str>,
    pub(super) layers: Vec<Vec<Entry>>,
}

/// Content that is found by its digest.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        Ok(Self { digest: sha256(&bytes)?, bytes })
    }

    /// How others refer to it.
    fn descriptor(&self, kind: &str, more: &str) -> String {
        let (digest, len) = (&self.digest, self.bytes.len());
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{len}{more}}}"#)
    }
}

impl Image<'_> {
    /// The archive.
    pub(super) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let layers = self.layers.iter().map(|entries| Blob::new(tar::archive(entries)?));
        let layers = layers.collect::<anyhow::Result<Vec<_>>>()?;
        let config = Blob::new(self.config(&layers).into_bytes())?;
        let described: Vec<_> = layers.iter().map(|layer| layer.descriptor(LAYER, "")).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}],"annotations":{}}}"#,
            config.descriptor(CONFIG, ""),
            described.join(","),
            self.labels(),
        );
        let manifest = Blob::new(manifest.into_bytes())?;
        let named =
            self.reference.map(json).map(|name| format!(r#""io.containerd.image.name":{name},"#));
        let more = format!(
            r#","annotations":{{{}"org.opencontainers.image.ref.name":{}}},"platform":{{"architecture":{},"os":"linux"}}"#,
            named.unwrap_or_default(),
            json(self.version),
            json(self.architecture),
        );
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
            manifest.descriptor(MANIFEST, &more)
        );
        let mut blobs: Vec<Blob> = layers;
        blobs.extend([config, manifest]);
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        let mut entries = vec![Entry::folder("blobs"), Entry::folder("blobs/sha256")];
        entries.extend(
            blobs.into_iter().map(|b| Entry::file(&format!("blobs/sha256/{}", b.digest), b.bytes)),
        );
        entries.push(Entry::file("index.json", index.into_bytes()));
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
        entries.push(Entry::file("oci-layout", layout));
        tar::archive(&entries)
    }

    fn config(&self, layers: &[Blob]) -> String {
        // Uncompressed layers are their own difference.
        let ids: Vec<_> =
            layers.iter().map(|layer| format!("\"sha256:{}\"", layer.digest)).collect();
        let history = format!(r#"{{"created":"{CREATED}","created_by":"cargo xtask images"}}"#);
        let history = vec![history; layers.len()];
        format!(
            r#"{{"created":"{CREATED}","architecture":{},"os":"linux","config":{{"User":"{user}:{user}","Entrypoint":[{}],"WorkingDir":"/","Labels":{}}},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{}]}}"#,
            json(self.architecture),
            json(&format!("/{}", self.name)),
            self.labels(),
            ids.join(","),
            history.join(","),
            user = self.user,
        )
    }

    fn labels(&self) -> String {
        format!(
            r#"{{"org.opencontainers.image.description":{},"org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.title":{},"org.opencontainers.image.vendor":"cloudtaser","org.opencontainers.image.version":{}}}"#,
            json(self.title),
            json(self.name),
            json(self.version),
        )
    }
}

/// A string of JSON.
pub(super) fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// By the tool of the system: this crate depends on no other for a digest.
pub(super) fn sha256(bytes: &[u8]) -> anyhow::Result<String> {
    let mut command = program("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe to sha256sum")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "sha256sum failed ({})", output.status);
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
