//! The ten commands that are used, and the templates of the two keys.

/// `TPM_ST_NO_SESSIONS`, `TPM_ST_SESSIONS`.
const WITHOUT_SESSIONS: u16 = 0x8001;
const WITH_SESSIONS: u16 = 0x8002;
/// `TPM_RS_PW`: a password in the place of a session; an empty one here.
const PASSWORD: u32 = 0x4000_0009;
/// `TPM_ALG_…`.
const AES: u16 = 0x0006;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const ECC: u16 = 0x0023;
const CFB: u16 = 0x0043;
/// `TPM_ECC_NIST_P256`.
const P256: u16 = 0x0003;

/// TCG EK Credential Profile 2.5, B.3.4, template L-2: fixedTPM, fixedParent, sensitiveDataOrigin,
/// adminWithPolicy, restricted, decrypt.
const ENDORSEMENT_ATTRIBUTES: u32 = 0x0003_00b2;
/// The same, without a policy and for signing: userWithAuth, noDA, restricted, sign.
const ATTESTATION_ATTRIBUTES: u32 = 0x0005_0472;
/// Its policy: `TPM2_PolicySecret(TPM_RH_ENDORSEMENT)`.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Who allows a use of a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Session {
    /// The empty password.
    Password,
    /// A policy that was satisfied.
    Policy(u32),
}

/// What an answer consists of, besides its parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// Whether a handle comes first.
    pub(super) handle: bool,
    /// Whether sessions follow the parameters.
    pub(super) sessions: bool,
}

/// A command that is being written.
#[derive(Debug)]
pub(super) struct Command {
    code: u32,
    handles: Vec<u32>,
    sessions: Vec<Session>,
    parameters: Vec<u8>,
    makes_handle: bool,
}

impl Command {
    const fn new(code: u32) -> Self {
        Self {
            code,
            handles: Vec::new(),
            sessions: Vec::new(),
            parameters: Vec::new(),
            makes_handle: false,
        }
    }

    pub(super) fn create_primary(hierarchy: u32, template: &[u8]) -> Self {
        let mut command = Self::new(0x131).on(&[hierarchy], &[Session::Password]);
        command.makes_handle = true;
        // No password, no data of ours, no creation registers.
        command.sized(&[0, 0, 0, 0]).sized(template).sized(&[]).number(&0_u32.to_be_bytes())
    }

    pub(super) fn flush(handle: u32) -> Self {
        // The handle is a parameter here.
        Self::new(0x165).number(&handle.to_be_bytes())
    }

    pub(super) fn quote(key: u32, data: &[u8], registers: &[u8]) -> Self {
        let command = Self::new(0x158).on(&[key], &[Session::Password]);
        command.sized(data).number(&NULL.to_be_bytes()).selection(registers)
    }

    pub(super) fn read_registers(registers: &[u8]) -> Self {
        Self::new(0x17e).selection(registers)
    }

    pub(super) fn start_policy_session(null: u32) -> Self {
        /// `TPM_SE_POLICY`.
        const POLICY: u8 = 1;
        let mut command = Self::new(0x176).on(&[null, null], &[]);
        command.makes_handle = true;
        // The nonce serves who encrypts or counts; neither is done.
        let command = command.sized(&[0; 32]).sized(&[]).number(&[POLICY]);
        command.number(&NULL.to_be_bytes()).number(&SHA256.to_be_bytes())
    }

    pub(super) fn policy_secret(authority: u32, session: u32) -> Self {
        let command = Self::new(0x151).on(&[authority, session], &[Session::Password]);
        command.sized(&[]).sized(&[]).sized(&[]).number(&0_u32.to_be_bytes())
    }

    /// `blob` and `secret` are the contents of `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`.
    pub(super) fn activate(
        handles: [u32; 2],
        endorsement: Session,
        blob: &[u8],
        secret: &[u8],
    ) -> Self {
        let sessions = [Session::Password, endorsement];
        Self::new(0x147).on(&handles, &sessions).sized(blob).sized(secret)
    }

    pub(super) fn stored_public(index: u32) -> Self {
        Self::new(0x169).on(&[index], &[])
    }

    pub(super) fn read_stored(index: u32, length: u16, from: u16) -> Self {
        let command = Self::new(0x14e).on(&[index, index], &[Session::Password]);
        command.number(&length.to_be_bytes()).number(&from.to_be_bytes())
    }

    /// What a TPM's maker does: makes room for a certificate.
    #[cfg(test)]
    pub(super) fn define_stored(owner: u32, index: u32, length: u16) -> Self {
        /// Written by its owner; read by him and by whoever has its (empty) password; no counting.
        const ATTRIBUTES: u32 = 1 << 1 | 1 << 17 | 1 << 18 | 1 << 25;
        let public = [
            &index.to_be_bytes()[..],
            &SHA256.to_be_bytes(),
            &ATTRIBUTES.to_be_bytes(),
            &[0, 0],
            &length.to_be_bytes(),
        ];
        Self::new(0x12a).on(&[owner], &[Session::Password]).sized(&[]).sized(&public.concat())
    }

    #[cfg(test)]
    pub(super) fn write_stored(owner: u32, index: u32, bytes: &[u8], from: u16) -> Self {
        let command = Self::new(0x137).on(&[owner, index], &[Session::Password]);
        command.sized(bytes).number(&from.to_be_bytes())
    }

    /// The bytes, and what the answer to them looks like.
    pub(super) fn finish(self) -> (Vec<u8>, Shape) {
        let mut body = Vec::new();
        for handle in &self.handles {
            body.extend_from_slice(&handle.to_be_bytes());
        }
        if !self.sessions.is_empty() {
            let sessions: Vec<u8> =
                self.sessions.iter().flat_map(|session| area(*session)).collect();
            body.extend_from_slice(&u32::try_from(sessions.len()).unwrap_or(0).to_be_bytes());
            body.extend_from_slice(&sessions);
        }
        body.extend_from_slice(&self.parameters);
        let tag = if self.sessions.is_empty() { WITHOUT_SESSIONS } else { WITH_SESSIONS };
        let length = u32::try_from(body.len() + 10).unwrap_or(u32::MAX);
        let head = [&tag.to_be_bytes()[..], &length.to_be_bytes(), &self.code.to_be_bytes()];
        let shape = Shape { handle: self.makes_handle, sessions: !self.sessions.is_empty() };
        ([&head.concat()[..], &body].concat(), shape)
    }

    fn on(mut self, handles: &[u32], sessions: &[Session]) -> Self {
        self.handles = handles.to_vec();
        self.sessions = sessions.to_vec();
        self
    }

    fn number(mut self, bytes: &[u8]) -> Self {
        self.parameters.extend_from_slice(bytes);
        self
    }

    fn sized(mut self, bytes: &[u8]) -> Self {
        // Everything here is shorter than a page.
        self.parameters.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
        self.parameters.extend_from_slice(bytes);
        self
    }

    /// `TPML_PCR_SELECTION` of the SHA-256 bank.
    fn selection(self, registers: &[u8]) -> Self {
        let mut bits = [0_u8; 3];
        for number in registers {
            if let Some(byte) = bits.get_mut(usize::from(number / 8)) {
                *byte |= 1 << (number % 8);
            }
        }
        let command = self.number(&1_u32.to_be_bytes()).number(&SHA256.to_be_bytes());
        command.number(&[3]).number(&bits)
    }
}

/// `TPMS_AUTH_COMMAND` without a nonce and with an empty password.
fn area(session: Session) -> Vec<u8> {
    let handle = match session {
        Session::Password => PASSWORD,
        Session::Policy(handle) => handle,
    };
    [&handle.to_be_bytes()[..], &[0, 0, 0, 0, 0]].concat()
}

/// The key that a TPM's maker certifies, and that opens credentials.
pub(super) fn endorsement_template() -> Vec<u8> {
    let protects = [AES, 128, CFB];
    template(ENDORSEMENT_ATTRIBUTES, &ENDORSEMENT_POLICY, &protects, &[NULL], &[0; 32])
}

/// The key that signs quotes.
pub(super) fn attestation_template() -> Vec<u8> {
    template(ATTESTATION_ATTRIBUTES, &[], &[NULL], &[ECDSA, SHA256], &[])
}

/// `TPMT_PUBLIC` of a key on P-256 that is to be made.
fn template(
    attributes: u32,
    policy: &[u8],
    protects: &[u16],
    scheme: &[u16],
    coordinate: &[u8],
) -> Vec<u8> {
    let numbers = |numbers: &[u16]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    };
    let sized = |bytes: &[u8]| -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes()[..], bytes].concat()
    };
    [
        numbers(&[ECC, SHA256]),
        attributes.to_be_bytes().to_vec(),
        sized(policy),
        numbers(protects),
        numbers(scheme),
        numbers(&[P256, NULL]),
        sized(coordinate),
        sized(coordinate),
    ]
    .concat()
}
