//! The second boot: it is what the first was, so a path that demands that is released, once there is a
//! receipt; and everything else is refused with its reason.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use cloudtaser_core::node::{Hash, NodeEvidence};
use cloudtaser_e2e::{FalseAgent, Launch, Networks, Pod, Releases, SHOP, canary, until};
use serde_json::{Value, json};

use crate::{
    AGENT, FIRST, IDENTITY, KEPT, NODE_KEY, PATIENCE, PROGRAMS_DISK, attested, check, disk, in_pod,
    keep, same, say, start_agent, thief,
};

/// Firmware, its drivers, the kernel, whether it was to be signed, and what the kernel was given.
pub(crate) const PINNED: [u8; 5] = [0, 2, 4, 7, 9];
/// The rule's name for them.
const BOOT: &str = "as-first-booted";
/// A file system of its own for receipts, so that it can be full.
const RECEIPTS: &str = "/receipts";
/// An agent that is asked on a busy machine may come too late for a launch.
const TRIES: usize = 4;
/// How long a launch may be at what cannot be had.
const DEADLINE: &str = "5s";

/// Everything that is needed for a release.
struct Machine {
    road: Releases,
    first: NodeEvidence,
    /// What this boot's agent and TPM signed for a session that is over.
    earlier: NodeEvidence,
    node: String,
    value: String,
}

pub(crate) fn boot() {
    let agent = std::thread::spawn(start_agent);
    say(&["/bin/sh", "-c", &format!("cd / && cpio -idu < {}", disk(PROGRAMS_DISK))]);
    say(&["mkdir", RECEIPTS]);
    say(&["mount", "-t", "tmpfs", "-o", "size=16m", "receipts", RECEIPTS]);
    let networks = Networks::of_this_machine().expect("the relay's address");
    let road = Releases::start(networks, SHOP).expect("a road of releases");
    agent.join().expect("the agent");
    let mut machine = Machine::enrolled(road);
    machine.releases();
    machine.refuses_what_the_policy_does_not_name();
    machine.refuses_thieves();
    machine.releases_nothing_without_a_receipt();
    machine.shows_an_auditor();
    machine.hears_what_goes_around();
    machine.refuses_what_was_measured_later();
}

impl Machine {
    /// Takes the node into a policy, as its people do.
    fn enrolled(mut road: Releases) -> Self {
        road.configure(&format!("[release.log]\ndir = \"{RECEIPTS}/log\"\n"));
        let first = fs::read_to_string(FIRST).expect("the first boot");
        let first = serde_json::from_str(&first).expect("evidence");
        let value = canary();
        road.put("shop/db", &json!({ "password": value }));
        let mut node = String::new();
        check("the-tpm-answers-a-challenge", || {
            let identity = fs::read_to_string(IDENTITY).expect("the identity");
            let now = say(&[AGENT, "tpm", "identity", "--node-key", NODE_KEY]);
            same(&now, &identity)?;
            let asked = ["--identity", IDENTITY, "--keep", "/tmp/challenge.kept"];
            let challenge = road.bridge_says(&[&["node-challenge"][..], &asked].concat());
            let answer = answered(&challenge);
            let more = ["--answer", answer.trim(), "--place", "own"];
            node = road.bridge_says(&[&["node-enrol"][..], &asked, &more].concat());
            Ok(())
        });
        let session = [Hash::new([3; 32]), Hash::new([4; 32])];
        let earlier = attested(&Pod::new("shop", "web"), session[0], session[1]);
        let machine = Self { road, first, earlier, node, value };
        machine.road.policy(&machine.policy(&machine.node, &machine.pinned()));
        machine
    }

    fn pinned(&self) -> BTreeMap<u8, Hash> {
        let registers = self.first.tpm.as_ref().map(|tpm| tpm.registers.clone());
        let mut registers = registers.unwrap_or_default();
        registers.retain(|number, _| PINNED.contains(number));
        registers
    }

    fn policy(&self, node: &str, registers: &BTreeMap<u8, Hash>) -> String {
        let each = registers.iter().map(|(number, value)| format!("\"{number}\" = \"{value}\""));
        let each = each.collect::<Vec<_>>().join(", ");
        format!(
            "{node}\n[[boot]]\nname = \"{BOOT}\"\nregisters = {{ {each} }}\n{SHOP}\n\
             [rule.node]\nagent = \"enforcing\"\nassurance = \"L4\"\nboots = [\"{BOOT}\"]\n"
        )
    }

    fn launch(&self, pod: &Pod) -> Launch {
        let launch = self.road.launch_of(pod).env("S", "vault:secret/shop/db#password");
        let launch = launch.env("CLOUDTASER_DEADLINE", "120s");
        launch.behind(in_pod(pod)).patience(PATIENCE)
    }

    /// What a launch came to: the value, or why not.
    fn outcome(&self, launch: &Launch) -> Result<(), String> {
        let output = launch.run(["/bin/sh", "-c", "echo \"got $S\""]);
        if output.text() == format!("got {}\n", self.value) {
            return Ok(());
        }
        assert_eq!(output.text(), "", "the app was started");
        Err(output.stderr)
    }

    fn is_released(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.outcome(&self.launch(&Pod::new("shop", "web"))) {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
        }
        Err(format!("{last} bridge: {}", self.road.bridge.log()))
    }

    /// Every one of these launches is refused, and one of them in these words.
    fn is_refused(
        &self,
        words: &str,
        mut launch: impl FnMut(&Self, &Pod) -> Launch,
    ) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.outcome(&launch(self, &Pod::new("shop", "web"))) {
                Ok(()) => return Err("it was released".to_owned()),
                Err(why) if why.contains(words) => return Ok(()),
                Err(why) => last = why,
            }
        }
        Err(format!("no {words:?} in {last}"))
    }

    fn releases(&self) {
        check("what-the-policy-demands-is-released", || {
            self.is_released()?;
            let lines = self.road.audit().1;
            let line = lines.iter().find(|line| line["decision"] == "released");
            let line = line.ok_or("there is no line of it")?;
            if line["node"].is_string() { Ok(()) } else { Err(format!("no node in {line}")) }
        });
    }

    /// Wrong registers, another TPM, a node that was taken out.
    fn refuses_what_the_policy_does_not_name(&self) {
        let plain = |own: &Self, pod: &Pod| own.launch(pod);
        check("a-register-that-the-policy-does-not-have-is-refused", || {
            let mut registers = self.pinned();
            registers.insert(4, Hash::new([9; 32]));
            self.road.policy(&self.policy(&self.node, &registers));
            self.is_refused("no TPM that the policy names has signed a boot of", plain)
        });
        check("a-quoting-key-that-was-taken-out-is-refused", || {
            let own = self.node.lines().filter(|line| !line.starts_with("tpm ="));
            let own: Vec<&str> = own.collect();
            let other = format!("{}\ntpm = \"{}\"\n", own.join("\n"), Hash::new([9; 32]));
            self.road.policy(&self.policy(&other, &self.pinned()));
            self.is_refused("another TPM has signed", plain)
        });
        check("a-node-that-was-taken-out-is-refused", || {
            self.road.policy(&self.policy("", &self.pinned()));
            self.is_refused("none of those that the policy names", plain)
        });
        self.road.policy(&self.policy(&self.node, &self.pinned()));
    }

    /// Who replays what was signed, and who has the node's key in software.
    fn refuses_thieves(&self) {
        let by = |own: &Self, pod: &Pod, agent: &FalseAgent| {
            own.launch(pod).env("CLOUDTASER_AGENT", agent.path())
        };
        for (name, evidence) in
            [("an-earlier-session", &self.earlier), ("another-boot", &self.first)]
        {
            check(&format!("a-statement-of-{name}-is-refused"), || {
                let evidence = evidence.clone();
                let agent = FalseAgent::start(move |_, _| evidence.clone());
                self.is_refused("it was made for another session", |own, pod| by(own, pod, &agent))
            });
            check(&format!("a-quote-of-{name}-under-a-fresh-statement-is-refused"), || {
                let mut agents = Vec::new();
                self.is_refused("the quote was made for something else", |own, pod| {
                    let agent = thief::with_quote(pod, evidence, evidence.tpm.clone());
                    let launch = by(own, pod, &agent);
                    agents.push(agent);
                    launch
                })
            });
        }
        check("a-stolen-key-without-the-tpm-is-refused", || {
            let mut agents = Vec::new();
            self.is_refused("there is no quote by a TPM", |own, pod| {
                let agent = thief::with_quote(pod, &self.first, None);
                let launch = by(own, pod, &agent);
                agents.push(agent);
                launch
            })
        });
    }

    fn releases_nothing_without_a_receipt(&self) {
        let fill = format!("{RECEIPTS}/fill");
        check("without-room-for-a-receipt-nothing-is-released", || {
            let mut file = fs::File::create(&fill).expect("a file");
            while file.write_all(&[0; 4096]).is_ok() {}
            drop(file);
            self.is_refused("receipt cannot be written", |own, pod| {
                own.launch(pod).env("CLOUDTASER_DEADLINE", DEADLINE)
            })
        });
        check("with-room-it-goes-on", || {
            fs::remove_file(&fill).expect("a file");
            self.is_released()
        });
    }

    /// What leaves the machine is verified by the host as well.
    fn shows_an_auditor(&self) {
        check("the-evidence-verifies-and-names-this-boot", || {
            let log = format!("{RECEIPTS}/log");
            let words = ["verify", "bundle", "--policy", "state/log.policy", "--json"];
            let words = [&words[..], &["--release-policy", "policy.toml"]].concat();
            let shown = until("the receipts in a bundle", PATIENCE, || {
                self.road.evidence(&["export", &log, "--out", "bundle"]).expect("a bundle");
                let shown = self.road.evidence(&words).expect("what is verified");
                let shown: Value = serde_json::from_str(&shown).expect("JSON");
                // What was written in the last moment is not in the tiles yet.
                (shown["tally"]["released"].as_u64() >= Some(2)).then_some(shown)
            });
            let reached = &shown["tally"]["hardware"]["L4"];
            same(reached, &shown["tally"]["released"])?;
            let first = self.road.evidence(&["node", FIRST, "--json"]).expect("what is verified");
            let first: Value = serde_json::from_str(&first).expect("JSON");
            let resets = |value: &Value| value["tpm"]["resets"].as_u64();
            let nodes = shown["nodes"].as_array().cloned().unwrap_or_default();
            if !nodes.iter().any(|node| resets(node) > resets(&first)) {
                return Err(format!("no other boot than {first} in {shown}"));
            }
            for name in ["bundle", "policy.toml", "state/log.policy"] {
                let from = self.road.folder().join(name);
                let to = format!("{KEPT}/{}", name.rsplit('/').next().unwrap_or(name));
                fs::copy(from, to).expect("a copy");
            }
            keep();
            Ok(())
        });
    }

    /// A release that no receipt is of, by somebody who has OpenBao's own keys.
    fn hears_what_goes_around(&mut self) {
        check("a-read-around-the-bridge-fails-the-claim", || {
            self.road.hear_openbao();
            self.road.bao.api("GET", "secret/data/shop/db", &Value::Null);
            let log = format!("{RECEIPTS}/log");
            let words = ["verify", &log, "--policy", "state/log.policy"];
            let why = until("the notice", PATIENCE, || self.road.evidence(&words).err());
            if why.contains("C7 does not pass") { Ok(()) } else { Err(why) }
        });
    }

    /// Last: only another boot takes it back.
    fn refuses_what_was_measured_later(&self) {
        check("a-register-that-was-changed-since-the-boot-is-refused", || {
            extend(4, [7; 32]);
            self.is_refused("the event log does not lead to register 4", Self::launch)
        });
    }
}

/// Has the TPM open a challenge.
fn answered(challenge: &str) -> String {
    let mut agent = Command::new(AGENT);
    agent.args(["tpm", "answer"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = agent.spawn().expect("the agent");
    let mut input = agent.stdin.take().expect("a pipe");
    input.write_all(challenge.as_bytes()).expect("it reads");
    drop(input);
    let output = agent.wait_with_output().expect("its end");
    assert!(output.status.success(), "the TPM gives no answer");
    String::from_utf8(output.stdout).expect("text")
}

/// `TPM2_PCR_Extend` with an empty password, as whoever is root of the node can.
fn extend(register: u8, hash: [u8; 32]) {
    let head = "80020000004100000182000000";
    let session = "00000009400000090000000000";
    let digests = "00000001000b";
    let command = format!("{head}{register:02x}{session}{digests}");
    let mut command = data_encoding::HEXLOWER.decode(command.as_bytes()).expect("digits");
    command.extend_from_slice(&hash);
    let mut device = OpenOptions::new().read(true).write(true).open("/dev/tpmrm0").expect("a TPM");
    device.write_all(&command).expect("a command");
    let mut answer = [0; 64];
    let len = device.read(&mut answer).expect("an answer");
    assert!(len >= 10 && answer[6..10] == [0; 4], "{:x?}", &answer[..len]);
}
