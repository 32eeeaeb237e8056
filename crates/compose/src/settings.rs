//! What a check has to know of an installation.

use cloudtaser_core::{
    names,
    needs::{Access, NEEDS, Program, Step, Without},
};

use crate::cluster::Workload;

/// What an allow-list does with what it does not list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Posture {
    /// It is reported.
    Audit,
    /// It is refused.
    Block,
}

/// Where OpenBao or a beacon is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Name or address; none where only the port is known.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// The installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The wrapper in a pod.
    pub wrapper: String,
    /// The agent in its container.
    pub agent: String,
    /// The token that the wrapper logs in with; where absent, what an injected pod has.
    pub token: Option<String>,
    /// Where OpenBao or a beacon is.
    pub endpoints: Vec<Endpoint>,
    /// What KubeArmor does by default, where the documents do not say.
    pub posture: Option<Posture>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wrapper: names::POD_WRAPPER.to_owned(),
            agent: names::POD_AGENT.to_owned(),
            token: None,
            endpoints: Vec::new(),
            posture: None,
        }
    }
}

/// A path that must be usable in a pod or on a node.
#[derive(Clone, Debug)]
pub(crate) struct Required {
    pub(crate) path: String,
    pub(crate) step: Step,
    pub(crate) reason: &'static str,
    pub(crate) access: Access,
    pub(crate) without: Without,
}

impl Settings {
    /// Tokens that the wrapper may log in with in these pods, with all names of the same file.
    pub(crate) fn tokens(&self, workloads: &[&Workload]) -> Vec<String> {
        if let Some(token) = &self.token {
            return aliases(token);
        }
        let mut tokens = vec![names::POD_TOKEN.to_owned()];
        // Nobody injects a pod that was assumed, so it may be one that starts the wrapper itself.
        if workloads.iter().any(|workload| workload.assumed || workload.wraps_itself()) {
            tokens.extend(aliases(names::SERVICE_ACCOUNT_TOKEN));
        }
        tokens
    }

    /// Files that the wrapper uses in these pods, its own first.
    pub(crate) fn pod_paths(&self, workloads: &[&Workload]) -> Vec<Required> {
        let required = |path: &str, step, reason, access| Required {
            path: path.to_owned(),
            step,
            reason,
            access,
            without: Without::Ends,
        };
        let mut paths = vec![
            required(&self.wrapper, Step::Start, "the wrapper itself", Access::Execute),
            required(names::POD_CA, Step::Read, "authorities for OpenBao", Access::Read),
        ];
        let tokens = self.tokens(workloads);
        paths.extend(
            tokens
                .first()
                .map(|token| required(token, Step::Read, "the token of the login", Access::Read)),
        );
        paths.extend(of_program(Program::Wrapper));
        paths
    }

    /// Files that the agent uses on a node, its own first.
    pub(crate) fn host_paths(&self) -> Vec<Required> {
        let own = Required {
            path: self.agent.clone(),
            step: Step::Guard,
            reason: "the agent itself",
            access: Access::Execute,
            without: Without::Ends,
        };
        std::iter::once(own).chain(of_program(Program::Agent)).collect()
    }
}

fn of_program(program: Program) -> impl Iterator<Item = Required> {
    let paths = NEEDS.paths.iter().filter(move |need| need.program == program);
    paths.map(|need| Required {
        path: need.path.to_owned(),
        step: need.step,
        reason: need.reason,
        access: need.access,
        without: need.without,
    })
}

/// The same file by its other name: images link `/var/run` to `/run`, and a rule by path means one.
pub(crate) fn aliases(path: &str) -> Vec<String> {
    let other = path
        .strip_prefix("/var/run/")
        .map(|rest| format!("/run/{rest}"))
        .or_else(|| path.strip_prefix("/run/").map(|rest| format!("/var/run/{rest}")));
    std::iter::once(path.to_owned()).chain(other).collect()
}
