//! Whose TPM it is, by certificates and lists of revoked ones that `openssl` makes as a maker would,
//! at the program that takes nodes in.

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Output},
    };

    /// What a maker's authority is told to `openssl`.
    const AUTHORITY: &str = "
[ca]
default_ca = maker
[maker]
database = DIR/NAME.index
serial = DIR/NAME.serial
crlnumber = DIR/NAME.crlnumber
new_certs_dir = DIR
default_md = sha384
default_days = 3650
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[endorsement]
basicConstraints = critical, CA:FALSE
keyUsage = critical, keyAgreement
extendedKeyUsage = 2.23.133.8.1
authorityKeyIdentifier = keyid
[part]
issuingDistributionPoint = critical, @only
[only]
onlyuser = TRUE
";
    /// The TPM's structure up to the coordinates: template L-2 of TCG's EK Credential Profile.
    const HEAD: &str = "0023000b000300b20020\
                        837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa\
                        000600800043001000030010";

    /// The same of a key that signs quotes.
    const QUOTING: &str = "0023000b00050072000000100018000b00030010";

    /// A maker: a root, two authorities under it, and the TPM of one.
    struct Maker {
        folder: tempfile::TempDir,
    }

    fn run(program: &mut Command) -> Output {
        let output = program.output().unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?}: {problem}");
        output
    }

    impl Maker {
        fn new() -> Self {
            let maker = Self { folder: tempfile::tempdir().unwrap() };
            for (name, kind) in [("root", "RSA"), ("between", "EC"), ("other", "EC"), ("ek", "EC")]
            {
                let mut command = maker.openssl("genpkey");
                let how = match (kind, name) {
                    ("RSA", _) => ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                    (_, "ek") => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                    _ => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
                };
                run(command.args(how).args(["-out", &maker.path(&format!("{name}.key"))]));
                let text = AUTHORITY.replace("DIR", &maker.path("")).replace("NAME", name);
                maker.write(&format!("{name}.cnf"), &text);
                maker.write(&format!("{name}.index"), "");
                maker.write(&format!("{name}.serial"), "1001\n");
                maker.write(&format!("{name}.crlnumber"), "01\n");
            }
            let mut root = maker.openssl("req");
            root.args(["-x509", "-new", "-subj", "/CN=Maker root", "-days", "3650", "-sha256"]);
            root.args(["-key", &maker.path("root.key"), "-config", &maker.path("root.cnf")]);
            run(root.args(["-extensions", "authority", "-out", &maker.path("root.pem")]));
            maker.certify("between", "root", "authority");
            maker.certify("other", "root", "authority");
            maker.certify("ek", "between", "endorsement");
            maker.identity();
            maker
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn openssl(&self, verb: &str) -> Command {
            let mut command = Command::new("openssl");
            command.arg(verb).env("OPENSSL_CONF", "/dev/null").current_dir(self.folder.path());
            command
        }

        fn certify(&self, name: &str, by: &str, kind: &str) {
            let (request, config) = (format!("{name}.csr"), self.path(&format!("{by}.cnf")));
            let mut command = self.openssl("req");
            command.args(["-new", "-subj", &format!("/CN=Maker {name}"), "-config", &config]);
            run(command.args(["-key", &self.path(&format!("{name}.key")), "-out", &request]));
            let mut command = self.ca(by);
            command.args(["-batch", "-notext", "-in", &request, "-extensions", kind]);
            run(command.args(["-out", &self.path(&format!("{name}.pem"))]));
        }

        /// An authority at its work.
        fn ca(&self, name: &str) -> Command {
            let mut command = self.openssl("ca");
            command.args(["-config", &self.path(&format!("{name}.cnf"))]);
            let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
            command.args(["-keyfile", &self.path(&key), "-cert", &self.path(&certificate)]);
            command
        }

        fn revoke(&self, name: &str, by: &str) {
            run(self.ca(by).args(["-revoke", &self.path(&format!("{name}.pem"))]));
        }

        /// A list of this authority, with these options of openssl's.
        fn list(&self, by: &str, file: &str, options: &[&str]) -> String {
            run(self.ca(by).arg("-gencrl").args(options).args(["-out", &self.path(file)]));
            self.path(file)
        }

        /// What `cloudtaser-agent tpm identity` prints of that TPM.
        fn identity(&self) {
            let der =
                run(self.openssl("pkey").args(["-in", "ek.key", "-pubout", "-outform", "DER"]));
            let point = &der.stdout[der.stdout.len() - 64..];
            let (x, y) = point.split_at(32);
            let public = |head: &str| {
                let head = data_encoding::HEXLOWER.decode(head.as_bytes()).unwrap();
                [&head[..], &[0, 32], x, &[0, 32], y].concat()
            };
            let pem = run(self.openssl("x509").args(["-in", "ek.pem", "-outform", "DER"]));
            let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
            let identity = cloudtaser_core::node::NodeIdentity {
                name: "worker-1".to_owned(),
                key: cloudtaser_core::node::Hash::new([1; 32]),
                endorsement: base64(&public(HEAD)),
                attestation: base64(&public(QUOTING)),
                certificate: Some(base64(&pem.stdout)),
            };
            self.write("identity.json", &serde_json::to_string(&identity).unwrap());
        }

        /// Whether the bridge's people would challenge this TPM; its words where not.
        fn asked(&self, lists: &[&str]) -> Result<(), String> {
            let keep = self.folder.path().join("kept");
            drop(fs::remove_file(&keep));
            let mut command = Command::new(env!("CARGO_BIN_EXE_cloudtaser-bridge"));
            command.arg("node-challenge").args(["--identity", &self.path("identity.json")]);
            command.arg("--keep").arg(&keep).args(["--ek-root", &self.path("root.pem")]);
            for authority in ["between.pem", "other.pem"] {
                command.args(["--ek-authority", &self.path(authority)]);
            }
            for list in lists {
                command.args(["--ek-revoked", list]);
            }
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(
                output.status.success(),
                keep.exists(),
                "no challenge without what it wants"
            );
            if output.status.success() { Ok(()) } else { Err(said) }
        }
    }

    fn has_openssl() -> bool {
        let found = Command::new("openssl").arg("version").output();
        let found = found.is_ok_and(|output| output.stdout.starts_with(b"OpenSSL 3"));
        if !found {
            println!("SKIP: openssl 3 cannot be run here");
        }
        found
    }

    #[test]
    fn a_tpm_is_let_in_until_its_maker_revokes_it_or_who_stands_above() {
        if !has_openssl() {
            return;
        }
        let maker = Maker::new();
        let month = ["-crldays", "30"];
        let (root, between) =
            (maker.list("root", "root.crl", &month), maker.list("between", "between.crl", &month));
        assert_eq!(maker.asked(&[]), Ok(()));
        assert_eq!(maker.asked(&[&root, &between]), Ok(()));
        // Its authority's sister revokes nobody of ours, whatever numbers are on her list.
        let certificate = fs::read_to_string(maker.path("ek.pem")).unwrap();
        maker.certify("ek", "other", "endorsement");
        maker.revoke("ek", "other");
        maker.write("ek.pem", &certificate);
        let sister = maker.list("other", "other.crl", &month);
        assert_eq!(maker.asked(&[&root, &between, &sister]), Ok(()));

        maker.revoke("ek", "between");
        let revoked = maker.list("between", "revoked.crl", &month);
        assert!(maker.asked(&[&root, &revoked]).unwrap_err().contains("was revoked"));
        maker.revoke("between", "root");
        let above = maker.list("root", "above.crl", &month);
        assert!(maker.asked(&[&above, &between]).unwrap_err().contains("was revoked"));
    }

    #[test]
    fn a_list_that_is_old_of_later_a_part_or_somebody_elses_is_told_and_not_passed_over() {
        if !has_openssl() {
            return;
        }
        let maker = Maker::new();
        let of = |name: &str, from: &str, until: &str| {
            let times = ["-crl_lastupdate", from, "-crl_nextupdate", until];
            maker.list("between", name, &times)
        };
        for list in [
            of("old.crl", "20200101000000Z", "20200201000000Z"),
            of("later.crl", "20980101000000Z", "20990101000000Z"),
        ] {
            let said = maker.asked(&[&list]).unwrap_err();
            assert!(said.contains("was not valid at that time"), "{said}");
        }
        let part = maker.list("between", "part.crl", &["-crldays", "30", "-crlexts", "part"]);
        let said = maker.asked(&[&part]).unwrap_err();
        assert!(said.contains("a part of one"), "{said}");
        // Another maker's, and one that somebody made in our maker's name.
        let stranger = Maker::new();
        let forged = {
            let mut command = maker.openssl("ca");
            command.args(["-config", &maker.path("between.cnf"), "-gencrl", "-crldays", "30"]);
            command.args(["-keyfile", &stranger.path("between.key")]);
            command.args([
                "-cert",
                &stranger.path("between.pem"),
                "-out",
                &maker.path("forged.crl"),
            ]);
            run(&mut command);
            maker.path("forged.crl")
        };
        let said = maker.asked(&[&forged]).unwrap_err();
        assert!(said.contains("not by its authority"), "{said}");
        let elsewhere = elsewhere(&maker);
        let said = maker.asked(&[&elsewhere]).unwrap_err();
        assert!(said.contains("of nobody who was given"), "{said}");
        let said = maker.asked(&[&maker.path("ek.pem")]).unwrap_err();
        assert!(said.contains("is no list"), "{said}");
    }

    /// A list of an authority that nobody named.
    fn elsewhere(maker: &Maker) -> String {
        let config = AUTHORITY.replace("DIR", &maker.path("")).replace("NAME", "elsewhere");
        maker.write("elsewhere.cnf", &config);
        maker.write("elsewhere.index", "");
        maker.write("elsewhere.crlnumber", "01\n");
        let (key, certificate) = (maker.path("other.key"), maker.path("elsewhere.pem"));
        let mut root = maker.openssl("req");
        root.args(["-x509", "-new", "-subj", "/CN=Elsewhere", "-days", "30", "-key", &key]);
        root.args(["-config", &maker.path("elsewhere.cnf"), "-extensions", "authority"]);
        run(root.args(["-out", &certificate]));
        let mut list = maker.openssl("ca");
        list.args(["-config", &maker.path("elsewhere.cnf"), "-gencrl", "-crldays", "30"]);
        list.args(["-keyfile", &key, "-cert", &certificate, "-out", &maker.path("elsewhere.crl")]);
        run(&mut list);
        maker.path("elsewhere.crl")
    }
}
