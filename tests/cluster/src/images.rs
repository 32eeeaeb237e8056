//! Brings the images onto the cluster, by whichever road its owner has.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};

use crate::options::{Road, on_path};

/// Where images are said to be that no registry has. The name cannot be resolved by anybody.
const NOWHERE: &str = "cloudtaser.invalid/e2e";

/// What `cargo xtask e2e` packed, and what it is called on the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// Before the name of each image.
    pub(crate) prefix: String,
    /// Of this build alone.
    pub(crate) tag: String,
    /// When nodes ask a registry.
    pub(crate) policy: &'static str,
}

impl Images {
    /// Reads what was packed.
    ///
    /// # Errors
    /// Where the folder is not one of `cargo xtask e2e`.
    pub(crate) fn of(folder: &Path, road: Option<&Road>) -> anyhow::Result<Self> {
        let tag = fs::read_to_string(folder.join("TAG")).context("no images were packed")?;
        let tag = tag.trim().to_owned();
        Ok(match road {
            Some(Road::Registry(prefix)) => Self {
                prefix: prefix.trim_end_matches('/').to_owned(),
                tag,
                policy: "IfNotPresent",
            },
            _ => Self { prefix: NOWHERE.to_owned(), tag, policy: "Never" },
        })
    }

    /// One image, as a pod names it.
    pub(crate) fn name(&self, image: &str) -> String {
        format!("{}/{image}:{}", self.prefix, self.tag)
    }
}

/// Has each archive of the folder brought; says how many.
///
/// # Errors
/// What the command said.
pub(crate) fn bring(folder: &Path, images: &Images, road: &Road) -> anyhow::Result<usize> {
    let mut archives: Vec<_> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".oci.tar"))
        .collect();
    archives.sort();
    ensure!(!archives.is_empty(), "{} has no archive", folder.display());
    for archive in &archives {
        let file = archive.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let image = file.trim_end_matches(".oci.tar");
        let mut command = match road {
            Road::Load(words) => {
                let (program, rest) = words.split_first().context("no command")?;
                let mut command = Command::new(program);
                command.args(rest).arg(archive);
                command
            }
            Road::Registry(_) => {
                ensure!(on_path("skopeo").is_some(), "--registry needs skopeo in PATH");
                let mut command = Command::new("skopeo");
                command.args(["copy", "--quiet"]);
                command.arg(format!("oci-archive:{}", archive.display()));
                command.arg(format!("docker://{}", images.name(image)));
                command
            }
        };
        let shown = command.get_program().to_string_lossy().into_owned();
        let output = command.output().with_context(|| format!("cannot run {shown}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{image}: {shown} failed ({})\n{}", output.status, said.trim());
        }
    }
    Ok(archives.len())
}
