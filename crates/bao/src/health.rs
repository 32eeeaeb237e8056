//! Whether OpenBao serves, asked without a token: what it says of its seal.

use serde::Deserialize;

use crate::{
    client::{Client, read},
    deadline::Deadline,
    error::{BaoError, Failure, Operation},
    request::Request,
};

/// What OpenBao says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seal {
    /// It serves.
    Open,
    /// Somebody has to unseal it.
    Sealed,
    /// It has never been initialised.
    Uninitialised,
}

#[derive(Deserialize)]
struct Said {
    initialized: bool,
    sealed: bool,
}

impl Client {
    /// Asks for the seal.
    ///
    /// # Errors
    /// [`BaoError`] where it cannot be asked.
    pub fn seal(&self, deadline: &Deadline) -> Result<Seal, BaoError> {
        // Only the root namespace knows of a seal.
        let path = "sys/seal-status".to_owned();
        let request = Request::get(Operation::SealStatus, path).in_namespace(Some(""));
        let answered = self.driver.exchange(&request, None, deadline)?;
        read(&request, answered.body.expose(), parse)
    }
}

fn parse(text: &[u8]) -> Result<Seal, Failure> {
    let said: Said = serde_json::from_slice(text).map_err(|_quotes| Failure::NotJson)?;
    Ok(match said {
        Said { initialized: false, .. } => Seal::Uninitialised,
        Said { sealed: true, .. } => Seal::Sealed,
        Said { .. } => Seal::Open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_and_anything_else_is_none() {
        let seal = |text: &str| parse(text.as_bytes()).ok();
        let said = |initialized, sealed| {
            seal(&format!(r#"{{"type":"shamir","initialized":{initialized},"sealed":{sealed}}}"#))
        };
        assert_eq!(said(true, false), Some(Seal::Open));
        assert_eq!(said(true, true), Some(Seal::Sealed));
        assert_eq!(said(false, true), Some(Seal::Uninitialised));
        assert_eq!((seal("{}"), seal("<html>")), (None, None));
    }
}
