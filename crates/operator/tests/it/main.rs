//! The real program against a double of the API server, over real TLS.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod admission;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod images;
#[cfg(test)]
mod road;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watch;
