//! References in a container's variables: where they may stand, and what is wrong with them.

use cloudtaser_core::reference::{self, Value as Reference};

use super::pod::Container;
use crate::refusal::Refusal;

/// Whether a variable holds a reference, or tries to.
pub(super) fn some_in(container: &Container<'_>) -> bool {
    container.variables().any(|(_, value)| is_reference(value))
}

/// Refuses a container that holds a reference which nobody will resolve.
pub(super) fn none_in(container: &Container<'_>, why: &str) -> Result<(), Refusal> {
    match container.variables().find(|(_, value)| is_reference(value)) {
        None => Ok(()),
        Some((name, _)) => Err(container
            .refused(format!("variable {name} holds a reference that nobody resolves: {why}"))),
    }
}

/// Checks the references of a container that is wrapped, and says what looks like a slip.
pub(super) fn checked(
    container: &Container<'_>,
    command: &[&str],
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    for (name, value) in container.variables() {
        if let Err(error) = Reference::parse(value) {
            let shown = error.pointed(value);
            return Err(container.refused(format!("variable {name}: {error}\n{shown}")));
        }
        if let Some(why) = reference::suspicion(value) {
            warnings.push(format!("container {}: variable {name}: {why}", container.name));
        }
    }
    not_expanded(container, command)
}

/// SECURITY: the kubelet puts the text of a variable where `$(NAME)` stands, before anything of
/// ours runs. A reference would end in the app's arguments, or inside a text where it is none.
fn not_expanded(container: &Container<'_>, command: &[&str]) -> Result<(), Refusal> {
    let arguments = container.words("args")?;
    for (name, _) in container.variables().filter(|(_, value)| is_reference(value)) {
        let used = format!("$({name})");
        if command.iter().chain(&arguments).any(|word| expands(word, &used)) {
            return Err(container.refused(format!(
                "its command line uses {used}, where every process of the node would see a \
                 secret; let the program read the variable {name} itself"
            )));
        }
        if let Some((other, _)) = container.variables().find(|(_, value)| expands(value, &used)) {
            return Err(container.refused(format!(
                "variable {other} uses {used}, which the kubelet expands before there is a value; \
                 write ${{vault:PATH#FIELD}} inside it instead"
            )));
        }
    }
    Ok(())
}

/// Whether the kubelet would expand this; `$$(NAME)` stands for itself.
fn expands(text: &str, used: &str) -> bool {
    text.match_indices(used).any(|(at, _)| {
        let before = text.get(..at).unwrap_or("");
        let dollars = before.len() - before.trim_end_matches('$').len();
        dollars % 2 == 0
    })
}

fn is_reference(value: &str) -> bool {
    !matches!(Reference::parse(value), Ok(Reference::Literal))
}
