//! How the messages stand in frames.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Answer, Answers, BridgeToWrapper, Changed, Denial, Hello, ITEMS_MAX, Item, KEY_MAX, Lease,
    Operation, Read, Recorded, Refused, SEALING_MAX, SHOWN_CHARS, SHOWN_TEXTS, Sealed, TEXTS_MAX,
    TOKEN_MAX, VALUES_MAX, Watching, Why, WrapperToBridge,
};
use crate::{
    Secret,
    release::frame::{FrameError, HEAD_MAX, Message, PREFIX_LEN, Pieces},
};

/// How an answer stands in a head.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum AnswerHead {
    Fields {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Lease>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        len: u32,
    },
    Plain {
        lens: Vec<u32>,
    },
    Refused(Box<Refused>),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnswersHead {
    id: u32,
    answers: Vec<AnswerHead>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SealedHead {
    id: u32,
    receipts: Vec<Recorded>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Message for WrapperToBridge {
    const SECRET_MAX: usize = TOKEN_MAX;

    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Read(_) => 2,
            Self::Renew(_) => 3,
            Self::Done => 4,
            Self::Leave(_) => 5,
            Self::Watch(_) => 6,
        }
    }

    fn head(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => json(&hello.claims),
            Self::Read(read) => json(read),
            Self::Renew(renew) => json(renew),
            Self::Done => json(&Nothing {}),
            Self::Leave(leave) => json(leave),
            Self::Watch(watch) => json(watch),
        }
    }

    fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Hello(hello) => vec![&hello.token],
            _ => Vec::new(),
        }
    }

    fn read(kind: u8, head: &[u8], secret: &[u8]) -> Result<Self, FrameError> {
        let mut pieces = Pieces(secret);
        let message = match kind {
            1 => {
                let claims: super::Claims = parsed(head)?;
                if claims.sealing.len() > 2 * KEY_MAX {
                    return Err(FrameError::TooLong);
                }
                let token = pieces.take(secret.len())?;
                Self::Hello(Box::new(Hello { claims, token }))
            }
            2 => {
                let read: Read = parsed(head)?;
                let texts = read.items.iter().map(|item| match item {
                    Item::Decrypt { texts, .. } => texts.len(),
                    _ => 0,
                });
                if read.items.len() > ITEMS_MAX || texts.max() > Some(TEXTS_MAX) {
                    return Err(FrameError::TooLong);
                }
                Self::Read(read)
            }
            3 => Self::Renew(parsed(head)?),
            4 => parsed(head).map(|Nothing {}| Self::Done)?,
            5 => Self::Leave(parsed(head)?),
            6 => Self::Watch(parsed(head)?),
            _ => return Err(FrameError::Type),
        };
        pieces.end()?;
        Ok(message)
    }
}

impl Message for BridgeToWrapper {
    /// A whole ANSWERS frame, sealed.
    const SECRET_MAX: usize = PREFIX_LEN + HEAD_MAX + VALUES_MAX + SEALING_MAX;

    fn kind(&self) -> u8 {
        match self {
            Self::Welcome(_) => 65,
            Self::LoggedIn(_) => 66,
            Self::Answers(_) => 67,
            Self::Renewed(_) => 68,
            Self::Refused(_) => 69,
            Self::Sealed(_) => 70,
            Self::Watching(_) => 71,
            Self::Changed(_) => 72,
        }
    }

    fn head(&self) -> Vec<u8> {
        match self {
            Self::Welcome(welcome) => json(welcome),
            Self::LoggedIn(login) => json(login),
            Self::Answers(Answers { id, answers }) => {
                json(&AnswersHead { id: *id, answers: answers.iter().map(Answer::head).collect() })
            }
            Self::Renewed(renewed) => json(renewed),
            Self::Refused(refused) => json(refused),
            Self::Sealed(Sealed { id, receipts, .. }) => {
                json(&SealedHead { id: *id, receipts: receipts.clone() })
            }
            Self::Watching(watching) => json(watching),
            Self::Changed(changed) => json(changed),
        }
    }

    fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Answers(Answers { answers, .. }) => {
                answers.iter().flat_map(Answer::secrets).collect()
            }
            Self::Sealed(Sealed { sealed, .. }) => vec![sealed],
            _ => Vec::new(),
        }
    }

    fn read(kind: u8, head: &[u8], secret: &[u8]) -> Result<Self, FrameError> {
        let mut pieces = Pieces(secret);
        let message = match kind {
            65 => Self::Welcome(parsed(head)?),
            66 => Self::LoggedIn(parsed(head)?),
            67 => {
                let AnswersHead { id, answers } = parsed(head)?;
                if answers.len() > ITEMS_MAX {
                    return Err(FrameError::TooLong);
                }
                let read = answers.into_iter().map(|head| Answer::read(head, &mut pieces));
                Self::Answers(Answers { id, answers: read.collect::<Result<_, _>>()? })
            }
            68 => Self::Renewed(parsed(head)?),
            69 => Self::Refused(parsed::<Refused>(head)?.presentable()),
            70 => {
                let SealedHead { id, receipts } = parsed(head)?;
                if receipts.len() > ITEMS_MAX {
                    return Err(FrameError::TooLong);
                }
                Self::Sealed(Sealed { id, receipts, sealed: pieces.take(secret.len())? })
            }
            71 => Self::Watching(bounded(parsed(head)?, |watching: &Watching| &watching.paths)?),
            72 => Self::Changed(bounded(parsed(head)?, |changed: &Changed| &changed.paths)?),
            _ => return Err(FrameError::Type),
        };
        pieces.end()?;
        Ok(message)
    }
}

/// No more paths than one request can have asked for.
fn bounded<T>(message: T, paths: fn(&T) -> &Vec<String>) -> Result<T, FrameError> {
    if paths(&message).len() > ITEMS_MAX { Err(FrameError::TooLong) } else { Ok(message) }
}

impl Answer {
    fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Fields { json, .. } => vec![json],
            Self::Plain(texts) => texts.iter().collect(),
            Self::Refused(_) => Vec::new(),
        }
    }

    fn head(&self) -> AnswerHead {
        let len = |secret: &Secret| u32::try_from(secret.len()).unwrap_or(u32::MAX);
        match self {
            Self::Fields { path, version, lease, warnings, json } => AnswerHead::Fields {
                path: path.clone(),
                version: *version,
                lease: lease.clone(),
                warnings: warnings.clone(),
                len: len(json),
            },
            Self::Plain(texts) => AnswerHead::Plain { lens: texts.iter().map(len).collect() },
            Self::Refused(refused) => AnswerHead::Refused(refused.clone()),
        }
    }

    fn read(head: AnswerHead, pieces: &mut Pieces<'_>) -> Result<Self, FrameError> {
        let mut take = |len: u32| pieces.take(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(match head {
            AnswerHead::Fields { path, version, lease, warnings, len } => Self::Fields {
                path: shown(&path),
                version,
                lease,
                warnings: all_shown(warnings),
                json: take(len)?,
            },
            AnswerHead::Plain { lens } if lens.len() > TEXTS_MAX => {
                return Err(FrameError::TooLong);
            }
            AnswerHead::Plain { lens } => {
                Self::Plain(lens.into_iter().map(take).collect::<Result<_, _>>()?)
            }
            AnswerHead::Refused(refused) => Self::Refused(Box::new(refused.presentable())),
        })
    }
}

impl Refused {
    /// What the bridge itself refuses, before or instead of asking OpenBao.
    #[must_use]
    pub const fn denied(operation: Operation, denial: Denial, meaning: String) -> Self {
        let why = Why::Denied { denial, meaning };
        Self { id: None, operation, place: None, tries: 1, elapsed_ms: 0, why }
    }

    /// Makes what the other side says fit for a log line.
    fn presentable(mut self) -> Self {
        if let Some(place) = &mut self.place {
            place.path = shown(&place.path);
        }
        match &mut self.why {
            Why::Away { meaning } | Why::Denied { meaning, .. } | Why::Unusable { meaning } => {
                *meaning = shown(meaning);
            }
            Why::Entry { said, .. } => *said = shown(said),
            Why::NotFound { tried, written, errors } => {
                *tried = all_shown(std::mem::take(tried));
                *errors = all_shown(std::mem::take(errors));
                *written = written.as_deref().map(shown);
            }
            Why::Status { errors, .. } => *errors = all_shown(std::mem::take(errors)),
            Why::Deleted { .. } => {}
        }
        self
    }
}

fn all_shown(texts: Vec<String>) -> Vec<String> {
    texts.iter().take(SHOWN_TEXTS).map(|text| shown(text)).collect()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

/// None of these types can fail to be written: their maps have text for keys.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The error says nothing of the text, which may have come from anywhere.
fn parsed<T: DeserializeOwned>(head: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(head).map_err(|_quotes| FrameError::Head)
}
