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

/// Path of the `cloudtaser-agent` program, for `demo`.
pub const ENV_AGENT_PROGRAM: &str = "CLOUDTASER_AGENT_PROGRAM";

/// Path of a compiled `app.c` of the demo, for a machine without a compiler.
pub const ENV_DEMO_C: &str = "CLOUDTASER_DEMO_C";

/// Where the node agent listens, unless a plan says otherwise; its folder is not [`FILE_ROOT`].
pub const AGENT_SOCKET: &str = "/run/cloudtaser-agent/agent.sock";

/// Path of the beacon, for tests.
pub const ENV_BEACON: &str = "CLOUDTASER_BEACON";

/// Path of the bridge, for tests and for `cloudtaser bridge`.
pub const ENV_BRIDGE: &str = "CLOUDTASER_BRIDGE";

/// Path of the broker, for tests and for `cloudtaser broker`.
pub const ENV_BROKER: &str = "CLOUDTASER_BROKER";

/// Where the node agent keeps the number of its last audit record, and what its hook has not taken.
pub const AGENT_AUDIT_STATE: &str = "/var/lib/cloudtaser-agent";

/// Metrics of the node agent.
pub mod agent_metrics {
    /// 1 at the state that holds, by `state` and `tier`.
    pub const STATE: &str = "cloudtaser_agent_state";
    /// Reasons why the state is not better.
    pub const REASONS: &str = "cloudtaser_agent_state_reasons";
    /// 1 at what came of a road in the canary's last round, by `road` and `outcome`.
    pub const ROAD: &str = "cloudtaser_agent_road";
    /// Since the canary's last round.
    pub const CANARY_AGE: &str = "cloudtaser_agent_canary_age_seconds";
    /// Verdicts, the canary's included, by `hook`, `action` and `tier`.
    pub const VERDICTS: &str = "cloudtaser_agent_verdicts_total";
    /// Denials that found no room in the kernel's buffer.
    pub const LOST: &str = "cloudtaser_agent_reports_lost_total";
    /// Attached programs.
    pub const PROGRAMS: &str = "cloudtaser_agent_programs";
    /// Runs that the kernel skipped, so that something was not judged.
    pub const SKIPPED: &str = "cloudtaser_agent_program_runs_skipped_total";
    /// Instructions that the verifier walked, by `program`.
    pub const VERIFIED: &str = "cloudtaser_agent_program_verified_instructions";
    /// Guarded processes, the agent and its canary included.
    pub const GUARDED: &str = "cloudtaser_agent_guarded_processes";
    /// How many the table holds.
    pub const CAPACITY: &str = "cloudtaser_agent_guarded_processes_limit";
    /// Children of guarded processes that did not fit.
    pub const UNGUARDED: &str = "cloudtaser_agent_unguarded_children_total";
    /// Audit records that were numbered.
    pub const RECORDS: &str = "cloudtaser_agent_audit_records_total";
    /// Denials without a record, by the limit per source.
    pub const SUPPRESSED: &str = "cloudtaser_agent_audit_suppressed_total";
    /// Records that a sink did not get, by `sink`.
    pub const DROPPED: &str = "cloudtaser_agent_audit_dropped_total";
    /// Requests to the hook, by `outcome`.
    pub const POSTS: &str = "cloudtaser_agent_audit_posts_total";
    /// What waits for the hook.
    pub const SPOOL: &str = "cloudtaser_agent_audit_spool_bytes";
}
