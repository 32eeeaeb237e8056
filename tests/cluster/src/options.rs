//! The command line, and what the suite was built with.

use std::{
    env,
    path::{Path, PathBuf},
};

/// What a wrong command line ends with, as in `sysexits.h`.
pub(crate) const USAGE: u8 = 64;

pub(crate) const HELP: &str = "\
cargo xtask e2e [--registry HOST/PATH | --load-with COMMAND] [OPTIONS]

Installs cloudtaser on the cluster of KUBECONFIG, lives with it, and takes everything away again.
Needs kubectl and the rights of a cluster-admin; a cluster that has a cloudtaser is left alone.

  --registry HOST/PATH   push images there, by skopeo, with the credentials that it finds
  --load-with COMMAND    load them instead: COMMAND gets the path of one archive as its last word,
                         such as `ctr -n k8s.io images import` on a node
  --context NAME         another context of the KUBECONFIG than its current one
  --address HOST:PORT    where the cluster finds this machine, for the beacon of the sealed road; by
                         default the address from which its API server is reached
  --without-agent        no node agent: what it pins in a kernel stays until the node boots
  --only WORDS           of the steps that others do not need, those alone whose name has the words
  --keep                 leave everything where it is, to be looked at
  --help                 this text

It ends with `e2e: N passed, N failed, N skipped`. Exit codes: 0 nothing failed (without a
KUBECONFIG everything is skipped), 1 something failed, 64 wrong usage.
";

/// How images come to the nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Road {
    /// By a command that is given each archive.
    Load(Vec<String>),
    /// By a registry that the nodes pull from.
    Registry(String),
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) road: Option<Road>,
    pub(crate) context: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) agent: bool,
    pub(crate) only: Option<String>,
    pub(crate) keep: bool,
}

impl Options {
    /// Reads the command line; nothing where help was asked for.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options =
            Self { road: None, context: None, address: None, agent: true, only: None, keep: false };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--registry" => options.take(Road::Registry(value()?))?,
                "--load-with" => {
                    let command: Vec<String> =
                        value()?.split_whitespace().map(str::to_owned).collect();
                    if command.is_empty() {
                        return Err("--load-with needs a command".to_owned());
                    }
                    options.take(Road::Load(command))?;
                }
                "--address" => options.address = Some(value()?),
                "--context" => options.context = Some(value()?),
                "--only" => options.only = Some(value()?),
                "--without-agent" => options.agent = false,
                "--keep" => options.keep = true,
                "--help" | "-h" => return Ok(None),
                unknown => return Err(format!("`{unknown}` is not known")),
            }
        }
        Ok(Some(options))
    }

    fn take(&mut self, road: Road) -> Result<(), String> {
        match self.road.replace(road) {
            None => Ok(()),
            Some(_) => Err("images come by one road: --registry or --load-with".to_owned()),
        }
    }

    /// Why the suite cannot run here.
    pub(crate) fn cannot_run(&self) -> Option<String> {
        let named = env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
        if named.is_none() {
            return Some("KUBECONFIG is not set: there is no cluster to run on".to_owned());
        }
        if on_path("kubectl").is_none() {
            return Some("kubectl is not in PATH".to_owned());
        }
        if self.road.is_none() {
            let how = "no road for images: give --registry HOST/PATH or --load-with COMMAND";
            return Some(how.to_owned());
        }
        None
    }
}

/// A path that `cargo xtask e2e` gives.
///
/// # Errors
/// Where it did not.
pub(crate) fn given(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os(name).map(PathBuf::from);
    path.ok_or_else(|| anyhow::anyhow!("{name} is not set: use `cargo xtask e2e`"))
}

/// The first program of this name in `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>, String> {
        Options::parse(text.split('|').filter(|word| !word.is_empty()).map(str::to_owned))
    }

    #[test]
    fn a_command_that_loads_keeps_its_words() {
        let options = parse("--load-with|ctr -n k8s.io images import").unwrap().unwrap();
        let words = ["ctr", "-n", "k8s.io", "images", "import"].map(str::to_owned);
        assert_eq!(options.road, Some(Road::Load(words.to_vec())));
        assert!(options.agent && !options.keep);
    }

    #[test]
    fn slips_are_told() {
        assert!(parse("--load-with").unwrap_err().contains("needs a value"));
        assert!(parse("--load-with| ").unwrap_err().contains("needs a command"));
        assert!(parse("--registry|a/b|--load-with|x").unwrap_err().contains("one road"));
        assert!(parse("--fast").unwrap_err().contains("--fast"));
        assert!(parse("--keep|--help").unwrap().is_none());
    }
}
