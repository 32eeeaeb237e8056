//! What OpenBao gave out that nobody here asked for: its audit device is a socket of this bridge.
//!
//! OpenBao writes a line before it answers, and answers nobody where it cannot; so while the bridge
//! is away nothing is given out around it. Each line of a read names the request, and a request that
//! a session here made is known by then or soon. What stays unknown is said aloud in the log.
//!
//! Deliberately no copy of OpenBao's audit log: what is matched has its receipt.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cloudtaser_evidence::reconcile::{Answered, Heard, heard};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tracing::{info, warn};

use super::{
    Releaser,
    receipt::{Event, Receipt},
};

/// No line of OpenBao's is longer.
const LINE_MAX: u64 = 4 << 20;
/// Requests whose lines have not come are remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(600);
/// More are not remembered; a line of one that was forgotten is said aloud.
const MANY: usize = 65_536;
/// OpenBao has one connection; an old one may not be closed yet.
const CONNECTIONS: usize = 8;
/// How often it is looked for what stayed unknown.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Notices of one minute; the next one says how many more there were.
const NOTICES_PER_MINUTE: u32 = 60;

/// The audit device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditConfig {
    /// The socket, of which OpenBao knows the path.
    pub socket: PathBuf,
    /// Paths that only the bridge may read, as OpenBao's audit log has them; none means all.
    pub prefixes: Vec<String>,
    /// How long after its line a request may become known.
    pub patience: Duration,
}

/// Requests that were made here, and lines that wait for theirs.
#[derive(Debug, Default)]
pub(super) struct Around(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    caused: BTreeMap<String, Instant>,
    /// The same in the order in which they came.
    order: VecDeque<(Instant, String)>,
    waiting: VecDeque<(Instant, Answered)>,
    counts: Counts,
    minute: Option<(Instant, u32)>,
    suppressed: u64,
}

/// What was heard so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) lines: u64,
    pub(super) matched: u64,
    pub(super) around: u64,
    pub(super) unreadable: u64,
}

impl Around {
    /// A session here made these requests.
    pub(super) fn caused(&self, requests: &[String], now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for request in requests {
            let place = inner.waiting.iter().position(|(_, line)| line.request == *request);
            match place.and_then(|place| inner.waiting.remove(place)) {
                Some(_) => inner.counts.matched += 1,
                None => {
                    inner.caused.insert(request.clone(), now);
                    inner.order.push_back((now, request.clone()));
                }
            }
        }
        while let Some((at, _)) = inner.order.front() {
            if inner.order.len() <= MANY && now.saturating_duration_since(*at) < REMEMBERED {
                break;
            }
            if let Some((_, request)) = inner.order.pop_front() {
                inner.caused.remove(&request);
            }
        }
    }

    /// OpenBao wrote this line.
    pub(super) fn heard(&self, line: &[u8], prefixes: &[String], now: Instant) {
        let heard = heard(line, prefixes);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.counts.lines += 1;
        match heard {
            Heard::Nothing => {}
            Heard::Unreadable => inner.counts.unreadable += 1,
            Heard::Gave(answered) => match inner.caused.remove(&answered.request) {
                Some(_) => inner.counts.matched += 1,
                None => inner.waiting.push_back((now, answered)),
            },
        }
    }

    /// What stayed unknown for so long; and how many of those before had no notice.
    pub(super) fn due(&self, patience: Duration, now: Instant) -> Vec<(Answered, u64)> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while let Some((at, _)) = inner.waiting.front() {
            if now.saturating_duration_since(*at) < patience {
                break;
            }
            let Some((_, line)) = inner.waiting.pop_front() else { break };
            inner.counts.around += 1;
            let (since, noticed) = inner.minute.unwrap_or((now, 0));
            let fresh = now.saturating_duration_since(since) >= Duration::from_secs(60);
            let (since, noticed) = if fresh { (now, 0) } else { (since, noticed) };
            if noticed >= NOTICES_PER_MINUTE {
                inner.suppressed += 1;
                continue;
            }
            inner.minute = Some((since, noticed + 1));
            due.push((line, std::mem::take(&mut inner.suppressed)));
        }
        due
    }

    /// A line whose notice cannot be written waits for the next time.
    fn again(&self, line: Answered, now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.counts.around = inner.counts.around.saturating_sub(1);
        inner.waiting.push_back((now, line));
    }

    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts
    }
}

impl Releaser {
    /// Hears OpenBao's audit device, for ever, where the configuration has one.
    ///
    /// # Errors
    /// Where there can be no such socket.
    pub async fn hear_openbao(self: Arc<Self>) -> io::Result<()> {
        let Some(config) = self.config.audit.clone() else { return Ok(()) };
        let listener = listen(&config.socket)?;
        info!(socket = %config.socket.display(), "OpenBao's audit device is heard");
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let looking = tokio::spawn(Arc::clone(&self).look_around(config.patience));
        loop {
            let accepted = listener.accept().await;
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            if looking.is_finished() {
                return Err(io::Error::other("nobody looks at what was heard"));
            }
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                warn!("too many connections to the audit device: one was closed");
                continue;
            };
            let (releaser, prefixes) = (Arc::clone(&self), config.prefixes.clone());
            tokio::spawn(async move {
                let heard = hear(stream, &releaser.around, &prefixes).await;
                if let Err(error) = heard {
                    warn!(error = %error, "the audit device broke: OpenBao has to connect anew");
                }
                drop(place);
            });
        }
    }

    async fn look_around(self: Arc<Self>, patience: Duration) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let releaser = Arc::clone(&self);
            let told = tokio::task::spawn_blocking(move || releaser.tell_around(patience));
            if told.await.is_err() {
                return;
            }
        }
    }

    /// Says aloud what stayed unknown.
    pub(super) fn tell_around(&self, patience: Duration) {
        let now = Instant::now();
        for (line, before) in self.around.due(patience, now) {
            warn!(
                request = line.request,
                who = line.who,
                "OpenBao gave out a secret around the bridge"
            );
            let more =
                if before > 0 { format!("; {before} more before it") } else { String::new() };
            let who = if line.who.is_empty() { "somebody" } else { &line.who };
            let words = format!(
                "OpenBao gave a secret to {who} at {}, and no session here asked for it{more}",
                line.time
            );
            let policy = self.policy.now().hash.clone();
            let mut notice = Receipt::aloud(Event::Around, words, policy);
            notice.path_hmac = Some(self.path_hash(&line.path));
            notice.path = Some(line.path.clone());
            notice.request = Some(line.request.clone());
            if let Err(error) = self.receipts.append(vec![notice]) {
                warn!(error = %error, "a read around the bridge cannot be written down yet");
                self.around.again(line, now);
            }
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // What an earlier run left; nothing else is taken away.
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other(format!("{} is no socket", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Owner and group: OpenBao's user is in the group of the folder.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn hear(stream: UnixStream, around: &Around, prefixes: &[String]) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            // Half a line, or one without an end: it counts as one that cannot be read.
            around.heard(b"", prefixes, Instant::now());
            return Err(io::ErrorKind::InvalidData.into());
        }
        around.heard(&line, prefixes, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(request: &str) -> Vec<u8> {
        format!(
            "{{\"type\":\"response\",\"time\":\"t\",\"auth\":{{\"display_name\":\"root\"}},\
             \"request\":{{\"id\":\"{request}\",\"operation\":\"read\",\"path\":\"secret/data/x\",\
             \"mount_type\":\"kv\"}},\"response\":{{\"data\":{{\"data\":{{}}}}}}}}\n"
        )
        .into_bytes()
    }

    fn requests(due: &[(Answered, u64)]) -> Vec<&str> {
        due.iter().map(|(line, _)| line.request.as_str()).collect()
    }

    const PATIENCE: Duration = Duration::from_secs(90);

    #[test]
    fn a_request_is_matched_whichever_comes_first() {
        let (around, start) = (Around::default(), Instant::now());
        around.heard(&line("a"), &[], start);
        around.caused(&["a".to_owned()], start);
        around.caused(&["b".to_owned()], start);
        around.heard(&line("b"), &[], start);
        assert!(around.due(PATIENCE, start + PATIENCE).is_empty());
        let counts = around.counts();
        assert_eq!((counts.lines, counts.matched, counts.around), (2, 2, 0));
    }

    #[test]
    fn what_nobody_asked_for_is_told_once_after_a_while() {
        let (around, start) = (Around::default(), Instant::now());
        around.heard(&line("root's"), &[], start);
        around.heard(&line("elsewhere"), &["other/".to_owned()], start);
        around.heard(b"not json\n", &[], start);
        assert!(around.due(PATIENCE, start + PATIENCE / 2).is_empty());
        assert_eq!(requests(&around.due(PATIENCE, start + PATIENCE)), ["root's"]);
        assert!(around.due(PATIENCE, start + PATIENCE * 2).is_empty());
        let counts = around.counts();
        assert_eq!((counts.lines, counts.around, counts.unreadable), (3, 1, 1));
    }

    #[test]
    fn a_flood_has_some_notices_and_the_next_one_tells_of_the_rest() {
        let (around, start) = (Around::default(), Instant::now());
        let most = usize::try_from(NOTICES_PER_MINUTE).unwrap();
        (0..most + 7).for_each(|n| around.heard(&line(&n.to_string()), &[], start));
        let at = start + PATIENCE;
        assert_eq!(around.due(PATIENCE, at).len(), most);
        around.heard(&line("last"), &[], at);
        let due = around.due(PATIENCE, at + PATIENCE);
        assert_eq!((due.len(), due[0].1), (1, 7));
        assert_eq!(around.counts().around, u64::from(NOTICES_PER_MINUTE) + 8);
    }

    #[test]
    fn a_request_without_a_line_is_forgotten() {
        let (around, start) = (Around::default(), Instant::now());
        around.caused(&["old".to_owned()], start);
        around.caused(&["new".to_owned()], start + REMEMBERED);
        assert_eq!(around.0.lock().unwrap().caused.len(), 1);
    }
}
