//! Kubernetes replaces the keys by which it signs tokens, and nobody restarts a bridge for that.

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cloudtaser_e2e::{Issuer, Output, Pod, Releases, SHOP, WAITS, canary, skip, until};
    use serde_json::json;

    const READ_ANEW: &str = "the keys of an issuer were read anew";

    fn launch_by(road: &Releases, issuer: &Issuer, path: &str) -> Output {
        let pod = Pod::new("shop", "web");
        let token = road.token_file(pod.uid(), &issuer.token(&pod, 3600));
        let launch = road.launch(&token).env("S", format!("vault:secret/data/{path}#password"));
        road.networks.cluster.within(|| launch.run(["/bin/sh", "-c", "echo \"got $S\""]))
    }

    #[track_caller]
    fn refused(road: &Releases, output: &Output, kid: &str) {
        let told = || format!("{}\nbridge: {}", output.stderr, road.bridge.log());
        assert_eq!(output.code(), 76, "{}", told());
        assert_eq!(output.text(), "", "the app was started");
        let words = format!("signed by the key {kid}, which the bridge does not know");
        assert!(output.stderr.contains(&words), "the wrapper says: {}", output.stderr);
        assert!(road.bridge.log().contains(&words), "{}", road.bridge.log());
    }

    /// Has the bridge's people take a set, and OpenBao the same; waits until it is believed.
    fn take(road: &Releases, set: &str, more: &[&str]) -> Result<String, String> {
        let before = road.bridge.log().matches(READ_ANEW).count();
        road.file("new.json", set);
        let words = ["issuer-keys", "--config", "bridge.toml", "--issuer", "eu"];
        let said = road.bridge_verb(&[&words, &["--take", "new.json"][..], more].concat())?;
        road.openbao_believes(&road.bridge_verb(&[&words, &["--pem"][..]].concat())?);
        until("the keys", Duration::from_secs(60), || {
            (road.bridge.log().matches(READ_ANEW).count() > before).then_some(())
        });
        Ok(said)
    }

    #[test]
    fn the_keys_of_a_cluster_are_rotated_and_no_launch_fails_but_those_by_keys_that_are_gone() {
        let Some(road) = Releases::or_skip(|networks| Releases::start(networks, SHOP)) else {
            skip!("see above")
        };
        let (value, name, bridge) = (canary(), canary(), road.bridge.pid());
        let path = format!("shop/{name}");
        road.put(&path, &json!({ "password": value }));
        let (one, two) = (&road.issuer, &road.issuer.next());

        let pod = Pod::new("shop", "web");
        let launch = road.launch_of(&pod).env("S", format!("vault:secret/data/{path}#password"));
        let mut running = road.networks.cluster.within(|| launch.spawn(WAITS));
        let wanted = format!("got {value}\n");
        running.until_stdout("the value", |out| out == wanted.as_bytes());
        refused(&road, &launch_by(&road, two, &path), "two");

        let another = take(&road, &Issuer::set(&[two]), &[]).unwrap_err();
        assert!(another.contains("--all-new"), "{another}");
        assert_eq!(take(&road, &Issuer::set(&[one, two]), &[]).unwrap(), "+ two (RS256)\n");
        road.gave(&launch_by(&road, two, &path), &value);
        road.gave(&launch_by(&road, one, &path), &value);

        assert_eq!(take(&road, &Issuer::set(&[two]), &[]).unwrap(), "- one (RS256)\n");
        road.gave(&launch_by(&road, two, &path), &value);
        refused(&road, &launch_by(&road, one, &path), "one");

        running.close_stdin();
        assert_eq!(running.wait().code(), 0, "an app that ran was disturbed");
        assert_eq!(road.bridge.pid(), bridge);
    }

    /// A file that was put there by hand, and one that is half there.
    #[test]
    fn a_login_by_a_key_that_is_in_the_file_since_a_moment_is_taken() {
        let Some(road) = Releases::or_skip(|networks| Releases::start(networks, SHOP)) else {
            skip!("see above")
        };
        let (value, name) = (canary(), canary());
        let path = format!("shop/{name}");
        road.put(&path, &json!({ "password": value }));
        let (one, two) = (&road.issuer, &road.issuer.next());
        let both = Issuer::set(&[one, two]);
        road.file("jwks.json", both.split_at(both.len() / 2).0);
        road.bridge.until_logged("the keys of an issuer stay as they were");
        road.gave(&launch_by(&road, one, &path), &value);
        road.openbao_believes(&[one.public(), two.public()].join(",\n"));
        road.file("jwks.json", &both);
        road.gave(&launch_by(&road, two, &path), &value);
    }
}
