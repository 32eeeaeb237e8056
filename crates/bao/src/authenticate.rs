//! Logging in: credentials are loaded, sent once, and wiped.
//!
//! What each method sends is in [`crate::login`]; here is the order of the requests.

use cloudtaser_core::Secret;

use crate::{
    answer::{self, Session},
    client::{Client, read},
    deadline::Deadline,
    error::{BaoError, Failure, Operation},
    json::Object,
    login::{Credential, Login, Method, SecretId},
    request::Request,
};

impl Client {
    /// Logs in.
    ///
    /// # Errors
    /// [`BaoError`].
    pub fn login(&self, login: &Login, deadline: &Deadline) -> Result<Session, BaoError> {
        let operation = login.operation();
        let load = |credential: &Credential| {
            credential.load().map_err(|failure| BaoError::new(operation, None, failure))
        };
        let mut user_name = None;
        let mut body = Object::default();
        match &login.method {
            Method::AppRole { role_id, secret_id } => {
                body = body.text("role_id", load(role_id)?.expose());
                match secret_id {
                    SecretId::None => {}
                    SecretId::Plain(credential) => {
                        body = body.text("secret_id", load(credential)?.expose());
                    }
                    SecretId::Wrapped(credential) => {
                        let secret_id = self.unwrap_secret_id(login, credential, deadline)?;
                        body = body.text("secret_id", secret_id.expose());
                    }
                }
            }
            Method::Cert { role } => {
                if let Some(role) = role {
                    body = body.text("name", role.as_bytes());
                }
            }
            Method::Jwt { role, jwt } => {
                if let Some(role) = role {
                    body = body.text("role", role.as_bytes());
                }
                body = body.text("jwt", load(jwt)?.expose());
            }
            Method::Kubernetes { role, jwt } => {
                body = body.text("role", role.as_bytes()).text("jwt", load(jwt)?.expose());
            }
            Method::UserPass { user, password } => {
                user_name = Some(user.as_str());
                body = body.text("password", load(password)?.expose());
            }
            Method::Token(credential) => return self.adopt(login, credential, deadline),
            Method::WrappedToken(credential) => {
                return self.unwrap(login, credential, deadline, answer::session);
            }
        }
        let request = login.request(user_name, body);
        self.ask(&request, None, deadline, answer::session)
    }

    /// Takes a token that somebody else got, and finds out how long it lives.
    ///
    /// A token may be good and yet not be allowed to look at itself: then it is taken without
    /// knowing its end.
    fn adopt(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
    ) -> Result<Session, BaoError> {
        let token = credential
            .load_token()
            .map_err(|failure| BaoError::new(login.operation(), None, failure))?;
        let path = "auth/token/lookup-self".to_owned();
        let request =
            Request::get(Operation::LookUp, path).in_namespace(login.namespace.as_deref());
        match self.driver.exchange(&request, Some(&token), deadline) {
            Ok(answered) => {
                read(&request, answered.body.expose(), |text| answer::looked_up(text, token))
            }
            Err(error) if error.status() == Some(403) && !is_invalid(&error) => {
                Ok(Session::of_token(token))
            }
            Err(error) => Err(error),
        }
    }

    /// Unwraps a `secret_id`, and demands that it was wrapped where such are made.
    ///
    /// SECURITY: whoever can replace the wrapping token could otherwise put one of their own there.
    fn unwrap_secret_id(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
    ) -> Result<Secret, BaoError> {
        let failed = |failure| BaoError::new(Operation::Unwrap, None, failure);
        let token = credential.load_token().map_err(failed)?;
        let body = Object::default().text("token", token.expose()).finish();
        let path = "sys/wrapping/lookup".to_owned();
        let request = Request::post(Operation::Unwrap, path, body)
            .repeatable()
            .in_namespace(login.namespace.as_deref());
        let made_at = self.ask(&request, None, deadline, answer::creation_path)?;
        let role = format!("auth/{}/role/", login.mount());
        if !(made_at.contains(&role) && made_at.ends_with("/secret-id")) {
            return Err(failed(Failure::Shape("what was wrapped is no secret_id of this mount")));
        }
        self.unwrap(login, credential, deadline, |text| answer::unwrapped(text, "secret_id"))
    }

    fn unwrap<T>(
        &self,
        login: &Login,
        credential: &Credential,
        deadline: &Deadline,
        take: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, BaoError> {
        let failed = |failure| BaoError::new(Operation::Unwrap, None, failure);
        let token = credential.load_token().map_err(failed)?;
        let body = Object::default().finish();
        let request = Request::post(Operation::Unwrap, "sys/wrapping/unwrap".to_owned(), body)
            .in_namespace(login.namespace.as_deref());
        self.ask(&request, Some(&token), deadline, take)
    }
}

fn is_invalid(error: &BaoError) -> bool {
    match &*error.failure {
        Failure::Status { errors, .. } => errors.iter().any(|said| said.contains("invalid token")),
        _ => false,
    }
}
