//! Traffic as it is, made up: the same for the same size.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, Binding, Closing,
    ConnectionClosed, ConnectionOpened, Decision, EngineId, Finding, FindingCode, FrameBuilder,
    Hash, Identity, Names, Outcome, PolicyChanged, Record, Ruling, Session, SessionId, Statement,
    StatementFinished, Timestamp, genesis,
};

/// In one statement in two million.
pub(crate) const NEEDLE: &str = "'DE44500105175407324931'";
const ROUND: usize = 48;
/// Events of a frame: what an engine has after some milliseconds.
const FRAME: u64 = 400;

/// A fixed, incompressible number for each `n` (splitmix64), so that sizes are honest.
pub(crate) fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Shape {
    text: Arc<str>,
    /// The literals are in the text.
    literal: bool,
    command: Arc<str>,
    tables: Names,
    labels: Names,
    rules: Names,
    columns: Names,
    masked: Names,
}

/// Everything that traffic is about.
pub(crate) struct World {
    shapes: Vec<Shape>,
    identities: Vec<Arc<Identity>>,
    targets: Vec<Arc<str>>,
    begin: Timestamp,
    end: Timestamp,
    /// Between an engine's events.
    step_us: u64,
    /// Statements have no text: how much the rest takes.
    without_text: bool,
}

fn one(name: String) -> Names {
    std::iter::once(name).collect()
}

impl World {
    pub(crate) const IDENTITIES: u64 = 3000;
    pub(crate) const TARGETS: u64 = 40;
    pub(crate) const TABLES: u64 = 400;
    pub(crate) const LABELS: u64 = 20;
    pub(crate) const SHAPES: u64 = 2000;
    /// Of these each identity has so many of its own.
    pub(crate) const OWN_SHAPES: u64 = 40;
    pub(crate) const APPROVERS: u64 = 25;

    /// So many events in a span that ends at `end`.
    pub(crate) fn new(end: Timestamp, span: Duration, events: u64) -> Self {
        let identity = |n: u64| {
            Arc::new(Identity {
                namespace: Some(format!("team-{}", n % 40).into()),
                service_account: Some("app".into()),
                pod: Some(format!("app-{n}-{:08x}", mixed(n) >> 32).into()),
                ..Identity::named(format!("team-{}/app-{n}", n % 40))
            })
        };
        let mut world = Self {
            shapes: Vec::new(),
            identities: (0..Self::IDENTITIES).map(identity).collect(),
            targets: Vec::new(),
            begin: end.minus(span),
            end,
            step_us: u64::try_from(span.as_micros()).unwrap_or_default() * 8 / events.max(1),
            without_text: false,
        };
        world.targets = (0..Self::TARGETS).map(|n| world.target(n).into()).collect();
        world.shapes = (0..Self::SHAPES).map(|n| world.shape(n)).collect();
        world
    }

    /// The same, but for the texts of statements.
    pub(crate) fn without_text(mut self) -> Self {
        self.without_text = true;
        self
    }

    pub(crate) fn end(&self) -> Timestamp {
        self.end
    }

    pub(crate) fn identity(&self, n: u64) -> String {
        format!("team-{}/app-{n}", n % 40)
    }

    pub(crate) fn target(&self, n: u64) -> String {
        format!("db-{n}")
    }

    pub(crate) fn table(&self, n: u64) -> String {
        format!("public.table_{n}")
    }

    pub(crate) fn label(&self, n: u64) -> String {
        format!("pii.kind{n}")
    }

    pub(crate) fn column(&self, n: u64) -> String {
        format!("col_{n}")
    }

    pub(crate) fn approver(&self, n: u64) -> String {
        format!("reviewer{n}@example.com")
    }

    fn shape(&self, n: u64) -> Shape {
        let mix = mixed(n);
        let table = self.table(mix % Self::TABLES);
        let column = self.column(n);
        let labelled = mix >> 20 & 7 == 0;
        let (command, text) = match mix >> 10 & 3 {
            0 => (
                "UPDATE",
                format!(
                    "UPDATE {table} SET {column} = {column} + 1, updated_at = now() WHERE {column} = "
                ),
            ),
            1 => (
                "INSERT",
                format!(
                    "INSERT INTO {table} (id, {column}, note) SELECT id, {column}, 'x' FROM staging WHERE {column} = "
                ),
            ),
            _ => (
                "SELECT",
                format!(
                    "SELECT id, {column}, created_at FROM {table} ORDER BY created_at LIMIT 50 WHERE {column} = "
                ),
            ),
        };
        let literal = n.is_multiple_of(2);
        Shape {
            text: if literal { text } else { text + "$1" }.into(),
            literal,
            command: command.into(),
            tables: one(table),
            labels: if labelled {
                one(self.label(mix >> 30 & 0xffff).replace(
                    &format!("kind{}", mix >> 30 & 0xffff),
                    &format!("kind{}", (mix >> 30) % Self::LABELS),
                ))
            } else {
                Names::empty()
            },
            rules: one(format!("policy-{}/rule-{}", mix % 12, mix >> 5 & 3)),
            columns: ["id".to_owned(), column.clone()].into_iter().collect(),
            masked: if labelled {
                one(column.clone())
            } else {
                Names::empty()
            },
        }
    }
}

struct Open {
    session: Arc<Session>,
    /// The number of its identity.
    who: u64,
    left: u64,
    statements: u64,
}

/// One engine and its chain.
pub(crate) struct Engine {
    id: EngineId,
    number: u64,
    previous: Hash,
    next: u64,
    made: u64,
    open: Vec<Open>,
    sessions: u64,
    changes: u64,
}

pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: u64,
}

impl Engine {
    pub(crate) fn new(number: u64) -> Self {
        #[expect(clippy::unwrap_used, reason = "the name is valid")]
        let id: EngineId = format!("engine_{number}").parse().unwrap();
        Self {
            previous: genesis(&id),
            id,
            number,
            next: 1,
            made: 0,
            open: Vec::new(),
            sessions: 0,
            changes: 0,
        }
    }

    pub(crate) fn id(&self) -> EngineId {
        self.id.clone()
    }

    pub(crate) fn previous(&self) -> Hash {
        self.previous
    }

    /// So many frames.
    pub(crate) fn frames(&mut self, world: &World, count: usize) -> Sealed {
        let mut sealed = Sealed {
            bytes: Vec::new(),
            events: 0,
        };
        for _ in 0..count {
            let mut records = Vec::new();
            while (records.len() as u64) < FRAME {
                self.step(world, &mut records);
            }
            let mut builder = FrameBuilder::new(1, self.next);
            records.iter().for_each(|record| builder.push(record));
            if let Some(frame) = builder.seal(self.previous) {
                self.previous = frame.hash();
                self.next = frame.last_seq() + 1;
                sealed.events += frame.count();
                frame.write_to(&mut sealed.bytes);
            }
        }
        sealed
    }

    /// What happens next, in one of the sessions.
    fn step(&mut self, world: &World, records: &mut Vec<Record>) {
        let mix = mixed(self.made << 3 | self.number);
        let at = world.begin.plus(Duration::from_micros(
            self.made * world.step_us + mix % world.step_us.max(1),
        ));
        if self.open.len() < ROUND {
            let (who, session) = self.session(world, mix);
            let opened = ConnectionOpened::default();
            self.push(records, Record::session(at, Arc::clone(&session), opened));
            self.open.push(Open {
                session,
                who,
                left: 20 + mix % 180,
                statements: 0,
            });
            return;
        }
        let place = usize::try_from(mix >> 7).unwrap_or_default() % self.open.len();
        let Some(open) = self.open.get_mut(place) else {
            return;
        };
        let session = Arc::clone(&open.session);
        if open.left == 0 {
            let closed = ConnectionClosed {
                statements: open.statements,
                reason: "client closed".into(),
                ..Default::default()
            };
            self.open.swap_remove(place);
            self.push(records, Record::session(at, session, closed));
            return;
        }
        open.left -= 1;
        open.statements += 1;
        let (number, who) = (open.statements, open.who);
        let rare = mixed(mix);
        if rare.is_multiple_of(1000) {
            self.hold(world, records, at, &session, number);
        }
        if rare % 200_000 == 7 {
            let finding = Finding {
                code: FindingCode::UnmatchedRelayed,
                message: format!(
                    "relayed to 10.0.{}.{}:5432",
                    rare >> 40 & 255,
                    rare >> 50 & 255
                )
                .into(),
                subject: None,
                engine: None,
            };
            self.push(records, Record::session(at, Arc::clone(&session), finding));
        }
        if self.made >= self.changes * 200_000 + 11 {
            self.changes += 1;
            let changed = PolicyChanged {
                revision: self.changes,
                digest: format!("{:016x}", mixed(self.changes)).into(),
                refused: None,
            };
            self.push(records, Record::engine(at, changed));
        }
        let finished = statement(world, who, number, mix, rare);
        self.push(records, Record::session(at, session, finished));
    }

    fn push(&mut self, records: &mut Vec<Record>, record: Record) {
        self.made += 1;
        records.push(record);
    }

    fn session(&mut self, world: &World, mix: u64) -> (u64, Arc<Session>) {
        self.sessions += 1;
        let number = mixed(self.sessions << 4 | self.number);
        // Some are busier than others.
        let busy = (number >> 8) % World::IDENTITIES * ((number >> 30) % 1000) / 1000;
        let at = |place: u64| usize::try_from(place).unwrap_or_default();
        let session = Session {
            id: SessionId::new(number),
            identity: world.identities.get(at(busy)).cloned().unwrap_or_default(),
            target: world.targets.get(at(busy % World::TARGETS)).cloned(),
            protocol: Some("postgresql".into()),
            database: Some("app".into()),
            user: Some("app".into()),
            client: Some(
                format!(
                    "10.{}.{}.3:{}",
                    mix & 255,
                    mix >> 8 & 255,
                    40_000 + (mix >> 16 & 0x3fff)
                )
                .into(),
            ),
            destination: Some("10.9.9.9:5432".into()),
            application: Some("app".into()),
        };
        (busy, Arc::new(session))
    }

    fn hold(
        &mut self,
        world: &World,
        records: &mut Vec<Record>,
        at: Timestamp,
        session: &Arc<Session>,
        number: u64,
    ) {
        let mix = mixed(self.made);
        let name: Arc<str> = format!("weir-{:010x}", mix >> 24).into();
        let waited = 1000 + mix % 60_000;
        let shape = world
            .shapes
            .get(usize::try_from(mix % World::SHAPES).unwrap_or_default());
        let request = AccessRequestCreated {
            name: Arc::clone(&name),
            number,
            statement: shape
                .map(|shape| Arc::clone(&shape.text))
                .unwrap_or_default(),
            rules: one("policy-1/ask".to_owned()),
            labels: one(world.label(mix % World::LABELS)),
            approvals: 1,
            ..Default::default()
        };
        self.push(records, Record::session(at, Arc::clone(session), request));
        let approved = mix & 3 != 0;
        let decided = AccessRequestDecided {
            name: Arc::clone(&name),
            approver: world.approver(mix % World::APPROVERS).into(),
            ruling: if approved {
                Ruling::Approve { rows: None }
            } else {
                Ruling::Deny {
                    reason: "not today".into(),
                }
            },
            approvals: 1,
            needed: 1,
            binding: Binding::default(),
            minutes: None,
            via: None,
            comment: None,
        };
        let then = at.plus(Duration::from_millis(waited));
        self.push(records, Record::session(then, Arc::clone(session), decided));
        let closed = AccessRequestClosed {
            name,
            closing: if approved {
                Closing::Approved
            } else {
                Closing::Denied
            },
            held_ms: waited,
        };
        self.push(records, Record::session(then, Arc::clone(session), closed));
    }
}

fn statement(world: &World, who: u64, number: u64, mix: u64, rare: u64) -> StatementFinished {
    // Few shapes are most of the traffic. A program sends its own; one statement in fifty is anybody's.
    let among = if rare.is_multiple_of(50) {
        World::SHAPES
    } else {
        World::OWN_SHAPES
    };
    let skewed = (mix >> 20) % among * ((mix >> 40) % 1000) / 1000;
    let skewed = (mixed(who) + skewed) % World::SHAPES;
    let Some(shape) = world
        .shapes
        .get(usize::try_from(skewed).unwrap_or_default())
    else {
        return StatementFinished::default();
    };
    let text = if rare % 2_000_003 == 5 {
        format!("SELECT * FROM payroll WHERE iban = {NEEDLE}").into()
    } else if shape.literal {
        format!("{}{}", shape.text, 1_000_000 + rare % 8_999_999).into()
    } else {
        Arc::clone(&shape.text)
    };
    let denied = rare % 100 == 3;
    let rows = if denied { 0 } else { rare >> 20 & 63 };
    StatementFinished {
        statement: Statement {
            number,
            text: (!world.without_text).then_some(text),
            fingerprint: Some(mixed(skewed)),
            command: Some(Arc::clone(&shape.command)),
            decision: if denied {
                Decision::Deny
            } else if rare.is_multiple_of(1000) {
                Decision::Hold
            } else {
                Decision::Permit
            },
            rules: shape.rules.clone(),
            tables: shape.tables.clone(),
            labels: shape.labels.clone(),
            revision: 3,
            ..Statement::default()
        },
        outcome: if denied {
            Outcome::Denied
        } else {
            Outcome::Completed
        },
        rows,
        bytes: rows * (20 + (rare >> 30 & 127)),
        columns: shape.columns.clone(),
        masked: shape.masked.clone(),
        duration_us: 90 + rare % 4000,
    }
}
