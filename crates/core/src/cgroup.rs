//! Which pod and which container a process is in, read from the path of its cgroup.
//!
//! The forms are those of kubelet with containerd, CRI-O and Docker, by either cgroup driver, and of
//! the same runtimes without Kubernetes. Parsing is total: a path that says nothing gives nothing.
//!
//! SECURITY: the outermost match counts, since whoever is in a container may name the groups below
//! it as he likes. Root of the node may put a process into any group: this is a label, no identity.

/// Container ids of every runtime that is known here.
const CONTAINER_LEN: usize = 64;
/// A UUID in its canonical form.
const UUID_LEN: usize = 36;
/// Kubelet names a static pod by the hash of its manifest.
const HASH_LEN: usize = 32;
/// What runtimes write before the id, where systemd makes the groups.
const SCOPES: &[&str] = &["cri-containerd-", "crio-", "docker-", "libpod-", "nerdctl-"];
/// Controllers of cgroup v1 in the order in which they are believed; the empty name is v2.
const HIERARCHIES: &[&str] = &["", "name=systemd", "pids", "memory", "cpu", "cpuset", "devices"];

/// What a path says.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Workload {
    /// The pod's UID as Kubernetes writes it, or 32 digits for a static pod.
    pub pod: Option<String>,
    /// The container's id: 64 digits.
    pub container: Option<String>,
}

impl Workload {
    /// Reads the path of one cgroup.
    #[must_use]
    pub fn parse(path: &str) -> Self {
        let mut found = Self::default();
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        for segment in path.split('/') {
            if found.pod.is_some() {
                found.container = container(segment);
                break;
            }
            // containerd that was told to use systemd and does not know it: slice:prefix:id.
            if let Some((slice, rest)) = segment.split_once(':') {
                found.pod = pod(slice);
                found.container = rest.split_once(':').and_then(|(_, id)| container(id));
            } else {
                found.pod = pod(segment);
                found.container = container(segment);
            }
            if found.container.is_some() {
                break;
            }
        }
        found
    }

    /// Whether the path was that of no container.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pod.is_none() && self.container.is_none()
    }
}

/// The path in `/proc/PID/cgroup` that says most: one that names a pod or a container, else the
/// first that is not the root.
#[must_use]
pub fn path(file: &str) -> Option<&str> {
    let mut paths: Vec<(usize, &str)> = Vec::new();
    for line in file.lines() {
        // hierarchy:controllers:path, where a path may have colons.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let rank = HIERARCHIES.iter().position(|name| controllers.split(',').any(|c| c == *name));
        paths.push((rank.unwrap_or(HIERARCHIES.len()), path));
    }
    paths.sort_by_key(|(rank, _)| *rank);
    let mut each = paths.iter().map(|(_, path)| *path);
    let telling = each.clone().find(|path| !Workload::parse(path).is_empty());
    telling.or_else(|| each.clone().find(|path| *path != "/")).or_else(|| each.next())
}

/// `podUID`, or `kubepods-burstable-podUID.slice` with underscores.
fn pod(segment: &str) -> Option<String> {
    let uid = match segment.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => segment.strip_prefix("pod")?.to_owned(),
    };
    let is_uuid = uid.len() == UUID_LEN
        && uid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_digit(byte),
        });
    let is_hash = uid.len() == HASH_LEN && uid.bytes().all(is_digit);
    (is_uuid || is_hash).then_some(uid)
}

/// An id by itself, or in the scope of a runtime.
fn container(segment: &str) -> Option<String> {
    let id = match segment.strip_suffix(".scope") {
        Some(scope) => SCOPES.iter().find_map(|prefix| scope.strip_prefix(prefix))?,
        None => SCOPES.iter().find_map(|prefix| segment.strip_prefix(prefix)).unwrap_or(segment),
    };
    (id.len() == CONTAINER_LEN && id.bytes().all(is_digit)).then(|| id.to_owned())
}

const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1b2c3d4e-0f1a-4b2c-8d3e-0123456789ab";
    const BAR: &str = "1b2c3d4e_0f1a_4b2c_8d3e_0123456789ab";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";
    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn parsed(form: &str) -> (Option<String>, Option<String>) {
        let path = form.replace("UID", UID).replace("BAR", BAR).replace("STATIC", STATIC);
        let Workload { pod, container } = Workload::parse(&path.replace("ID", ID));
        (pod, container)
    }

    #[test]
    fn every_runtime_and_driver_of_kubernetes() {
        for form in [
            "/kubepods/besteffort/podUID/ID",
            "/kubepods/podUID/ID",
            "/kubepods/burstable/podUID/crio-ID",
            "/kubepods.slice/kubepods-podBAR.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podBAR.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podBAR.slice/crio-ID.scope/container",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podBAR.slice/docker-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podBAR.slice/cri-containerd-ID.scope/init.scope",
            "/system.slice/containerd.service/kubepods-burstable-podBAR.slice:cri-containerd:ID",
            "/../../kubepods/podUID/ID",
            "/kubepods/podUID/ID (deleted)",
        ] {
            assert_eq!(parsed(form), (Some(UID.into()), Some(ID.into())), "{form}");
        }
        let of_a_static_pod = parsed("/kubepods/burstable/podSTATIC/ID");
        assert_eq!(of_a_static_pod, (Some(STATIC.into()), Some(ID.into())));
    }

    #[test]
    fn containers_without_kubernetes() {
        for form in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/system.slice/nerdctl-ID.scope",
            "/default/ID",
        ] {
            assert_eq!(parsed(form), (None, Some(ID.into())), "{form}");
        }
    }

    #[test]
    fn what_is_no_container_says_nothing() {
        for form in [
            "",
            "/",
            "/init.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/kubepods.slice/kubepods-burstable.slice",
            "/machine.slice/libpod-conmon-ID.scope",
        ] {
            assert_eq!(parsed(form), (None, None), "{form}");
        }
        // The runtime's own watcher is in the pod, and in no container.
        let watcher = "/kubepods.slice/kubepods-podBAR.slice/crio-conmon-ID.scope";
        assert_eq!(parsed(watcher), (Some(UID.into()), None));
        assert_eq!(parsed("/kubepods/podUID"), (Some(UID.into()), None));
    }

    #[test]
    fn a_container_cannot_name_itself_after_another() {
        let other = ID.replace('0', "f");
        let nested = format!("/kubepods/podUID/ID/podSTATIC/{other}");
        assert_eq!(parsed(&nested), (Some(UID.into()), Some(ID.into())));
        let nested = format!("/docker/ID/kubepods/podUID/{other}");
        assert_eq!(parsed(&nested), (None, Some(ID.into())));
        let beside = format!("/kubepods/podUID/elsewhere/{other}");
        assert_eq!(parsed(&beside), (Some(UID.into()), None));
    }

    #[test]
    fn the_hierarchy_that_tells_most_is_taken() {
        let v2 = "0::/system.slice/ssh.service\n";
        assert_eq!(path(v2), Some("/system.slice/ssh.service"));
        let v1 = format!("12:cpu,cpuacct:/\n4:memory:/docker/{ID}\n1:name=systemd:/a:b\n0::/\n");
        assert_eq!(path(&v1), Some(format!("/docker/{ID}").as_str()));
        assert_eq!(path("2:cpu:/x\n1:name=systemd:/a:b\n0::/\n"), Some("/a:b"));
        assert_eq!(path("0::/\n"), Some("/"));
        for broken in ["", "0", "0:", "\n\n"] {
            assert_eq!(path(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_well_formed_names_or_none(text in "\\PC{0,200}") {
            let found = Workload::parse(&text);
            if let Some(id) = found.container {
                prop_assert!(text.contains(&id) && id.len() == CONTAINER_LEN);
            }
            prop_assert!(found.pod.is_none_or(|uid| matches!(uid.len(), UUID_LEN | HASH_LEN)));
        }

        #[test]
        fn what_lies_above_and_below_changes_nothing(
            above in "(/[a-z.]{1,12}){0,4}", below in "(/[a-z0-9.:-]{1,70}){0,4}",
            uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id in "[0-9a-f]{64}",
        ) {
            let wanted = Workload { pod: Some(uid.clone()), container: Some(id.clone()) };
            let plain = format!("{above}/pod{uid}/{id}{below}");
            prop_assert_eq!(&Workload::parse(&plain), &wanted);
            let bars = uid.replace('-', "_");
            let slice = format!("{above}/k-pod{bars}.slice/cri-containerd-{id}.scope{below}");
            prop_assert_eq!(&Workload::parse(&slice), &wanted);
        }
    }
}
