//! Every name that people or other programs see, once.

/// Prefix of annotations and labels.
pub const ANNOTATION_PREFIX: &str = "cloudtaser.io/";

/// Holds a [`crate::plan::LaunchPlan`] as JSON; set by the webhook.
pub const ENV_PLAN: &str = "CLOUDTASER_PLAN";

/// Names a file that holds a [`crate::plan::LaunchPlan`] as JSON.
pub const ENV_PLAN_FILE: &str = "CLOUDTASER_PLAN_FILE";

/// Protection levels that must be reached, such as `memory=sealed`.
pub const ENV_REQUIRE: &str = "CLOUDTASER_REQUIRE";

/// Where the node agent listens.
pub const ENV_AGENT: &str = "CLOUDTASER_AGENT";

/// File name of the wrapper.
pub const WRAPPER: &str = "cloudtaser-wrapper";

/// Prefix of every variable of ours; the app sees none of them.
pub const ENV_PREFIX: &str = "CLOUDTASER_";

/// Where secret files appear inside an app that asked for them.
pub const FILE_ROOT: &str = "/run/cloudtaser";

/// Path of the wrapper, for the CLI and for tests.
pub const ENV_WRAPPER: &str = "CLOUDTASER_WRAPPER";

/// Path of the `bao` program, for `demo` and for tests.
pub const ENV_BAO: &str = "CLOUDTASER_BAO";

/// Where the node agent listens, unless a plan says otherwise; its folder is not [`FILE_ROOT`].
pub const AGENT_SOCKET: &str = "/run/cloudtaser-agent/agent.sock";

/// Path of the beacon, for tests.
pub const ENV_BEACON: &str = "CLOUDTASER_BEACON";

/// Path of the bridge, for tests.
pub const ENV_BRIDGE: &str = "CLOUDTASER_BRIDGE";
