//! A pod as the injector leaves it, started by a container runtime: another user than root, no
//! capability, no new privileges, a read-only root, a seccomp profile.
//!
//! What the kubelet does between the pod and the runtime is done here by hand: volumes, the token,
//! the expansion of variables, the order of containers.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
        process::{Command, Output},
    };

    use cloudtaser_e2e::{Bao, Role, Scratch, canary, is_root, on_path, skip, wrapper};
    use cloudtaser_k8s::{Config, image::NoRegistry, inject, inject::verify};
    use serde_json::{Value, json};

    /// System calls that runtimes refuse to containers without capabilities.
    const REFUSED: &[&str] = &[
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "delete_module",
        "finit_module",
        "fsconfig",
        "fsmount",
        "fsopen",
        "init_module",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_load",
        "keyctl",
        "lookup_dcookie",
        "mbind",
        "mount",
        "move_mount",
        "move_pages",
        "open_by_handle_at",
        "open_tree",
        "perf_event_open",
        "pivot_root",
        // Docker's profile lets these two through, that of containerd does not.
        "process_vm_readv",
        "process_vm_writev",
        "quotactl",
        "reboot",
        "request_key",
        "set_mempolicy",
        "setns",
        "settimeofday",
        "swapoff",
        "swapon",
        "syslog",
        "umount2",
        "unshare",
        "userfaultfd",
        "vhangup",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ];

    /// Prints what the app sees.
    const APP: &str = "printf '%s\\n' \"value=$PW\"; id -u; \
         grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
         touch /x 2>/dev/null && echo root-is-writable; \
         touch /cloudtaser/bin/x 2>/dev/null && echo wrapper-is-writable; \
         printf 'environ='; tr '\\0' ' ' < /proc/self/environ; echo; exit 7";

    /// A pod on this machine: its volumes, and a folder for each container.
    struct Node {
        folder: Scratch,
        tmpfs: PathBuf,
    }

    impl Node {
        fn new(token: &str) -> Option<Self> {
            let folder = Scratch::new();
            let make = |name: &str| {
                let path = folder.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            };
            let tmpfs = make("cloudtaser-bin");
            let identity = make("cloudtaser-token");
            fs::write(identity.join("token"), token).unwrap();
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(identity.join("token"), readable).unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs"]).arg(&tmpfs);
            mount.status().is_ok_and(|status| status.success()).then_some(Self { folder, tmpfs })
        }

        /// Runs one container of the pod to its end.
        fn run(&self, container: &Value, root: &Path, user: u32) -> Output {
            let name = container["name"].as_str().unwrap();
            let bundle = self.folder.path().join(format!("bundle-{name}"));
            fs::create_dir(&bundle).unwrap();
            let config = self.config(container, root, user);
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            let state = self.folder.path().join("state");
            let id = format!("{}-{name}", canary());
            let mut runc = Command::new("runc");
            runc.arg("--root").arg(state).args(["run", "--bundle"]).arg(&bundle).arg(id);
            runc.output().unwrap()
        }

        fn config(&self, container: &Value, root: &Path, user: u32) -> Value {
            let words = |member: &str| -> Vec<String> {
                serde_json::from_value(container[member].clone()).unwrap_or_default()
            };
            // The kubelet expands `$$`; nothing else is in these pods.
            let expand = |text: &str| text.replace("$$", "$");
            let args: Vec<String> =
                [words("command"), words("args")].concat().iter().map(|w| expand(w)).collect();
            let mut env = vec!["PATH=/usr/bin:/bin".to_owned()];
            for entry in container["env"].as_array().into_iter().flatten() {
                let text = |member: &str| entry[member].as_str().unwrap();
                env.push(format!("{}={}", text("name"), expand(text("value"))));
            }
            json!({
                "ociVersion": "1.0.2",
                "process": {
                    "terminal": false, "user": {"uid": user, "gid": user}, "args": args,
                    "env": env, "cwd": "/", "noNewPrivileges": true,
                    "capabilities": {"bounding": [], "effective": [], "permitted": []},
                    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
                },
                "root": {"path": root, "readonly": true},
                "mounts": self.mounts(container),
                "linux": {
                    "cgroupsPath": format!("/cloudtaser-e2e-{}", canary()),
                    "resources": {"memory": {"limit": limit_of(container)}},
                    "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "mount"}],
                    "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
                    "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/irq"],
                    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                        {"names": REFUSED, "action": "SCMP_ACT_ERRNO"}]},
                },
            })
        }

        fn mounts(&self, container: &Value) -> Vec<Value> {
            let mut mounts = vec![
                json!({"destination": "/proc", "type": "proc", "source": "proc"}),
                json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid", "mode=755", "size=64k"]}),
            ];
            if container["name"] == "app" {
                for folder in ["/bin", "/lib", "/lib64", "/usr"] {
                    if Path::new(folder).exists() {
                        mounts.push(json!({"destination": folder, "type": "bind",
                            "source": folder, "options": ["rbind", "ro"]}));
                    }
                }
            }
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let source = self.folder.path().join(mount["name"].as_str().unwrap());
                let access = if mount["readOnly"] == true { "ro" } else { "rw" };
                mounts.push(json!({"destination": mount["mountPath"], "type": "bind",
                    "source": source, "options": ["rbind", access, "nosuid", "nodev"]}));
            }
            mounts
        }

        fn root(&self, name: &str) -> PathBuf {
            let path = self.folder.path().join(format!("root-{name}"));
            fs::create_dir(&path).unwrap();
            path
        }
    }

    /// What the container is limited to, in bytes; none for those without.
    fn limit_of(container: &Value) -> i64 {
        let text = container.pointer("/resources/limits/memory").and_then(Value::as_str);
        let mebibytes = text.and_then(|text| text.strip_suffix("Mi")?.parse::<i64>().ok());
        mebibytes.map_or(-1, |number| number << 20)
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _left = Command::new("umount").arg(&self.tmpfs).status();
        }
    }

    /// A pod that names a secret, as the injector leaves it.
    fn injected(bao: &Bao) -> Value {
        let config: Config = serde_json::from_value(json!({
            "wrapper": {"image": "wrapper"},
            "server": [{"name": "main", "address": bao.url(),
                "ca": fs::read_to_string(bao.ca()).unwrap()}],
            "token": {"audience": "openbao", "lifetime_seconds": 600},
        }))
        .unwrap();
        let mut pod = json!({
            "metadata": {
                "labels": {"cloudtaser.io/inject": "true"},
                "annotations": {"cloudtaser.io/auth-method": "jwt"},
            },
            "spec": {
                "serviceAccountName": "app",
                "securityContext": {"runAsNonRoot": true, "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "app", "image": "app", "command": ["sh", "-c", APP],
                    "env": [{"name": "PW", "value": "vault:secret/data/container#password"}],
                    "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
                }],
            },
        });
        let injection = inject(&pod, &config, &NoRegistry).unwrap();
        let patch = serde_json::to_value(&injection.patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        assert_eq!(verify(&pod, &config), Ok(()));
        pod
    }

    #[test]
    fn a_container_as_it_was_injected_gets_its_secret_and_nothing_else_shows_it() {
        if !is_root() {
            skip!("a container runtime needs root here");
        }
        if on_path("runc").is_none() {
            skip!("runc is not installed");
        }
        let bao = Bao::start();
        let secret = canary();
        bao.put("container", &json!({"password": secret}));
        let Some(setup) = bao.login(Role::Jwt) else { skip!("openssl is not installed") };
        let Some(node) = Node::new(&setup.credentials[0]) else { skip!("tmpfs cannot be mounted") };
        let pod = injected(&bao);
        assert!(!pod.to_string().contains(&secret));

        let deliver = &pod["spec"]["initContainers"][0];
        assert_eq!(limit_of(deliver), 24 << 20, "the copy is made within the limit");
        let root = node.root("deliver");
        fs::copy(wrapper(), root.join("cloudtaser-wrapper")).unwrap();
        let done = node.run(deliver, &root, 65_532);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let copy = node.folder.path().join("cloudtaser-bin/cloudtaser-wrapper");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o555);

        let app = &pod["spec"]["containers"][0];
        let ran = node.run(app, &node.root("app"), 1000);
        let (out, log) =
            (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        println!("{log}");
        assert_eq!(ran.status.code(), Some(7), "{out}{log}");
        assert_eq!(out.lines().next(), Some(format!("value={secret}").as_str()), "{log}");
        for shown in ["1000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(out.lines().any(|line| line == shown), "{shown}: {out}");
        }
        assert!(!out.contains("is-writable"), "{out}");
        let environ = out.lines().find(|line| line.starts_with("environ=")).unwrap();
        assert!(!environ.contains(&secret) && environ.contains("PW="), "{environ}");
        assert!(!environ.contains("CLOUDTASER_PLAN"), "{environ}");
        assert!(!log.contains(&secret) && !log.contains(&setup.credentials[0]), "{log}");
    }
}
