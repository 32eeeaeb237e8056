//! The keys by which a cluster signs its pods' tokens, read at the API server by whoever runs this.
//!
//! People beside OpenBao compare what is printed here with what came to the bridge by the tunnel. So
//! it is read here, and not taken from what the operator says that it showed (`docs/adr/0059`).

use cloudtaser_k8s::enrolment::{Belief, Enrolment, IssuerKeys};
use cloudtaser_road::issuer::{Fingerprint, KeySet};

use crate::{cluster::Cluster, ui};

/// What the API server says of its keys.
#[derive(Debug)]
pub(super) enum Seen {
    /// They cannot be had, in words.
    Not(String),
    /// These.
    Shown(Box<KeySet>, Fingerprint),
}

/// Reads them.
pub(super) fn seen(cluster: &Cluster) -> Seen {
    let read = KeySet::ask(|path| cluster.get(path).map_err(|error| error.to_string()));
    read.map_or_else(Seen::Not, |(shown, print)| Seen::Shown(Box::new(shown), print))
}

/// What people at the bridge have to compare and to say, for a cluster of this key.
pub(super) fn asks(key: &str, seen: &Seen) -> String {
    let approve = format!("cloudtaser bridge approve --config bridge.toml {key}");
    match seen {
        Seen::Not(why) => format!(
            "{approve}\nthe keys by which it signs its pods' tokens cannot be read here ({why}); the \
             bridge needs them too, by file: cloudtaser bridge issuer-keys"
        ),
        Seen::Shown(shown, print) => format!(
            "{approve} \\\n    --issuer-keys {print}\nthat is the fingerprint of the keys by which \
             this cluster signs its pods' tokens:\n{}",
            listed(shown)
        ),
    }
}

fn listed(shown: &KeySet) -> String {
    let mut text = format!("  issuer {}", shown.issuer());
    for named in shown.keys() {
        text.push_str(&format!("\n  key {named}"));
    }
    text
}

/// What is wrong with how the keys stand, and what to do.
pub(super) fn words(said: &Enrolment, cluster: &Cluster) -> Option<String> {
    let keys = said.keys.as_ref()?;
    let key = ui::printable(said.key.as_deref().unwrap_or_default());
    let issuer = ui::printable(keys.issuer.as_deref().unwrap_or("an issuer that is not known"));
    Some(match keys.standing {
        Belief::Believed | Belief::NotNeeded => return None,
        Belief::NoIssuer => format!(
            "the bridge believes no tokens of {issuer} from this cluster, so no pod gets anything: its \
             configuration needs a [[release.issuer]] of this name (`cloudtaser bridge status` there \
             prints it)"
        ),
        Belief::NotShown => format!(
            "the keys by which this cluster signs tokens could not be shown to the bridge: {}. After a \
             rotation they have to be carried there: cloudtaser bridge issuer-keys",
            ui::printable(keys.why.as_deref().unwrap_or("no reason is known"))
        ),
        Belief::Waits => {
            let seen = seen(cluster);
            format!(
                "the bridge does not believe the keys by which this cluster signs tokens now: a pod \
                 whose token is by one that it does not know gets nothing. Beside OpenBao:\n  {}{}",
                asks(&key, &seen),
                differs(keys, &seen)
            )
        }
    })
}

/// A word of warning, where what came to the bridge is not what is seen here.
pub(super) fn differs(keys: &IssuerKeys, seen: &Seen) -> String {
    let (Seen::Shown(_, print), Some(theirs)) = (seen, &keys.fingerprint) else {
        return String::new();
    };
    if *theirs == print.to_string() {
        return String::new();
    }
    format!(
        "\nthe operator showed the bridge other keys, {}: where they are still others in a minute, \
         approve neither, and find out who is between",
        ui::printable(theirs)
    )
}
