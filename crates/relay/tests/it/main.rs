//! Beacon, bridge and client in one process, with an echo in the place of OpenBao.

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod away;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod enrolled;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod liar;
#[cfg(test)]
mod reverse;
#[cfg(test)]
mod road;
#[cfg(test)]
mod support;
