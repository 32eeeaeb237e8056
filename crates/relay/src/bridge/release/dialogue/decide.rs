//! Whether the policy lets something out now, for whom it is, and what the receipt says of why.

use cloudtaser_core::release::{
    Denial, Place, Refused,
    policy::{Action, Asked, Decision, terms::Occasion},
};
use tracing::warn;

use super::{
    Dialogue,
    words::{no_login, operation_of},
};
use crate::{
    bridge::release::{
        attest::Evidence,
        orders,
        receipt::{Receipt, StoodOn},
        uses::{Counts, Use},
    },
    clock::unix_seconds,
};

impl Dialogue {
    /// Asks the policy; tells what was counted for it.
    pub(super) fn allowed(
        &self,
        (action, path): (Action, &str),
        occasion: Occasion,
        receipt: &mut Receipt,
    ) -> Result<Option<(Use, u64)>, Box<Refused>> {
        let operation = operation_of(action);
        let Some(workload) = &self.workload else { return Err(Box::new(no_login(operation))) };
        let loaded = self.releaser.policy.now();
        receipt.policy.clone_from(&loaded.hash);
        let (identity, level) = (&workload.identity, &workload.level);
        let node = workload.node.as_ref().map(Evidence::attested);
        if let Some(known) = node.and_then(|node| loaded.policy.node(&node.key)) {
            receipt.node = Some(known.name.clone());
        }
        if let (Some(node), Some(kept)) = (node, &mut receipt.evidence) {
            kept.assurance = loaded.policy.assurance(node);
        }
        let (named, now) = (identity.to_string(), unix_seconds());
        let orders = self.releaser.orders_now(now);
        let mut standing = orders::standing(&orders, path, &named);
        standing.occasion = occasion;
        let pod = format!("{}/{}", identity.issuer, workload.pod);
        let what = Use { pod, path: self.releaser.path_hash(path) };
        let decision = self.releaser.uses.decide(&what, now, |had| {
            (standing.released, standing.last_hour) = (had.total, had.last_hour);
            let asked = Asked { identity, action, path, level, standing: &standing, node };
            let decision = loaded.policy.decide(&asked);
            let counts = match &decision {
                Decision::Release { grounds, .. } if grounds.limited => Counts::Yes,
                _ => Counts::No,
            };
            (decision, counts)
        });
        let denial = match &decision {
            Decision::Release { rule, grounds } => {
                receipt.rule = Some((*rule).to_owned());
                let stood = orders::stood_on(&orders, (path, &named), (rule, grounds));
                receipt.orders = stood.iter().map(StoodOn::new).collect();
                if !grounds.relaxed.is_empty() {
                    let rule = *rule;
                    warn!(rule, identity = %identity, "BREAK-GLASS: released with the policy set aside");
                }
                return Ok(grounds.limited.then_some((what, now)));
            }
            Decision::Approvals { rule, .. } => {
                receipt.rule = Some((*rule).to_owned());
                Denial::Approval
            }
            Decision::Level { rule, .. } => {
                receipt.rule = Some((*rule).to_owned());
                Denial::Level
            }
            Decision::Limit { rule, .. } => {
                receipt.rule = Some((*rule).to_owned());
                Denial::Limit
            }
            Decision::Identity { .. } | Decision::Path => Denial::Policy,
        };
        let mut refused = Refused::denied(operation, denial, format!("{decision}, for {identity}"));
        refused.place = Some(Place { write: action != Action::Read, path: path.to_owned() });
        Err(Box::new(refused))
    }
}
