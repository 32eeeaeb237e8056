//! The client against a real OpenBao, and against servers that misbehave. One program, so that the
//! OpenBao is started once.

#[cfg(test)]
mod logins;
#[cfg(test)]
mod names;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trouble;
