//! A server that misbehaves in every way that networks and gateways have.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{http_answer, read_request, session, soon, source, text, value};
use cloudtaser_bao::{
    Address, BaoError, Client, Deadline, Failure, Login, Method, Session, Settings,
};
use cloudtaser_core::Blame;

const SECRET: &str = r#"{"data":{"a":"c4n4ry"}}"#;
const LOOKUP: &str = r#"{"data":{"ttl":60,"renewable":true,"policies":["p"]}}"#;
const PATH: &str = "kv1/data/x";

/// What the double does with the n-th request that is not a look-up of the token.
type Script = dyn Fn(usize, &str, &mut TcpStream) -> bool + Send + Sync;

struct Double {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Double {
    /// Serves connections in threads; the script returns whether the connection stays open.
    fn start(script: impl Fn(usize, &str, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let (script, count): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (script, count) = (Arc::clone(&script), Arc::clone(&count));
                thread::spawn(move || {
                    while let Some(request) = read_request(&mut stream) {
                        if request.contains("lookup-self") {
                            stream.write_all(http_answer("200 OK", LOOKUP).as_bytes()).unwrap();
                            continue;
                        }
                        if !script(count.fetch_add(1, Ordering::SeqCst), &request, &mut stream) {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, asked }
    }

    fn settings(&self) -> Settings {
        Settings::new(Address::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap())
    }

    fn client(&self) -> (Client, Session) {
        let client = Client::new(self.settings()).unwrap();
        let session = session(&client, "t0k3n");
        (client, session)
    }

    fn fail(&self, time: Duration) -> BaoError {
        let (client, session) = self.client();
        client.read(&session, &source(PATH), &Deadline::after(time)).unwrap_err()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn say(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}

#[test]
fn a_read_survives_everything_that_passes() {
    let cut = |stream: &mut TcpStream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\":{\"a\":\"c4n");
        false
    };
    let double = Double::start(move |n, _, stream| match n {
        0 => false,
        1 => cut(stream),
        2 => say(
            stream,
            &http_answer("503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#),
        ),
        3 => say(stream, &http_answer("502 Bad Gateway", "<html>")),
        4 => say(
            stream,
            &http_answer("412 Precondition Failed", r#"{"errors":["missing index state"]}"#),
        ),
        // Without a length: the end of the connection cuts it, and only the JSON shows it.
        5 => {
            say(stream, "HTTP/1.1 200 OK\r\n\r\n{\"data\":{\"a\":");
            false
        }
        _ => say(stream, &http_answer("200 OK", SECRET)),
    });
    let (client, session) = double.client();
    let answer = client.read(&session, &source(PATH), &soon()).unwrap();
    assert_eq!(text(answer.fields.get("a").unwrap()), "c4n4ry");
    assert_eq!(double.asked(), 7);
}

#[test]
fn a_write_is_not_repeated_where_it_may_have_been_done() {
    for (answer, again) in [
        ("", false),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 503 Sealed\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let double = Double::start(move |n, _, stream| {
            if n > 0 {
                return say(stream, &http_answer("200 OK", r#"{"auth":{"client_token":"x"}}"#));
            }
            say(stream, answer) && !answer.is_empty()
        });
        let client = Client::new(double.settings()).unwrap();
        let login = Login::new(Method::UserPass { user: "u".into(), password: value("p") });
        let result = client.login(&login, &soon());
        assert_eq!(result.is_ok(), again, "{answer:?}: {result:?}");
        assert_eq!(double.asked(), if again { 2 } else { 1 }, "{answer:?}");
    }
}

#[test]
fn refusals_are_final() {
    for status in ["400 Bad Request", "403 Forbidden", "405 Method Not Allowed"] {
        let double = Double::start(move |_, _, stream| {
            say(stream, &http_answer(status, r#"{"errors":["because"]}"#))
        });
        let error = double.fail(Duration::from_secs(20));
        assert_eq!((error.tries(), double.asked()), (1, 1), "{error}");
        assert!(error.to_string().contains("(OpenBao says: because)"), "{error}");
        assert!(!error.to_string().contains("t0k3n"), "{error}");
    }
}

#[test]
fn retry_after_is_honoured_within_the_deadline() {
    let double = Double::start(|n, _, stream| {
        let slow = "HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
        if n == 0 { say(stream, slow) } else { say(stream, &http_answer("200 OK", SECRET)) }
    });
    let (client, session) = double.client();
    let started = Instant::now();
    client.read(&session, &source(PATH), &soon()).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    let patient = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 429 Slow down\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")
    });
    let started = Instant::now();
    let error = patient.fail(Duration::from_secs(2));
    assert_eq!((error.status(), error.tries()), (Some(429), 1));
    assert!(started.elapsed() < Duration::from_secs(1), "it does not wait for nothing");
}

#[test]
fn the_last_cause_is_told_with_tries_and_time() {
    let double = Double::start(|_, _, stream| {
        say(stream, &http_answer("500 Oops", r#"{"errors":["storage\n is   gone"]}"#))
    });
    let error = double.fail(Duration::from_millis(800));
    let message = error.to_string();
    assert!(
        message
            .contains("500 OpenBao or a gateway before it failed (OpenBao says: storage is gone)"),
        "{message}"
    );
    assert!(message.contains(&format!("(tried {} times in ", error.tries())), "{message}");
    assert!(error.tries() >= 3 && error.elapsed() < Duration::from_secs(2), "{message}");
    assert_eq!(error.blame(), Blame::Peer);
}

#[test]
fn silence_and_slow_bytes_end_in_time() {
    let silent = Double::start(|_, _, _| {
        thread::sleep(Duration::from_secs(5));
        false
    });
    let slow = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        (0..50).all(|_| {
            thread::sleep(Duration::from_millis(100));
            say(stream, " ")
        });
        false
    });
    for double in [silent, slow] {
        let started = Instant::now();
        let error = double.fail(Duration::from_millis(700));
        assert!(matches!(error.failure(), Failure::Timeout), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[test]
fn a_slow_try_leaves_time_for_another() {
    let double = Double::start(|n, _, stream| {
        if n == 0 {
            thread::sleep(Duration::from_secs(3));
        }
        say(stream, &http_answer("200 OK", SECRET))
    });
    let settings = Settings { try_timeout: Duration::from_millis(300), ..double.settings() };
    let client = Client::new(settings).unwrap();
    let session = session(&client, "t");
    let started = Instant::now();
    client.read(&session, &source(PATH), &soon()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn too_much_and_no_json_are_final() {
    let huge = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
    });
    let endless = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        (0..200).all(|_| say(stream, &chunk))
    });
    for double in [huge, endless] {
        let error = double.fail(Duration::from_secs(20));
        assert!(error.to_string().contains("larger than 8388608 bytes"), "{error}");
        assert_eq!(error.tries(), 1);
    }
    let page =
        Double::start(|_, _, stream| say(stream, &http_answer("200 OK", "<html>Log in</html>")));
    let error = page.fail(Duration::from_secs(20));
    assert!(error.to_string().contains("is this the address of OpenBao"), "{error}");
    let shape = Double::start(|_, _, stream| say(stream, &http_answer("200 OK", "[1]")));
    assert!(matches!(shape.fail(Duration::from_secs(20)).failure(), Failure::Shape(_)));
    let noise = Double::start(|_, _, stream| say(stream, "SSH-2.0-OpenSSH_9.2\r\n"));
    let error = noise.fail(Duration::from_secs(3));
    assert!(error.to_string().contains("it is no HTTP"), "{error}");
    let header = Double::start(|_, _, stream| {
        say(stream, &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)))
    });
    let error = header.fail(Duration::from_secs(20));
    assert_eq!(error.tries(), 1, "{error}");
    assert!(error.to_string().contains("its header is too large"), "{error}");
}

#[test]
fn a_redirect_is_followed_to_the_same_place_only_and_takes_no_token_elsewhere() {
    let thief = Double::start(|_, _, stream| say(stream, &http_answer("200 OK", SECRET)));
    let to = format!("http://127.0.0.1:{}/v1/kv1/data/x", thief.port);
    let away = Double::start(move |_, _, stream| {
        say(stream, &format!("HTTP/1.1 307 Away\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    });
    let error = away.fail(Duration::from_secs(20));
    assert!(error.to_string().contains("leads to another host"), "{error}");
    assert_eq!((thief.asked(), error.tries()), (0, 1));

    let home = Double::start(|_, request, stream| {
        assert!(request.contains("x-vault-token: t0k3n"), "{request}");
        if request.contains("/v1/moved/x") {
            return say(stream, &http_answer("200 OK", SECRET));
        }
        say(stream, "HTTP/1.1 307 Moved\r\nLocation: /v1/moved/x\r\nContent-Length: 0\r\n\r\n")
    });
    let (client, session) = home.client();
    client.read(&session, &source(PATH), &soon()).unwrap();

    let circle = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 307 Moved\r\nLocation: /v1/kv1/data/x\r\nContent-Length: 0\r\n\r\n")
    });
    let error = circle.fail(Duration::from_millis(300));
    assert!(error.to_string().contains("more than three"), "{error}");
    let page = Double::start(|_, _, stream| {
        say(stream, "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n")
    });
    assert!(matches!(page.fail(Duration::from_secs(20)).failure(), Failure::Redirect(_)));
}

#[test]
fn a_client_told_to_stop_stops_at_once() {
    for answer in
        [None, Some("HTTP/1.1 503 Sealed\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")]
    {
        let double = Double::start(move |_, _, stream| match answer {
            Some(answer) => say(stream, answer),
            None => {
                thread::sleep(Duration::from_secs(20));
                false
            }
        });
        let (client, session) = double.client();
        let stopper = client.stopper();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            stopper.stop();
        });
        let started = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(60));
        let error = client.read(&session, &source(PATH), &deadline).unwrap_err();
        assert!(matches!(error.failure(), Failure::Stopped), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[test]
fn a_limit_of_tries_is_kept() {
    let double = Double::start(|_, _, stream| say(stream, &http_answer("500 Oops", "{}")));
    let client = Client::new(Settings { max_tries: Some(2), ..double.settings() }).unwrap();
    let session = session(&client, "t");
    let error = client.read(&session, &source(PATH), &soon()).unwrap_err();
    assert_eq!((error.tries(), double.asked()), (2, 2));
}
