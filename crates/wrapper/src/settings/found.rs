//! One variable that was found, and the ways to read it.

use cloudtaser_core::{
    names,
    plan::{AuthMethod, Period},
};

use super::SettingsError;

/// A variable that was found.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) text: String,
}

impl Found {
    pub(super) fn is_strong(&self) -> bool {
        self.name.starts_with(names::ENV_PREFIX)
    }

    /// `VAULT_TOKEN=vault:login` asks for a token, it gives none.
    pub(super) fn is_login(&self) -> bool {
        matches!(self.text.as_str(), "vault:login" | "bao:login")
    }

    pub(super) fn truth(&self) -> Result<bool, SettingsError> {
        match self.text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "yes" | "on" => Ok(true),
            "0" | "f" | "false" | "no" | "off" => Ok(false),
            _ => Err(SettingsError::Bool { name: self.name.clone() }),
        }
    }

    pub(super) fn period(&self) -> Result<Period, SettingsError> {
        self.text.parse().map_err(|_bad| SettingsError::Period { name: self.name.clone() })
    }

    pub(super) fn number(&self) -> Result<u16, SettingsError> {
        match self.text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(SettingsError::Number { name: self.name.clone() }),
        }
    }

    pub(super) fn list(&self) -> impl Iterator<Item = String> {
        self.text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned)
    }

    pub(super) fn choice<T>(
        &self,
        words: &'static str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        pick(&self.text.to_ascii_lowercase())
            .ok_or_else(|| SettingsError::Choice { name: self.name.clone(), words })
    }

    pub(super) fn auth_method(&self) -> Result<AuthMethod, SettingsError> {
        self.choice(
            "kubernetes, jwt, oidc, approle, approle-wrapped, cert, userpass, token, wrapped-token",
            |word| {
                Some(match word {
                    "kubernetes" => AuthMethod::Kubernetes,
                    "jwt" | "oidc" => AuthMethod::Jwt,
                    "approle" => AuthMethod::Approle,
                    "approle-wrapped" => AuthMethod::ApproleWrapped,
                    "cert" => AuthMethod::Cert,
                    "userpass" => AuthMethod::Userpass,
                    "token" => AuthMethod::Token,
                    "wrapped-token" => AuthMethod::WrappedToken,
                    _ => return None,
                })
            },
        )
    }
}
